"""Mistakes: the largest losses, and what was true and predicted there."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.metrics import log_loss

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.inspection import MistakesDisplay

SMALL = {"filters": (2,), "dense_units": (), "max_epochs": 1, "random_state": 0}


def mistakes(cnn, X, y, **options):
    return MistakesDisplay.from_estimator(cnn, X, y, draw=False, **options)


def test_losses_of_labels_are_sorted_and_minus_the_log_of_the_true_ones_probability(cases):
    case = cases["colour"]
    shown = mistakes(case.cnn, case.X, case.y, n_samples=24)
    probabilities = case.cnn.predict_proba(case.X)
    losses = -np.log(probabilities[np.arange(24), np.searchsorted(case.cnn.classes_, case.y)])
    assert np.all(np.diff(shown.losses) <= 0)
    np.testing.assert_array_equal(np.sort(shown.rows), np.arange(24))
    np.testing.assert_allclose(shown.losses, losses[shown.rows], rtol=1e-5)
    np.testing.assert_array_equal(shown.y_true, case.y[shown.rows])
    np.testing.assert_array_equal(shown.y_pred, case.cnn.predict(case.X)[shown.rows])
    np.testing.assert_allclose(shown.probabilities, probabilities[shown.rows], rtol=1e-5)


def test_losses_of_label_sets_are_the_mean_over_labels(cases):
    X = cases["grey"].X
    y = np.random.RandomState(0).randint(2, size=(24, 3))
    cnn = CNNClassifier(**SMALL).fit(X, y)
    shown = mistakes(cnn, X, y, n_samples=5)
    p = cnn.predict_proba(X)
    losses = np.mean(-y * np.log(p) - (1 - y) * np.log1p(-p), axis=1)
    np.testing.assert_array_equal(shown.rows, np.argsort(-losses)[:5])
    np.testing.assert_allclose(shown.losses, losses[shown.rows], rtol=1e-4)
    np.testing.assert_array_equal(shown.y_true, y[shown.rows])
    np.testing.assert_array_equal(shown.y_pred, cnn.predict(X)[shown.rows])


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_labels_of_a_data_frame_are_called_by_its_columns(library, cases):
    X = cases["grey"].X
    indicators = np.random.RandomState(0).randint(2, size=(24, 3))
    y = library.DataFrame(dict(zip(["sky", "sea", "shore"], indicators.T, strict=True)))
    cnn = CNNClassifier(**SMALL).fit(X, y)
    shown = MistakesDisplay.from_estimator(cnn, X, y, n_samples=24)
    assert shown.classes.tolist() == ["sky", "sea", "shore"]
    for row, panel in zip(shown.rows, shown.axes_, strict=True):
        _, true, predicted, worst = panel.get_title().split("\n")
        names = [name for name, there in zip(shown.classes, indicators[row], strict=True) if there]
        assert true == f"true {', '.join(names) or 'none'}"
        assert predicted.startswith("pred. ")
        assert re.match(r"P\((sky|sea|shore)\) = 0\.", worst)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_values_with_the_largest_errors_come_first_in_units_of_y(loss, cases):
    X = cases["signals"].X
    y = 1000 + 50 * X.mean(1)
    cnn = CNNRegressor(loss=loss, **SMALL).fit(X, y)
    shown = mistakes(cnn, X, y, n_samples=4)
    errors = cnn.predict(X) - y
    np.testing.assert_array_equal(shown.rows, np.argsort(-np.abs(errors))[:4])
    # Of values about 1000, which float32 has in steps of 6e-5.
    np.testing.assert_allclose(shown.y_pred - shown.y_true, errors[shown.rows], atol=1e-3)
    assert shown.probabilities is None
    text = shown.plot().axes_[0].get_title()
    assert f"error {errors[shown.rows[0]]:+.3g}" in text


@pytest.mark.parametrize("wrap", [np.asarray, list, pd.Series, torch.from_numpy, lambda y: pd.DataFrame({"y": y})])
def test_true_values_are_those_that_were_given(wrap, cases):
    X = cases["signals"].X
    y = np.arange(24) % 3 / 10
    cnn = CNNRegressor(**SMALL).fit(X, y)
    shown = MistakesDisplay.from_estimator(cnn, X, wrap(y), n_samples=24)
    np.testing.assert_array_equal(shown.y_true, y[shown.rows])
    assert any("true 0," in panel.get_title() for panel in shown.axes_)
    several = np.column_stack([y, 1 - y])
    shown = mistakes(CNNRegressor(**SMALL).fit(X, several), X, several, n_samples=5)
    np.testing.assert_array_equal(shown.y_true, several[shown.rows])


def test_classes_are_named_as_the_user_says(cases):
    case = cases["grey"]
    names = ["Apfel", "Feige", "Birne"]  # of apple, fig, pear
    shown = MistakesDisplay.from_estimator(case.cnn, case.X, case.y, display_labels=names, n_samples=24)
    translated = dict(zip(case.cnn.classes_, names, strict=True))
    for i, panel in enumerate(shown.axes_):
        lines = panel.get_title().split("\n")
        assert lines[1:3] == [f"true {translated[shown.y_true[i]]}", f"pred. {translated[shown.y_pred[i]]}"]


def test_labels_of_an_indicator_matrix_are_named_as_the_user_says(cases):
    X = cases["grey"].X
    y = np.random.RandomState(0).randint(2, size=(24, 3))
    cnn = CNNClassifier(**SMALL).fit(X, y)
    shown = MistakesDisplay.from_estimator(cnn, X, y, display_labels=["round", "red", "ripe"], n_samples=24)
    titles = [panel.get_title().split("\n") for panel in shown.axes_]
    both = np.flatnonzero((shown.y_true == [1, 0, 1]).all(1))
    assert [titles[i][1] for i in both] == ["true round, ripe"] * len(both)
    assert {title[3].partition(")")[0] for title in titles} <= {"P(round", "P(red", "P(ripe"}


def test_names_that_are_not_one_a_class_are_an_error(cases):
    case = cases["grey"]
    with pytest.raises(ValueError, match=r"display_labels has shape \(2,\), but there are 3 classes"):
        mistakes(case.cnn, case.X, case.y, display_labels=["Apfel", "Birne"])
    regressor = CNNRegressor(**SMALL).fit(case.X, case.X.mean((1, 2)))
    with pytest.raises(ValueError, match="display_labels names classes, but a CNNRegressor has none"):
        mistakes(regressor, case.X, case.X.mean((1, 2)), display_labels=["one"])


def test_the_mean_loss_is_that_of_scikit_learn(cases):
    case = cases["grey"]
    shown = mistakes(case.cnn, case.X, case.y, n_samples=24)
    assert np.mean(shown.losses) == pytest.approx(log_loss(case.y, case.cnn.predict_proba(case.X)), rel=1e-5)


def test_of_equal_losses_the_earlier_row_comes_first(cases):
    case = cases["grey"]
    shown = mistakes(case.cnn, np.tile(case.X[:2], (20, 1, 1)), np.tile(case.y[:2], 20), n_samples=40)
    for loss in np.unique(shown.losses):
        assert np.all(np.diff(shown.rows[shown.losses == loss]) > 0)
    assert len(np.unique(shown.losses)) < 40


def test_titles_tell_what_is_true_and_how_probable_the_prediction_was(cases):
    case = cases["grey"]
    shown = mistakes(case.cnn, case.X, case.y, n_samples=24).plot()
    for i, panel in enumerate(shown.axes_):
        wrong = shown.y_true[i] != shown.y_pred[i]
        assert panel.get_title().split("\n") == [
            f"sample {shown.rows[i]}",
            f"true {shown.y_true[i]}",
            f"pred. {shown.y_pred[i]}",
            f"probability {shown.probabilities[i].max():.2f}",
        ]
        assert (panel.title.get_color() == "firebrick") == wrong


def test_long_labels_are_cut(cases, find_overlaps):
    X = cases["grey"].X
    y = np.repeat(["an extraordinarily long name of a fruit", "another name that does not end"], 12)
    cnn = CNNClassifier(**SMALL).fit(X, y)
    shown = MistakesDisplay.from_estimator(cnn, X, y)
    assert find_overlaps(shown.figure_) == []


def test_targets_that_do_not_fit_are_an_error(cases):
    case = cases["grey"]
    with pytest.raises(ValueError, match="X has 24 rows, but y has 23"):
        mistakes(case.cnn, case.X, case.y[:-1])
    with pytest.raises(ValueError, match="plum"):
        mistakes(case.cnn, case.X, np.where(case.y == "fig", "plum", case.y))
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="n_samples"):
            mistakes(case.cnn, case.X, case.y, n_samples=wrong)


ALIKE = ["canis lupus familiaris alsatian vulgaris", "canis lupus familiaris terrier vulgaris", "fox"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sitting down on a chair", "sitting down on a bench", "fox"], ["sitting…a chair", "sitting…a bench", "fox"]),
        (ALIKE, ["…alsatian…", "…terrier…", "fox"]),
        ([f"{'0' * 20}{letter}{'1' * 20}" for letter in "abc"], [f"…000000000000{letter}…" for letter in "abc"]),
        (["the same name twice"] * 2 + ["fox"], ["the same n… (0)", "the same n… (1)", "fox"]),
        (["dog", "dog", "dog (0)"], ["dog (0)", "dog (1)", "dog (0) (2)"]),
    ],
    ids=["ends", "words between", "characters between", "numbers", "numbers that look like names"],
)
def test_classes_that_differ_look_different_where_their_names_are_cut(names, expected, cases, find_overlaps):
    case = cases["grey"]
    shown = MistakesDisplay.from_estimator(case.cnn, case.X, case.y, display_labels=names, n_samples=24)
    called = dict(zip(case.cnn.classes_, expected, strict=True))
    for i, panel in enumerate(shown.axes_):
        lines = panel.get_title().split("\n")
        assert lines[1:3] == [f"true {called[shown.y_true[i]]}", f"pred. {called[shown.y_pred[i]]}"]
    assert find_overlaps(shown.figure_) == []


SOUNDS = ["background noise", "background music", "speech", "laughter", "dogs barking"]


def texts_of_sets(cases, true, predicted):
    """Return what titles say of true and of predicted sets of sounds, and the figure."""
    shown = mistakes(cases["grey"].cnn, cases["grey"].X, cases["grey"].y, n_samples=len(true))
    shown.y_true, shown.y_pred, shown.display_labels = np.array(true), np.array(predicted), np.array(SOUNDS)
    shown.probabilities = np.full((len(true), len(SOUNDS)), 0.5)
    lines = [panel.get_title().split("\n") for panel in shown.plot().axes_]
    return [(line[1].removeprefix("true "), line[2].removeprefix("pred. ")) for line in lines], shown.figure_


def test_each_label_of_a_set_is_cut_to_its_share_of_the_place(cases):
    true = [[1, 0, 0, 0, 0], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1]]
    predicted = [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]]
    texts, _ = texts_of_sets(cases, true, predicted)
    assert texts == [
        ("background noi…", "bac…ise, speech"),
        ("b…e, spe…, lau…", "none"),
        ("ba…se, dogs… +3", "ba…se, ba…ic +2"),  # dogs are what differs
    ]


def test_different_sets_of_labels_have_different_texts(cases, find_overlaps):
    true, predicted = np.random.RandomState(0).randint(2, size=(2, 24, 5))
    true[0] = predicted[0]
    texts, figure = texts_of_sets(cases, true, predicted)
    assert [one == other for one, other in texts] == (true == predicted).all(1).tolist()
    assert find_overlaps(figure) == []


def test_one_sample_has_one_loss_in_the_title(cases):
    case = cases["grey"]
    shown = MistakesDisplay.from_estimator(case.cnn, case.X, case.y, n_samples=1)
    assert shown.figure_.get_suptitle() == f"largest loss, {shown.losses[0]:.4g}"
