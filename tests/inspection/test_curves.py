"""Training curves: the histories, their names, and where the best epoch is marked."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.inspection import TrainingCurveDisplay

SMALL = {"filters": (2,), "dense_units": (), "max_epochs": 4, "random_state": 0}


@pytest.fixture(scope="module")
def stopped(cases):
    case = cases["grey"]
    return CNNClassifier(early_stopping=True, patience=4, **SMALL).fit(case.X, case.y)


@pytest.fixture(scope="module")
def rated(cases):
    case = cases["grey"]
    return CNNClassifier(learning_rate=0.1, **SMALL).fit(case.X, case.y)


def test_curves_are_the_history(stopped):
    shown = TrainingCurveDisplay.from_estimator(stopped, learning_rate=True)
    pd.testing.assert_frame_equal(shown.histories[0], stopped.history_)
    drawn = {
        (panel.get_ylabel(), line.get_linestyle()): line.get_ydata()
        for panel in shown.axes_
        for line in panel.get_lines()
        if len(line.get_ydata()) == len(stopped.history_)
    }
    columns = {
        ("loss", "--"): "train_loss",
        ("loss", "-"): "val_loss",
        ("accuracy", "--"): "train_score",
        ("accuracy", "-"): "val_score",
        ("learning rate", "-"): "learning_rate",
    }
    assert drawn.keys() == columns.keys()
    for place, column in columns.items():
        np.testing.assert_array_equal(drawn[place], stopped.history_[column])


def test_the_best_epoch_is_marked_on_the_validation_loss(stopped):
    shown = TrainingCurveDisplay.from_estimator(stopped)
    marks = [line for line in shown.axes_[0].get_lines() if line.get_marker() == "o"]
    at_best = stopped.history_.set_index("epoch").loc[stopped.best_epoch_, "val_loss"]
    assert [(*mark.get_xdata(), *mark.get_ydata()) for mark in marks] == [(stopped.best_epoch_, at_best)]
    assert f"best epoch ({stopped.best_epoch_})" in [
        text.get_text() for text in shown.axes_[0].get_legend().get_texts()
    ]


def test_a_refit_shows_the_epoch_that_was_chosen(cases):
    case = cases["grey"]
    cnn = CNNClassifier(early_stopping=True, refit_full=True, **SMALL).fit(case.X, case.y)
    assert TrainingCurveDisplay.from_estimator(cnn, draw=False).best_epochs == [cnn.best_epoch_]


@pytest.mark.parametrize("validated", [False, True])
def test_no_epoch_is_the_best_where_none_was_chosen(validated, cases):
    case = cases["grey"]
    cnn = CNNClassifier(**SMALL).fit(case.X, case.y, **({"X_val": case.X, "y_val": case.y} if validated else {}))
    for shown in (TrainingCurveDisplay.from_estimator(cnn), TrainingCurveDisplay.from_estimator([cnn, cnn])):
        lines = [line for panel in shown.axes_ for line in panel.get_lines()]
        assert {len(line.get_xdata()) for line in lines} == {len(cnn.history_)}
        assert not [text for text in shown.axes_[0].get_legend().get_texts() if "best" in text.get_text()]


def test_several_fits_are_named_by_what_differs(stopped, rated, find_overlaps):
    shown = TrainingCurveDisplay.from_estimator([stopped, rated])
    assert shown.names == [
        "early_stopping=True, learning_rate=0.002, patience=4",
        "early_stopping=False, learning_rate=0.1, patience='auto'",
    ]
    assert find_overlaps(shown.figure_) == []
    assert TrainingCurveDisplay.from_estimator({"a": stopped, "b": rated}, draw=False).names == ["a", "b"]
    assert TrainingCurveDisplay.from_estimator([rated, rated], draw=False).names == [
        "CNNClassifier 1",
        "CNNClassifier 2",
    ]
    assert TrainingCurveDisplay.from_estimator((stopped, rated), names="ab", draw=False).names == ["a", "b"]
    with pytest.raises(ValueError, match="names holds 1 names for 2 estimators"):
        TrainingCurveDisplay.from_estimator([stopped, rated], names=["a"])
    with pytest.raises(ValueError, match="at least one"):
        TrainingCurveDisplay.from_estimator([])


def test_a_search_and_another_fit_share_the_panels(rated, cases):
    case = cases["grey"]
    search = GridSearchCV(CNNClassifier(**SMALL), {"learning_rate": [1e-3, 1e-2]}, cv=2).fit(case.X, case.y)
    shown = TrainingCurveDisplay.from_estimator([search, rated])
    pd.testing.assert_frame_equal(shown.histories[0], search.best_estimator_.history_)
    assert len(shown.axes_) == 2


def test_scores_have_the_name_of_what_is_measured(stopped, rated, cases):
    case = cases["grey"]
    assert TrainingCurveDisplay.from_estimator(stopped, draw=False).score_name == "accuracy"
    regressor = CNNRegressor(**SMALL).fit(case.X, case.X.mean((1, 2)))
    assert TrainingCurveDisplay.from_estimator(regressor, draw=False).score_name == "R²"
    label_sets = CNNClassifier(**SMALL).fit(case.X, 1 - np.eye(3, dtype=int)[np.arange(24) % 3])
    assert TrainingCurveDisplay.from_estimator(label_sets, draw=False).score_name == "subset accuracy"
    scored = CNNClassifier(early_stopping=True, scoring="f1_macro", **SMALL).fit(case.X, case.y)
    assert TrainingCurveDisplay.from_estimator(scored, draw=False).score_name == "f1_macro"
    assert TrainingCurveDisplay.from_estimator([scored, rated], draw=False).score_name == "score"


def test_panels_are_drawn_on_demand(rated):
    for options, labels in (
        ({}, ["loss", "accuracy"]),
        ({"score": False}, ["loss"]),
        ({"learning_rate": True}, ["loss", "accuracy", "learning rate"]),
    ):
        shown = TrainingCurveDisplay.from_estimator(rated, **options)
        assert [panel.get_ylabel() for panel in shown.axes_] == labels
        assert shown.axes_[-1].get_xlabel() == "epoch"
