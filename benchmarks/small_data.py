"""Small data.

Sets of five kinds, 36 to 4,000 training rows, five seeds: the defaults, and with `early_stopping`, also refitted on all
rows (`refit_full`, up to 200 rows), `batch_norm` and (of two unbalanced classes) `class_weight="balanced"`, beside the
best of classical models on the same splits, chosen by cross-validated searches. Medians over the seeds that were run.
The score is accuracy, R2 of values, or the area under the ROC curve of two unbalanced classes; then log-loss and
expected calibration error (ten bins). The sets marked * only judged: no default was chosen on them. Every fit is kept
in `benchmarks/results/small_data.jsonl`, from which a run that was cut off is resumed: remove it to measure anew.
"""

import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from benchmarks.small_sets import SETS
from benchmarks.timing import table
from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

RESULTS = Path(__file__).parent / "results" / "small_data.jsonl"
N_SEEDS = 5
MOST_ROWS_REFITTED = 200
VARIANTS = {
    "defaults": {},
    "early_stopping": {"early_stopping": True},
    "refit_full": {"early_stopping": True, "refit_full": True},
    "batch_norm": {"batch_norm": True},
    "class_weight": {"class_weight": "balanced"},
}
CLASSIFIERS = {
    "SVC": (make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)), {"svc__C": [1, 10, 100]}),
    "LogisticRegression": (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        {"logisticregression__C": [0.001, 0.01, 0.1, 1]},
    ),
    "HistGradientBoosting": (HistGradientBoostingClassifier(random_state=0, max_iter=60), {"learning_rate": [0.1]}),
}
REGRESSORS = {
    "PLS": (PLSRegression(), {"n_components": [2, 4, 8, 12]}),
    "Ridge": (make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 4, 9))), {}),
    "SVR": (make_pipeline(StandardScaler(), SVR()), {"svr__C": [1, 10, 100, 1000]}),
    "HistGradientBoosting": (HistGradientBoostingRegressor(random_state=0, max_iter=60), {"learning_rate": [0.1]}),
}


def measure(quick):
    """Measure, and return a table of scores and one of log-losses and calibration errors."""
    return report(pd.DataFrame(run_all(quick)))


def report(runs):
    """Arrange measurements: what they say in a few sentences, scores, log-losses."""
    order = {data.name: place for place, data in enumerate(SETS)}
    runs = runs.assign(place=runs["set"].map(order)).sort_values(["place", "rows"], kind="stable")
    return "\n\n".join([how_many(runs), summary(runs), scores(runs), calibration(runs)])


def how_many(runs):
    """Say how many fits there are, and over how many seeds."""
    seeds = runs[runs["model"] == "early_stopping"].groupby(["set", "rows"]).size()
    least, most = seeds.min(), seeds.max()
    span = least if least == most else f"{least} to {most}"
    return f"{len(runs):,} fits; with early stopping {span} of {N_SEEDS} seeds."


def run_all(quick):
    """Fit everything that has not been fitted yet; list the measurements."""
    runs = [] if quick else read_results()
    done = {(run["set"], run["rows"], run["seed"], run["model"]) for run in runs}
    sets = SETS[:1] if quick else SETS
    for seed in range(1 if quick else N_SEEDS):
        for data in sets:
            for n_rows in data.sizes[:1] if quick else data.sizes:
                for model in models_for(data, n_rows):
                    if (data.name, n_rows, seed, model) not in done:
                        runs.append(run_one(data, n_rows, seed, model, quick))
                        if not quick:
                            with RESULTS.open("a") as file:
                                file.write(json.dumps(runs[-1]) + "\n")
    return runs


def read_results():
    """List the measurements of earlier runs."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def models_for(data, n_rows):
    """List the names of what is fitted to a set."""
    names = [name for name in VARIANTS if name != "class_weight" or data.kind == "unbalanced"]
    if n_rows > MOST_ROWS_REFITTED:
        names.remove("refit_full")
    if "backbone" in data.parameters:
        names.remove("batch_norm")
    return names + list(REGRESSORS if data.values else CLASSIFIERS)


def run_one(data, n_rows, seed, model, quick=False):
    """Fit one model to one split and measure it."""
    X, y, X_test, y_test = data.load(n_rows, seed)
    start = time.process_time()  # the same beside other work
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few validation rows, and of solvers that stop before they converge
        if model in VARIANTS:
            parameters = data.parameters | VARIANTS[model] | ({"max_epochs": 2} if quick else {})
            fitted = (CNNRegressor if data.values else CNNClassifier)(random_state=seed, **parameters).fit(X, y)
        else:
            fitted, X_test = fit_classical(data, model, X, y, X_test)
    seconds = time.process_time() - start
    about = {"set": data.name, "kind": data.kind, "judges": data.judges, "rows": n_rows, "seed": seed, "model": model}
    return about | measured(data, fitted, X_test, y_test) | {"seconds": seconds}


def fit_classical(data, model, X, y, X_test):
    """Search a classical model on flat rows, or on the features of the set's backbone."""
    if "backbone" in data.parameters:
        features = CNNFeatures(**data.parameters).fit(X)
        X, X_test = features.transform(X), features.transform(X_test)
    X, X_test = (rows.reshape(len(rows), -1).astype(float) for rows in (X, X_test))
    estimator, grid = (REGRESSORS if data.values else CLASSIFIERS)[model]
    if not grid:
        return estimator.fit(X, y), X_test
    n_folds = 3 if data.values else min(3, np.unique(y, return_counts=True)[1].min())
    if model == "PLS":
        grid = {"n_components": [n for n in grid["n_components"] if n < len(X) * 2 // 3]}
    scoring = "roc_auc" if data.kind == "unbalanced" else None
    return GridSearchCV(estimator, grid, cv=n_folds, scoring=scoring).fit(X, y), X_test


def measured(data, fitted, X_test, y_test):
    """Compute score, log-loss and calibration error on test rows."""
    if data.values:
        return {"score": float(r2_score(y_test, np.ravel(fitted.predict(X_test))))}
    probabilities = fitted.predict_proba(X_test)
    codes = np.searchsorted(fitted.classes_, y_test)
    right = probabilities.argmax(1) == codes
    log_loss = -np.log(np.clip(probabilities[np.arange(len(codes)), codes], 1e-12, None)).mean()
    score = roc_auc_score(y_test, probabilities[:, 1]) if data.kind == "unbalanced" else right.mean()
    return {"score": float(score), "log_loss": float(log_loss), "ece": calibration_error(probabilities.max(1), right)}


def calibration_error(confidence, right, n_bins=10):
    """Average how far confidence is from accuracy, over bins of confidence."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = [abs(confidence[bins == b].mean() - right[bins == b].mean()) * np.mean(bins == b) for b in np.unique(bins)]
    return float(np.sum(gaps))


def medians(runs, column):
    """Arrange the medians over seeds: a row a set and size, a column a model."""
    return runs.pivot_table(index=["set", "rows"], columns="model", values=column, aggfunc="median", sort=False)


def best_classical(runs):
    """Find the score of the best classical model of each set and size, and its name."""
    classical = medians(runs, "score").drop(columns=list(VARIANTS), errors="ignore")
    names = classical.dropna(how="all").idxmax(axis=1).reindex(classical.index)
    return classical.max(axis=1), names.fillna("")


def titles(runs):
    judges = runs.groupby("set")["judges"].first()
    return [[f"{name}{' *' * bool(judges[name])}", rows] for name, rows in medians(runs, "score").index]


def cells(values, digits=3):
    return ["" if np.isnan(value) else f"{value:.{digits}f}" for value in values]


def scores(runs):
    """Tabulate the scores."""
    found, (best, names) = medians(runs, "score").reindex(columns=list(VARIANTS)), best_classical(runs)
    seconds = medians(runs, "seconds")
    rows = [
        [
            *title,
            *cells(found.loc[place]),
            f"{cells([best[place]])[0]} {names[place]}",
            f"{seconds.loc[place, 'defaults']:.1f}",
        ]
        for title, place in zip(titles(runs), found.index, strict=True)
    ]
    return table(["set", "rows", *VARIANTS, "best classical model", "processor seconds, defaults"], rows)


def calibration(runs):
    """Tabulate log-losses and calibration errors."""
    if "log_loss" not in runs:
        return ""
    losses, errors = (medians(runs.dropna(subset="log_loss"), column) for column in ("log_loss", "ece"))
    columns = [
        *(name for name in VARIANTS if name in losses),
        *(["LogisticRegression"] if "LogisticRegression" in losses else []),
    ]
    judges = runs.groupby("set")["judges"].first()
    rows = [
        [
            f"{place[0]}{' *' * bool(judges[place[0]])}",
            place[1],
            *(
                f"{loss} ({error})" if loss else ""
                for loss, error in zip(
                    cells(losses.loc[place, columns]), cells(errors.loc[place, columns], 2), strict=True
                )
            ),
        ]
        for place in losses.index
    ]
    return "Log-loss (expected calibration error):\n\n" + table(["set", "rows", *columns], rows)


def summary(runs):
    """Say on how many sets early stopping keeps up, and the defaults with classical models."""
    found, (best, _) = medians(runs, "score"), best_classical(runs)
    if not {"defaults", "early_stopping"} <= set(found):
        return ""
    behind = (found["defaults"] - found["early_stopping"])[[rows >= 100 for _, rows in found.index]]
    lines = [
        f"With 100 rows and more, `early_stopping=True` is at most two points behind the same call without it on "
        f"{(behind <= 0.02).sum()} of {len(behind)}, at most one on {(behind <= 0.01).sum()}."
    ]
    if "log_loss" in runs:
        losses = medians(runs.dropna(subset="log_loss"), "log_loss")
        lines.append(
            f"It is ahead in log-loss on {(losses['early_stopping'] < losses['defaults']).sum()} of {len(losses)}."
        )
    kinds = runs.groupby("set")["kind"].first()
    pictures = [place for place in found.index if kinds[place[0]] == "small pictures" and not np.isnan(best[place])]
    near = sum(found["defaults"][place] >= best[place] - 0.01 for place in pictures)
    lines.append(
        f"The defaults are ahead of, or within one point of, the best classical model on {near} of {len(pictures)} "
        "sets of small pictures."
    )
    return " ".join(lines)
