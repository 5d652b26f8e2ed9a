"""scikit-learn's own callbacks: one task per fit, one subtask per epoch, alone and inside searches."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklcnn import CNNClassifier, CNNRegressor

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")

QUICK = {"filters": 4, "dense_units": 8, "lr_schedule": None, "max_epochs": 4, "random_state": 0}


@pytest.fixture(scope="module")
def table():
    X = np.random.RandomState(0).randn(60, 12)
    return X, np.where(X[:, 3:7].sum(axis=1) > 0, "up", "down")


class Recorder:
    """Notes what it is told, and asks to stop or raises at the end of a given epoch."""

    def __init__(self, stop_after=None, error=None):
        self.stop_after, self.error = stop_after, error
        self.events = []

    def setup(self, estimator, context):
        self.events.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.events.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", context.task_name))
        if context.task_name == "epoch" and context.task_id + 1 == self.stop_after:
            if self.error is not None:
                raise self.error
            return True
        return False


class Predictions:
    """Keeps what the fitted estimator of each moment predicts."""

    def __init__(self, X):
        self.X, self.found = X, []

    def setup(self, estimator, context):
        self.found.clear()

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.found.append(fitted_estimator.predict_proba(self.X))


class Propagated(Recorder):
    """Handed on to the estimators inside, with the names of their tasks."""

    max_propagation_depth = None


# One estimator


@pytest.mark.parametrize("estimator_class", [CNNClassifier, CNNRegressor])
def test_a_fit_is_a_task_and_each_epoch_a_part_of_it(estimator_class, table):
    X, y = table
    recorder = Recorder()
    estimator_class(**QUICK).set_callbacks(recorder).fit(X, y if estimator_class is CNNClassifier else X.sum(axis=1))
    epochs = [("begin", "epoch"), ("end", "epoch")] * 4
    assert recorder.events == [("setup", "fit"), ("begin", "fit"), *epochs, ("end", "fit"), ("teardown", "fit")]


def test_the_epochs_are_numbered_and_their_greatest_number_is_known(table):
    seen = []

    class Contexts(Recorder):
        def on_fit_task_end(self, estimator, context):
            seen.append((context.task_name, context.task_id, context.max_subtasks))

    CNNClassifier(**QUICK).set_callbacks(Contexts()).fit(*table)
    assert seen == [("epoch", 0, 0), ("epoch", 1, 0), ("epoch", 2, 0), ("epoch", 3, 0), ("fit", 0, 4)]


def test_a_monitor_scores_the_weights_of_each_epoch(table):
    X, y = table
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    CNNClassifier(**QUICK).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data_as_pandas
    log = log[log["task_name"] == "epoch"]
    cut_short = [CNNClassifier(**QUICK | {"max_epochs": n}).fit(X, y) for n in range(1, 5)]
    assert_array_equal(log["accuracy"], [cnn.score(X, y) for cnn in cut_short])
    assert log["neg_log_loss"].is_monotonic_increasing


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"batch_norm": True, "dropout": 0.4}], ids=str)
def test_a_callback_that_predicts_sees_the_network_of_the_moment_and_changes_nothing(params, table):
    X, y = table
    predictions = Predictions(X)
    watched = CNNClassifier(**QUICK | params).set_callbacks(predictions).fit(X, y)
    alone = CNNClassifier(**QUICK | params).fit(X, y)
    assert_array_equal(watched.predict_proba(X), alone.predict_proba(X))
    assert_array_equal(predictions.found[watched.best_epoch_ - 1], alone.predict_proba(X))
    first = CNNClassifier(**QUICK | params | {"max_epochs": 1}).fit(X, y)
    assert_array_equal(predictions.found[0], first.predict_proba(X))
    assert not np.array_equal(predictions.found[0], predictions.found[-1])


@pytest.mark.parametrize("columns", ["abcdefghijkl", "mnopqrstuvwx"])
def test_the_network_of_the_moment_knows_the_columns_of_this_fit(columns, table):
    X, y = table
    frame = pd.DataFrame(X, columns=list(columns))
    cnn = CNNClassifier(**QUICK).fit(pd.DataFrame(X, columns=list("abcdefghijkl")), y)
    cnn.set_callbacks(callback.ScoringMonitor(scoring="accuracy")).fit(frame, y)
    assert_array_equal(cnn.feature_names_in_, list(columns))


def test_a_monitor_weighs_the_training_rows(table):
    X, y = table
    weights = np.arange(60) % 5 + 0.5
    monitor = callback.ScoringMonitor(scoring="accuracy")
    cnn = CNNClassifier(**QUICK).set_callbacks(monitor).fit(X, y, sample_weight=weights)
    assert monitor.get_logs().data[-1]["accuracy"] == pytest.approx(cnn.score(X, y, sample_weight=weights))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_may_ask_to_stop(early_stopping, table):
    X, y = table
    cnn = CNNClassifier(**QUICK, early_stopping=early_stopping).set_callbacks(Recorder(stop_after=2)).fit(X, y)
    expected = CNNClassifier(**QUICK | {"max_epochs": 2}, early_stopping=early_stopping).fit(X, y)
    assert cnn.n_iter_ == 2
    assert_array_equal(cnn.predict_proba(X), expected.predict_proba(X))


def test_an_error_in_a_callback_tears_it_down_and_leaves_the_estimator_as_it_was(table):
    X, y = table
    recorder = Recorder(stop_after=2, error=RuntimeError("no more"))
    cnn = CNNClassifier(**QUICK).fit(X, y)
    before = cnn.predict_proba(X)
    attributes = set(vars(cnn))
    with pytest.raises(RuntimeError, match="no more"):
        cnn.set_callbacks(recorder).fit(X[::-1], y)
    assert recorder.events[-1] == ("teardown", "fit")
    assert set(vars(cnn.set_callbacks())) == attributes
    assert_array_equal(cnn.predict_proba(X), before)


def test_an_error_in_fit_tears_callbacks_down(table):
    X, y = table
    recorder = Recorder()
    cnn = CNNClassifier(**QUICK | {"optimizer": "sgd", "learning_rate": 1e30}).set_callbacks(recorder)
    with pytest.raises(ValueError, match="not finite"):
        cnn.fit(X, y)
    assert recorder.events[-1] == ("teardown", "fit")
    assert not hasattr(cnn, "net_")
    cnn.set_params(learning_rate=0.01).fit(X, y)
    assert recorder.events[-2:] == [("end", "fit"), ("teardown", "fit")]


def test_an_error_before_training_leaves_no_callback_set_up(table):
    X, y = table
    recorder = Recorder()
    with pytest.raises(ValueError, match="NaN"):
        CNNClassifier(**QUICK).set_callbacks(recorder).fit(np.full_like(X, np.nan), y)
    names = [name for name, _ in recorder.events]
    assert names.count("setup") == names.count("teardown")


def test_an_interrupt_in_a_callback_leaves_the_estimator_as_of_the_epoch_before(table):
    X, y = table
    recorder = Recorder(stop_after=3, error=KeyboardInterrupt())
    cnn = CNNClassifier(**QUICK).set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt):
        cnn.fit(X, y)
    assert recorder.events[-1] == ("teardown", "fit")
    expected = CNNClassifier(**QUICK | {"max_epochs": 2}).fit(X, y)
    assert_array_equal(cnn.predict_proba(X), expected.predict_proba(X))


def test_a_clone_keeps_its_callbacks_and_a_pickle_too(table):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    cnn = CNNClassifier(**QUICK).set_callbacks(monitor)
    clone(cnn).fit(*table)
    assert len(monitor.get_logs().data) == 4 + 1
    pickle.loads(pickle.dumps(cnn.fit(*table))).fit(*table)


def test_scikit_learns_progress_bar_shows_the_fit(table, capfd):
    CNNClassifier(**QUICK).set_callbacks(callback.ProgressBar()).fit(*table)
    assert "CNNClassifier - fit" in capfd.readouterr().out


# In searches


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("in_pipeline", [False, True], ids=["alone", "in a pipeline"])
def test_a_monitor_logs_each_epoch_of_each_fit_of_a_search(n_jobs, in_pipeline, table):
    X, y = table
    monitor = callback.ScoringMonitor(scoring="accuracy")
    cnn = CNNClassifier(**QUICK | {"max_epochs": 2}).set_callbacks(monitor)
    estimator = make_pipeline(StandardScaler(), cnn) if in_pipeline else cnn
    name = "cnnclassifier__dropout" if in_pipeline else "dropout"
    search = GridSearchCV(estimator, {name: [0.0, 0.3]}, cv=3, n_jobs=n_jobs).fit(X, y)
    log = monitor.get_logs().data_as_pandas
    log = log[log["task_name"] == "epoch"]
    fits = log.groupby("parent_task_id_path")["task_id"].apply(list)
    assert fits.tolist() == [[0, 1]] * (2 * 3 + 1)
    refitted = fits.index[-1]
    assert log[log["parent_task_id_path"] == refitted]["accuracy"].iloc[-1] == search.score(X, y)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_search_stops_where_its_network_is_asked_to(n_jobs, table):
    cnn = CNNClassifier(**QUICK).set_callbacks(Recorder(stop_after=2))
    search = GridSearchCV(cnn, {"dropout": [0.0, 0.3]}, cv=2, scoring=lambda cnn, X, y: cnn.n_iter_, n_jobs=n_jobs)
    search.fit(*table)
    assert_array_equal(search.cv_results_["mean_test_score"], [2, 2])
    assert search.best_estimator_.n_iter_ == 2


def test_a_callback_of_the_search_hears_of_the_networks_epochs(table):
    recorder = Propagated()
    search = GridSearchCV(CNNClassifier(**QUICK), {"dropout": [0.0, 0.3]}, cv=2).set_callbacks(recorder).fit(*table)
    assert recorder.events.count(("end", "epoch")) == 4 * (2 * 2 + 1)
    assert recorder.events.count(("setup", "fit")) == recorder.events.count(("teardown", "fit")) == 1
    assert not hasattr(search.best_estimator_, "_parent_callback_ctx")


# Without scikit-learn's callbacks

OLDER = """
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

sys.modules["sklearn.callback"] = None  # as before 1.9
from sklcnn import CNNClassifier, scikit_callbacks

X, y = load_digits(n_class=2, return_X_y=True)
cnn = CNNClassifier(
    input_shape=(8, 8), filters=4, dense_units=(), max_epochs=2, learning_rate=0.02, early_stopping=True, random_state=0
)
assert not hasattr(cnn, "set_callbacks")
assert scikit_callbacks.CallbackSupportMixin.__module__ == "sklcnn.scikit_callbacks"
assert cross_val_score(cnn, X, y, cv=2).min() > 0.6
assert list(cnn.fit(X, y).history_["epoch"]) == [1, 2]
print(cnn.fit(X, y).predict_proba(X[:1])[0, 0])
"""


@pytest.mark.slow
def test_nothing_is_missed_on_an_older_scikit_learn():
    from sklearn.datasets import load_digits

    X, y = load_digits(n_class=2, return_X_y=True)
    cnn = CNNClassifier(
        input_shape=(8, 8), filters=4, dense_units=(), max_epochs=2, learning_rate=0.02, early_stopping=True,
        random_state=0,
    )  # fmt: skip
    result = subprocess.run([sys.executable, "-c", OLDER], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(cnn.fit(X, y).predict_proba(X[:1])[0, 0], rel=1e-5)
