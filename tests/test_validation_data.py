"""Validation rows and groups that reach the network through pipelines and searches."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklcnn import CNNClassifier

DROPOUTS = {"cnn__dropout": [0.0, 0.2]}
VALIDATED = []  # the number of validation rows of each fit, in order


class CountValidationRows(Callback):
    def on_train_begin(self, net, X=None, y=None, **kwargs):
        VALIDATED.append(len(y))


@pytest.fixture(autouse=True)
def routing():
    VALIDATED.clear()
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def rows():
    X, y = load_digits(n_class=3, return_X_y=True)
    return X[:120], y[:120], X[120:180], y[120:180]


def make_cnn(**params):
    return CNNClassifier(
        input_shape=(8, 8), filters=4, dense_units=8, max_epochs=2, random_state=0, precision="float64", **params
    )


def make_pipeline(**params):
    cnn = make_cnn(callbacks=[CountValidationRows], **params).set_fit_request(X_val=True, y_val=True)
    return Pipeline([("scale", StandardScaler()), ("cnn", cnn)], transform_input=["X_val"])


def last_validation_loss(pipeline):
    return pipeline["cnn"].history_["val_loss"].iloc[-1]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_in_a_pipeline_the_validation_rows_are_scaled_as_the_training_rows_are(rows, early_stopping):
    X, y, X_val, y_val = rows
    pipeline = make_pipeline(early_stopping=early_stopping).fit(X, y, X_val=X_val, y_val=y_val)
    best = pipeline["cnn"].history_["val_loss"].iloc[pipeline["cnn"].best_epoch_ - 1]
    assert_allclose(best, log_loss(y_val, pipeline.predict_proba(X_val)))


def test_a_search_hands_validation_rows_of_another_number_to_every_fit_whole(rows):
    X, y, X_val, y_val = rows
    GridSearchCV(make_pipeline(), DROPOUTS, cv=KFold(3)).fit(X, y, X_val=X_val, y_val=y_val)
    assert VALIDATED == [60] * (2 * 3 + 1)


def test_a_search_scales_the_validation_rows_anew_with_each_training_fold(rows):
    X, y, X_val, y_val = rows
    losses = []

    def note_loss(pipeline, X, y):
        losses.append((last_validation_loss(pipeline), log_loss(y_val, pipeline.predict_proba(X_val))))
        return 0.0

    GridSearchCV(make_pipeline(), DROPOUTS, cv=KFold(3), scoring=note_loss).fit(X, y, X_val=X_val, y_val=y_val)
    recorded, computed = np.transpose(losses)
    assert len(set(recorded)) == 2 * 3
    assert_allclose(recorded, computed)


def test_a_search_cuts_validation_rows_as_many_as_the_training_rows_down_to_the_fold(rows):
    X, y, X_val, y_val = rows
    GridSearchCV(make_pipeline(), DROPOUTS, cv=KFold(3)).fit(X[:60], y[:60], X_val=X_val, y_val=y_val)
    assert VALIDATED == [40] * (2 * 3) + [60]


def test_a_search_in_processes_gives_what_it_gives_in_one(rows):
    X, y, X_val, y_val = rows
    pipeline = make_pipeline().set_params(cnn__callbacks=None)
    alone, together = (
        GridSearchCV(pipeline, DROPOUTS, cv=2, scoring="neg_log_loss", n_jobs=n_jobs).fit(
            X, y, X_val=X_val, y_val=y_val
        )
        for n_jobs in (1, 2)
    )
    assert_allclose(together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-12)
    assert last_validation_loss(together.best_estimator_) == last_validation_loss(alone.best_estimator_)


def test_groups_stay_whole_in_the_hold_out_of_every_training_fold_of_a_search(rows):
    X, y, _, _ = rows
    groups = np.arange(len(X)) // 6
    X = X.copy()
    X[:, 0] = groups  # the first pixel, empty in every digit, tells which group a row is of
    held_out = []

    def note_groups(cnn, X, y):
        held_out.append(X[:, 0])
        return 0.0

    cnn = make_cnn(early_stopping=True, scoring=note_groups).set_fit_request(groups=True)
    search = GridSearchCV(cnn, {"dropout": [0.0]}, cv=GroupKFold(4)).fit(X, y, groups=groups)
    assert search.best_estimator_.n_iter_ == 2
    assert len(held_out) == 2 * (4 + 1)  # each epoch of each fit
    for names in held_out:
        assert set(np.unique(names, return_counts=True)[1]) == {6}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, 1:], y, None), "X has 63 features"),
        (lambda X, y: (np.where(X > 15, np.nan, X), y, None), "Input X contains NaN"),
        (lambda X, y: (X, y[1:], None), "60 rows in X but 59 in y"),
        (lambda X, y: (X, y + 1, None), r"not among its classes: \[3\]"),
        (lambda X, y: (X, y, -np.ones(60)), "must not be negative"),
    ],
)
def test_an_error_says_that_it_is_about_the_validation_rows(rows, change, message):
    X, y, *validation = rows
    X_val, y_val, sample_weight_val = change(*validation)
    cnn = make_cnn()
    with pytest.raises(ValueError, match=rf"^Validation rows \(X_val, y_val\): .*{message}"):
        cnn.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val)
    assert not hasattr(cnn, "net_")


@pytest.mark.parametrize("groups", [[None] * 120, ["a", 1] * 60])
def test_groups_that_cannot_be_sorted_are_refused(rows, groups):
    with pytest.raises(TypeError, match=r"groups (holds values|must hold labels)"):
        make_cnn(early_stopping=True).fit(*rows[:2], groups=np.array(groups, dtype=object))
