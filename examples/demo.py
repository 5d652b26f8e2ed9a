"""Find a convolutional network for handwritten digits by grid search, and see how good it is.

Run by ``make demo``; takes a minute on two cores. The pictures go to ``demo-output/``.
"""

import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from tqdm import tqdm

from sklcnn import CNNClassifier
from sklcnn.inspection import TrainingCurveDisplay

OUTPUT = Path("demo-output")
N_JOBS = 2
GRID = {
    "cnn__filters": [(32,), (32, 64)],
    "cnn__batch_norm": [False, True],
    "cnn__dropout": [0.0, 0.4],
    "cnn__l2": [0.0, 1e-3],
}


class WatchedGridSearchCV(GridSearchCV):
    """A grid search that shows how far it has come, and the best score so far."""

    def _run_search(self, evaluate_candidates):
        candidates = list(ParameterGrid(self.param_grid))
        layout = "{desc} {percentage:3.0f}%|{bar:30}| {n}/{total} settings, {elapsed}<{remaining}{postfix}"
        with tqdm(total=len(candidates), desc="grid search", bar_format=layout) as bar:
            for start in range(0, len(candidates), N_JOBS):
                results = evaluate_candidates(candidates[start : start + N_JOBS])
                bar.set_postfix_str(f"best accuracy {max(results['mean_test_score']):.4f}", refresh=False)
                bar.update(len(candidates[start : start + N_JOBS]))


def main():
    began = time.perf_counter()
    pixels, labels = load_digits(return_X_y=True, as_frame=True)  # a DataFrame with 64 columns, and a Series
    X_train, X_test, y_train, y_test = train_test_split(pixels, labels, test_size=0.25, stratify=labels, random_state=0)
    print(f"{len(pixels)} handwritten digits of 8x8 pixels: {len(X_train)} to train on, {len(X_test)} held out.")

    model = Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("cnn", CNNClassifier(input_shape=(8, 8), early_stopping=True, max_epochs=40, random_state=0)),
        ]
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    search = WatchedGridSearchCV(model, GRID, cv=folds, n_jobs=N_JOBS)
    print(f"{len(ParameterGrid(GRID))} settings of a Pipeline, {folds.n_splits} folds each, {N_JOBS} fits at a time:\n")
    search.fit(X_train, y_train)

    print("\nThe best five settings, by mean accuracy over the folds:\n")
    print(best_settings(search, 5).to_string(index=False))

    cnn = search.best_estimator_["cnn"]
    n_right = int((search.predict(X_test) == y_test).sum())
    print(f"\nThe best, trained again on all {len(X_train)} rows: stopped after epoch {cnn.n_iter_}, ", end="")
    print(f"kept the weights of epoch {cnn.best_epoch_}.")
    print(f"Held-out accuracy: {n_right / len(y_test):.4f} ({n_right} of {len(y_test)}).")

    OUTPUT.mkdir(exist_ok=True)
    draw_learning_curves(search, OUTPUT / "learning_curves.png")
    draw_confusion_matrix(search, X_test, y_test, OUTPUT / "confusion_matrix.png")
    print(f"\nPictures: {OUTPUT / 'learning_curves.png'}, {OUTPUT / 'confusion_matrix.png'}.")
    print(f"Took {time.perf_counter() - began:.0f} s.")


def best_settings(search, n):
    table = pd.DataFrame(search.cv_results_).nlargest(n, "mean_test_score", keep="first")
    columns = {f"param_{name}": name.removeprefix("cnn__") for name in GRID}
    columns |= {"mean_test_score": "accuracy", "std_test_score": "+-", "mean_fit_time": "seconds a fit"}
    return table[list(columns)].rename(columns=columns).round({"accuracy": 4, "+-": 4, "seconds a fit": 1})


def draw_learning_curves(search, path):
    display = TrainingCurveDisplay.from_estimator(search)
    display.axes_[0].set(title="Learning curves of the best network", yscale="log")
    display.figure_.savefig(path, dpi=120)


def draw_confusion_matrix(search, X_test, y_test, path):
    figure, axes = plt.subplots(figsize=(6, 6), layout="constrained")
    ConfusionMatrixDisplay.from_estimator(search, X_test, y_test, ax=axes, cmap="Blues", colorbar=False)
    axes.set_title(f"{len(y_test)} held-out digits, accuracy {search.score(X_test, y_test):.4f}")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
