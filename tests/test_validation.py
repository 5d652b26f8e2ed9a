"""Hold-outs, validation rows, scores and refits inside `GridSearchCV(Pipeline(...), n_jobs=2)`."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklcnn import CNNClassifier, CNNRegressor

RNG = np.random.RandomState(0)
N, LENGTH = 96, 12
X = pd.DataFrame(RNG.randn(N, LENGTH) * 40 + 300, columns=[f"t{i}" for i in range(LENGTH)])
SUMS = X.iloc[:, 3:7].sum(axis=1) * 10  # in the thousands
LABELS = np.where(SUMS > SUMS.median(), "up", "down")
PATIENTS = np.arange(N) // 6
X_VAL, SUMS_VAL = X[::5] + 7, SUMS[::5] + 280
LABELS_VAL = LABELS[::5]

TASKS = {CNNClassifier: (LABELS, LABELS_VAL), CNNRegressor: (SUMS, SUMS_VAL)}
GRID = {"cnn__l2": [0.0, 1e-3]}


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def make_pipeline(estimator=CNNClassifier, **params):
    cnn = estimator(filters=4, dense_units=8, precision="float64", random_state=0, **{"max_epochs": 3} | params)
    cnn.set_fit_request(X_val=True, y_val=True, groups=True, sample_weight=True).set_score_request(sample_weight=True)
    scaler = StandardScaler().set_output(transform="pandas").set_fit_request(sample_weight=False)
    pipeline = Pipeline([("scale", scaler), ("cnn", cnn)], transform_input=["X_val"])
    return pipeline.set_score_request(sample_weight=True)  # which it asks for by itself from scikit-learn 1.8 on


def search_over(pipeline, scoring=None, **options):
    """Make a search whose errors are raised."""
    return GridSearchCV(pipeline, GRID, scoring=scoring, error_score="raise", **{"cv": KFold(2), "n_jobs": 2} | options)


def all_scores(search):
    return np.concatenate([search.cv_results_[f"split{k}_test_score"] for k in range(search.n_splits_)])


# Validation rows


@pytest.mark.parametrize("estimator", TASKS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_rows_are_scaled_by_the_training_rows_of_each_fold(estimator, early_stopping):
    y, y_val = TASKS[estimator]

    def distance(pipeline, X, y):
        """Compare the recorded score with that of the pipeline on the validation rows as they were given."""
        cnn = pipeline["cnn"]
        return abs(cnn.history_["val_score"][cnn.best_epoch_ - 1] - pipeline.score(X_VAL, y_val))

    pipeline = make_pipeline(estimator, early_stopping=early_stopping)
    search = search_over(pipeline, distance).fit(X, y, X_val=X_VAL, y_val=y_val)
    assert_allclose(all_scores(search), 0, atol=1e-9)
    assert distance(search.best_estimator_, None, None) < 1e-9


def test_validation_rows_with_other_columns_are_an_error_in_each_fold():
    with pytest.raises(ValueError, match="feature names should match"):
        search_over(make_pipeline(), n_jobs=1).fit(X, LABELS, X_val=X_VAL.iloc[:, ::-1], y_val=LABELS_VAL)


# Groups


def test_patients_are_held_out_whole_in_each_fold():
    def share_of_whole_patients(cnn, X, y):
        """Tell by the first column, which scaling leaves constant within a patient, whether all six rows are here."""
        return np.mean(np.unique(X["t0"], return_counts=True)[1] == 6)

    def worst_epoch(pipeline, X, y):
        return pipeline["cnn"].history_["val_score"].min()

    named = X.assign(t0=PATIENTS * 1.0)
    pipeline = make_pipeline(early_stopping=True, validation_fraction=0.2, scoring=share_of_whole_patients)
    search = search_over(pipeline, worst_epoch, cv=GroupKFold(4)).fit(named, LABELS, groups=PATIENTS)
    assert_array_equal(all_scores(search), 1.0)
    assert worst_epoch(search.best_estimator_, None, None) == 1.0
    without = search_over(pipeline.set_params(cnn=clone(pipeline["cnn"]).set_fit_request(groups=False)), worst_epoch)
    assert all_scores(without.fit(named, LABELS)).min() < 1.0


# Scores


def mean_ratio(estimator, X, y):
    """A callable scorer whose units are those of y."""
    return float(np.mean(np.asarray(y) / estimator.predict(X)))


@pytest.mark.parametrize(
    ("estimator", "scoring"),
    [
        (CNNClassifier, "balanced_accuracy"),
        (CNNClassifier, "neg_log_loss"),
        (CNNClassifier, "roc_auc"),
        (CNNRegressor, "neg_mean_absolute_error"),
        (CNNRegressor, "neg_root_mean_squared_error"),
        (CNNRegressor, mean_ratio),
    ],
)
def test_the_watched_score_is_that_of_the_pipeline_in_the_users_units(estimator, scoring):
    y, y_val = TASKS[estimator]

    def error(pipeline, X, y):
        cnn = pipeline["cnn"]
        watched = cnn.history_["val_score"][cnn.best_epoch_ - 1]
        scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
        return abs(watched / scorer(pipeline, X_VAL, y_val) - 1)

    pipeline = make_pipeline(estimator, early_stopping=True, scoring=scoring)
    search = search_over(pipeline, error).fit(X, y, X_val=X_VAL, y_val=y_val)
    assert_allclose(all_scores(search), 0, atol=1e-9)


@pytest.mark.parametrize("scoring", ["neg_mean_absolute_error", "r2"])
def test_the_best_epoch_is_that_of_the_best_score_in_each_fold(scoring):
    def is_best(pipeline, X, y):
        cnn = pipeline["cnn"]
        return cnn.history_["val_score"].argmax() + 1 == cnn.best_epoch_

    pipeline = make_pipeline(CNNRegressor, early_stopping=True, scoring=scoring, max_epochs=8)
    search = search_over(pipeline, is_best, cv=GroupKFold(3)).fit(X, SUMS, groups=PATIENTS)
    assert all_scores(search).all()


# Refits


class Interrupt(Callback):
    """Presses Ctrl-C when an epoch begins."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("estimator", TASKS)
@pytest.mark.parametrize("schedule", [None, "one_cycle", "cosine"])
def test_a_search_gives_the_network_of_all_rows_as_of_the_best_epoch(estimator, schedule):
    y, _ = TASKS[estimator]
    pipeline = make_pipeline(
        estimator, early_stopping=True, refit_full=True, lr_schedule=schedule, max_epochs=6, learning_rate=0.05
    )
    best = search_over(pipeline).fit(X, y, groups=PATIENTS, sample_weight=1 + PATIENTS % 3).best_estimator_
    cnn, scaled = best["cnn"], best[:-1].transform(X)
    plain = clone(cnn).set_params(early_stopping=False, refit_full=False, callbacks=[Interrupt(cnn.best_epoch_ + 1)])
    with contextlib.suppress(KeyboardInterrupt):
        plain.fit(scaled, y, sample_weight=1 + PATIENTS % 3)
    assert plain.n_iter_ == cnn.best_epoch_
    assert_array_equal(cnn.predict(scaled), plain.predict(scaled))
    assert_array_equal(best.predict(X), plain.predict(scaled))


def test_refitting_on_all_rows_beside_validation_rows_is_an_error_in_a_search():
    pipeline = make_pipeline(early_stopping=True, refit_full=True)
    with pytest.raises(ValueError, match="refit_full trains on the rows that early_stopping held out, but X_val"):
        search_over(pipeline, n_jobs=1).fit(X, LABELS, X_val=X_VAL, y_val=LABELS_VAL)


# All together


@pytest.fixture
def one_thread():
    """Let torch have one thread, as joblib's workers have: several add numbers up in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("estimator", TASKS)
def test_a_search_in_processes_gives_the_bits_of_one_in_this_process(estimator):
    y, _ = TASKS[estimator]
    scoring = "accuracy" if estimator is CNNClassifier else "neg_mean_absolute_error"
    pipeline = make_pipeline(estimator, early_stopping=True, scoring=scoring, refit_full=True)
    alone, together = (
        search_over(pipeline, cv=GroupKFold(3), n_jobs=n_jobs).fit(X, y, groups=PATIENTS) for n_jobs in (1, 2)
    )
    assert_array_equal(all_scores(together), all_scores(alone))
    assert_array_equal(together.predict(X), alone.predict(X))
