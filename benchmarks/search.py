"""Halving.

24 candidates for a network of 8x8 digits (layers, dropout, learning rate, batch norm), three folds on 898 rows, 32
epochs and the refit; the score is that of the other 899 rows. The halving search trains all candidates for two epochs,
the best quarter for eight and the best two for 32: `factor=4, max_resources=32`. Each round divides the rows anew.
"""

from statistics import mean

from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, StratifiedKFold, train_test_split

from benchmarks.timing import Rounds, ratio, seconds, spread, table
from sklcnn import CNNClassifier

GRID = {
    "filters": [(8, 16), (32, 64)],
    "dropout": [0.0, 0.4],
    "learning_rate": [5e-4, 2e-3, 8e-3],
    "batch_norm": [False, True],
}
QUICK_GRID = {"dropout": [0.0, 0.4], "batch_norm": [False, True]}


def measure(quick):
    """Run the full grid and the halving search in turn, and return a table of times and scores."""
    grid, n_epochs, n_rounds = (QUICK_GRID, 4, 1) if quick else (GRID, 32, 3)
    rounds: Rounds = {}
    for number in range(n_rounds):
        for make in (full_grid, halving):
            for name, value in measured(make, grid, n_epochs, number).items():
                rounds.setdefault(name, []).append(value)
    names = ("full grid", "halving")
    rows = [
        [
            name, spread(rounds[name], 1), f"{1 / ratio(rounds, name, 'full grid'):.1f}",
            spread(rounds[f"{name}, epochs"], 0), spread(rounds[f"{name}, score"], 4),
        ]
        for name in names
    ]  # fmt: skip
    less = mean(rounds["full grid, score"]) - mean(rounds["halving, score"])
    head = ["", "seconds", "times faster", "epochs of all fits", "score on the other half"]
    return table(head, rows) + f"\n\nOn average the halving search's score is {less:.4f} below the full grid's."


def measured(make, grid, n_epochs, number):
    """Search on a half of the rows; return seconds, epochs and the score on the other half."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=number)
    search, name = make(grid, n_epochs), make.__name__.replace("_", " ")
    took = seconds(search.fit, X, y)
    epochs = sum(params.get("max_epochs", n_epochs) for params in search.cv_results_["params"]) * search.n_splits_
    return {
        name: took,
        f"{name}, epochs": epochs + search.best_estimator_.n_iter_,
        f"{name}, score": search.score(X_test, y_test),
    }


def full_grid(grid, n_epochs):
    cnn = CNNClassifier(input_shape=(8, 8), max_epochs=n_epochs, random_state=0)
    return GridSearchCV(cnn, grid, cv=folds())


def halving(grid, n_epochs):
    cnn = CNNClassifier(input_shape=(8, 8), random_state=0)
    return HalvingGridSearchCV(cnn, grid, resource="max_epochs", max_resources=n_epochs, factor=4, cv=folds())


def folds():
    return StratifiedKFold(3, shuffle=True, random_state=0)
