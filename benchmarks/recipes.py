"""Recipes.

The calls of docs/recipes.md, each with what it scores: medians over seeds 0, 1 and 2, the least and the greatest in
brackets, and the seconds of one fit, or of all folds. Published figures are those that the data's own pages and papers
list: Fashion-MNIST's README, Greydanus and Kobak (2024) for MNIST-1D, Fawaz et al. (2019) for signals, Tecator's own
page. `RECIPES_RESULTS=file` keeps every fit in that file, and resumes a run that was cut off; `RECIPES=name,name` runs
some of them. The table is written to that page too.
"""

import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from scipy.signal import savgol_filter
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from benchmarks.__main__ import processor
from benchmarks.datasets import fashion_mnist
from benchmarks.small_sets import faces, mnist1d, overlapping, signals_of, tecator
from benchmarks.timing import table
from sklcnn import CNNClassifier, CNNRegressor

N_SEEDS = 3
PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
QUICK = {"max_epochs": 1}
HEAD = ["recipe", "data", "", "score", "seconds", "published", "processor"]


@dataclass(frozen=True)
class Recipe:
    """A call and the data that it is scored on.

    Attributes
    ----------
    name : str
    data : str
        A key of `MEASURES`.
    call : str
        Python, with `seed` for the random state.
    published : str
        What others report.
    """

    name: str
    data: str
    call: str
    published: str = ""


def score_on_test(read):
    """Score on the test rows that come with the data."""

    def measure(make, seed, quick):
        X, y, X_test, y_test = read(seed)
        X, y = (X[:200], y[:200]) if quick else (X, y)
        return make(seed, quick).fit(X, y).score(X_test, y_test)

    return measure


def read_clothes(seed):
    return *fashion_mnist("train"), *fashion_mnist("test")


def read_mnist1d(seed):
    X, y = mnist1d()
    return X[:4000], y[:4000], X[4000:], y[4000:]


def read_few_digits(n_rows):
    def read(seed):
        pixels, labels = load_digits(return_X_y=True)
        parts = train_test_split(pixels, labels, train_size=n_rows, stratify=labels, random_state=seed)
        return parts[0], parts[2], parts[1], parts[3]

    return read


def cross_validate_digits(make, seed, quick):
    """Average over five folds in the order of the rows: their writers differ."""
    pixels, labels = load_digits(return_X_y=True)
    return cross_val_score(make(seed, quick), pixels, labels, cv=5).mean()


def cross_validate_faces(make, seed, quick):
    pictures, labels = faces()
    folds = StratifiedKFold(2 if quick else 5, shuffle=True, random_state=seed)
    return cross_val_score(make(seed, quick), pictures, labels, cv=folds).mean()


def error_on_tecator(make, seed, quick):
    """Compute the root of the mean squared error on the test rows."""
    X, y, X_test, y_test = tecator()
    return np.sqrt(np.mean((make(seed, quick).fit(X, y).predict(X_test) - y_test) ** 2))


def coverage_of_nine_tenths(make, seed, quick):
    """Compute how many test rows fall into the intervals that `make` returns a function for."""
    X, y = overlapping()
    fit_intervals = make(seed, quick)
    low, high = fit_intervals(X[:800], y[:800])(X[1000:2000])
    return np.mean((low <= y[1000:2000]) & (y[1000:2000] <= high))


MEASURES: dict[str, tuple[str, Callable]] = {
    "Fashion-MNIST": ("accuracy", score_on_test(read_clothes)),
    "digits, cv=5": ("accuracy", cross_validate_digits),
    **{f"{n} digits": ("accuracy", score_on_test(read_few_digits(n))) for n in (50, 100, 200, 300)},
    "faces, 5 folds": ("accuracy", cross_validate_faces),
    "MNIST-1D": ("accuracy", score_on_test(read_mnist1d)),
    "OSULeaf": ("accuracy", score_on_test(lambda seed: signals_of("OSULeaf"))),
    "GunPoint": ("accuracy", score_on_test(lambda seed: signals_of("GunPoint"))),
    "Tecator": ("error, % of fat", error_on_tecator),
    "overlapping spectra": ("share inside of 90 %", coverage_of_nine_tenths),
}
VGG = """CNNClassifier(
    filters=(32, 64, 128), convs_per_block=2, batch_norm=True, conv_dropout=0.1, dropout=0.3, batch_size=128,
    augmentation="flip", max_epochs=16, precision="bfloat16", random_state=seed,
)"""
VGG_VOTING = """VotingClassifier(
    [(str(member), CNNClassifier(
        filters=(32, 64, 128), convs_per_block=2, batch_norm=True, conv_dropout=0.1, dropout=0.3, batch_size=128,
        augmentation="flip", max_epochs=16, precision="bfloat16", random_state=2 * seed + member,
    )) for member in range(2)],
    voting="soft",
)"""
RESNET = """CNNClassifier(
    block="residual", filters=(32, 64, 128), batch_norm=True, conv_dropout=0.1, global_pooling="avg", dense_units=(),
    batch_size=128, augmentation="flip", max_epochs=16, precision="bfloat16", random_state=seed,
)"""
FEW = """CNNClassifier(
    input_shape=(8, 8), block="residual", batch_norm=True, augmentation=("shift", "rotate", "zoom"), random_state=seed,
)"""
FCN = """CNNClassifier(
    filters=(128, 256, 128), kernel_size=(8, 5, 3), batch_norm=True, pooling=None, global_pooling="avg",
    dense_units=(), random_state=seed,
)"""
SIGNAL_RESNET = """CNNClassifier(
    block="residual", convs_per_block=3, filters=(64, 128, 128), kernel_size=7, batch_norm=True, pooling=None,
    global_pooling="avg", dense_units=(), random_state=seed,
)"""
INCEPTION_TIME = """CNNClassifier(
    block="inception", filters=(128, 128), kernel_size=40, batch_norm=True, pooling=None, global_pooling="avg",
    dense_units=(), random_state=seed,
)"""
DERIVATIVE = 'FunctionTransformer(savgol_filter, kw_args={"window_length": 11, "polyorder": 2, "deriv": 1})'
RECIPES = [
    Recipe("course", "Fashion-MNIST", "CNNClassifier(max_epochs=4, random_state=seed)", "0.916 (two layers)"),
    Recipe("vgg", "Fashion-MNIST", VGG, "0.935 (VGG16)"),
    Recipe("vgg-voting", "Fashion-MNIST", VGG_VOTING, "0.949 (ResNet18)"),
    Recipe("resnet", "Fashion-MNIST", RESNET, "0.949 (ResNet18)"),
    Recipe(
        "inception",
        "digits, cv=5",
        'CNNClassifier(input_shape=(8, 8), block="inception", kernel_size=5, batch_norm=True, random_state=seed)',
    ),
    Recipe(
        "digits",
        "digits, cv=5",
        """CNNClassifier(
    input_shape=(8, 8), block="residual", filters=(32, 64, 128), batch_norm=True, dropout=0.3, max_epochs=30,
    random_state=seed,
)""",
    ),
    *[
        Recipe(f"{name}{n}", f"{n} digits", call)
        for n in (50, 100, 200, 300)
        for name, call in (("few", FEW), ("svc", "SVC()"))
    ],
    Recipe(
        "frozen",
        "faces, 5 folds",
        'CNNClassifier(backbone="efficientnet_lite0", image_size=96, random_state=seed)',
    ),
    Recipe(
        "tuned",
        "faces, 5 folds",
        """CNNClassifier(
    backbone="efficientnet_lite0", image_size=96, freeze_epochs=3, max_epochs=10, augmentation="flip",
    random_state=seed,
)""",
    ),
    Recipe("fcn", "MNIST-1D", FCN, "0.94 (CNN)"),
    Recipe("signal-resnet", "MNIST-1D", SIGNAL_RESNET, "0.94 (CNN)"),
    Recipe("inception-time", "MNIST-1D", INCEPTION_TIME, "0.94 (CNN)"),
    Recipe("fcn-gunpoint", "GunPoint", FCN, "1.000 (FCN), 0.992 (ResNet)"),
    Recipe("resnet-gunpoint", "GunPoint", SIGNAL_RESNET, "1.000 (FCN), 0.992 (ResNet)"),
    Recipe("fcn-osuleaf", "OSULeaf", FCN, "0.979 (FCN), 0.980 (ResNet)"),
    Recipe("spectra", "Tecator", "CNNRegressor(random_state=seed)", "0.36 to 0.65 (neural networks)"),
    Recipe(
        "derivative",
        "Tecator",
        f"make_pipeline(\n    {DERIVATIVE},\n    CNNRegressor(random_state=seed),\n)",
        "0.36 to 0.65 (neural networks)",
    ),
    Recipe(
        "pls", "Tecator", 'GridSearchCV(PLSRegression(), {"n_components": range(2, 21)}, cv=5)', "2.78 (10 components)"
    ),
    Recipe(
        "voting",
        "100 digits",
        """VotingClassifier(
    [(str(member), CNNClassifier(
        input_shape=(8, 8), block="residual", batch_norm=True, augmentation=("shift", "rotate", "zoom"),
        random_state=10 * seed + member,
    )) for member in range(5)],
    voting="soft",
)""",
    ),
    Recipe("quantiles", "overlapping spectra", "intervals_by_quantiles(seed)"),
    Recipe("spread", "overlapping spectra", "intervals_by_spread(seed)"),
    Recipe("conformal", "overlapping spectra", "intervals_by_mapie(seed)"),
]


def intervals_by_quantiles(seed):
    """Make intervals of 90 % from two networks, one a quantile."""
    bounds = [CNNRegressor(loss="quantile", quantile=q, early_stopping=True, random_state=seed) for q in (0.05, 0.95)]

    def fit(X, y):
        fitted = [bound.fit(X, y) for bound in bounds]
        return lambda X_new: [bound.predict(X_new) for bound in fitted]

    return fit


def intervals_by_spread(seed):
    """Make intervals from how far five networks are apart: what they do not know, not what the data hide."""
    voting = VotingRegressor([(str(member), CNNRegressor(random_state=10 * seed + member)) for member in range(5)])

    def fit(X, y):
        voting.fit(X, y)

        def predict(X_new):
            each = voting.transform(X_new)
            return each.mean(1) - 1.645 * each.std(1, ddof=1), each.mean(1) + 1.645 * each.std(1, ddof=1)

        return predict

    return fit


def intervals_by_mapie(seed):
    """Make intervals that hold by construction: MAPIE's, from rows that did not train."""
    from mapie.regression import SplitConformalRegressor

    def fit(X, y):
        cnn = CNNRegressor(random_state=seed).fit(X[:600], y[:600])
        conformal = SplitConformalRegressor(cnn, confidence_level=0.9, prefit=True).conformalize(X[600:], y[600:])
        return lambda X_new: conformal.predict_interval(X_new)[1][:, :, 0].T

    return fit


NAMES = {
    made.__name__: made
    for made in (
        CNNClassifier, CNNRegressor, FunctionTransformer, GridSearchCV, PLSRegression, SVC, VotingClassifier,
        intervals_by_mapie, intervals_by_quantiles, intervals_by_spread, make_pipeline, savgol_filter,
    )
}  # fmt: skip


def measure(quick):
    """Run the recipes, and return a table of them."""
    chosen = os.environ.get("RECIPES", "").split(",") if os.environ.get("RECIPES") else None
    recipes = [recipe for recipe in RECIPES if chosen is None or recipe.name in chosen]
    if quick:
        recipes = [recipe for recipe in recipes if recipe.name in ("few50", "pls")]
    kept = None if quick or "RECIPES_RESULTS" not in os.environ else Path(os.environ["RECIPES_RESULTS"])
    runs = [json.loads(line) for line in kept.read_text().splitlines()] if kept and kept.exists() else []
    done = {(run["recipe"], run["seed"]) for run in runs}
    for seed in range(1 if quick else N_SEEDS):
        for recipe in recipes:
            if (recipe.name, seed) not in done:
                runs.append(run_one(recipe, seed, quick))
                if kept:
                    with kept.open("a") as file:
                        file.write(json.dumps(runs[-1]) + "\n")
    found = {recipe: [run for run in runs if run["recipe"] == recipe.name] for recipe in RECIPES}
    rows = {recipe.name: row(recipe, of_recipe) for recipe, of_recipe in found.items() if of_recipe}
    if not quick:
        write_page(rows)
    return table(HEAD, list(rows.values()))


def write_page(rows):
    """Write the table of figures into the page; rows of recipes that were not run stay."""
    before, head, figures = PAGE.read_text().partition("## Figures\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in figures.splitlines() if line[:1] == "|"]
    rows = {kept[0]: kept for kept in cells[2:]} | rows
    ordered = [rows[recipe.name] for recipe in RECIPES if recipe.name in rows]
    PAGE.write_text(f"{before}{head}\n{table(HEAD, ordered)}\n")


def run_one(recipe, seed, quick):
    """Fit a recipe once, or once a fold, and score it."""

    def make(seed, quick):
        made = eval(recipe.call, NAMES | {"seed": seed})
        if quick and isinstance(made, CNNClassifier):
            made.set_params(**QUICK)
        return made

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few validation rows
        score = MEASURES[recipe.data][1](make, seed, quick)
    return {"recipe": recipe.name, "seed": seed, "score": float(score), "seconds": time.perf_counter() - start}


def row(recipe, runs):
    """Arrange what a recipe's seeds gave."""
    scores = [run["score"] for run in runs]
    spread = f" ({min(scores):.4f} to {max(scores):.4f})" if len(scores) > 1 else " (one seed)"
    took = median(run["seconds"] for run in runs)
    score = f"{median(scores):.4f}{spread}"
    where = processor().partition(" (")[0]
    return [recipe.name, recipe.data, MEASURES[recipe.data][0], score, f"{took:.0f}", recipe.published, where]
