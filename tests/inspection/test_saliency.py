"""Attributions: where networks made by hand look, and what covering a patch changes."""

import copy
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.inspection import SaliencyDisplay

METHODS = ["grad_cam", "occlusion", "integrated_gradients", "saliency"]
SMALL = {"filters": (2,), "dense_units": (), "max_epochs": 1, "random_state": 0}


def explain(cnn, X, method, **options):
    return SaliencyDisplay.from_estimator(cnn, X, method=method, draw=False, **options)


@pytest.fixture(scope="module")
def looks_left(two_tone, by_hand, set_by_hand):
    """Make a network that judges by the brightness of the left half alone."""
    cnn = by_hand(two_tone, (2,), kernel_size=1)
    # One map is lit by what is bright, the other by what is dark.
    set_by_hand(cnn.module_.block1.conv, [1, -1], [-0.5, 0.5])
    weight = np.zeros((2, 8, 10, 2))
    weight[1, :, :5, 0] = np.random.RandomState(0).rand(8, 5)
    set_by_hand(cnn.module_.output, weight)
    return cnn


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_looks_at_the_left_half_is_explained_by_it_alone(method, looks_left, two_tone):
    options = {"patch_size": 1} if method == "occlusion" else {"n_steps": 8} if method[0] == "i" else {}
    shown = explain(looks_left, two_tone, method, target=1, **options)
    assert shown.attributions.shape == (4, 8, 10)
    np.testing.assert_allclose(shown.attributions[:, :, 5:], 0, atol=1e-12)
    assert np.all(shown.attributions[:, :, :5] > 1e-6)


def test_grad_cam_of_the_class_that_the_left_half_speaks_against_is_zero(looks_left, two_tone):
    assert np.all(explain(looks_left, two_tone, "grad_cam", target=0).attributions == 0)


def test_grad_cam_weighs_maps_by_their_mean_gradient(looks_left, two_tone):
    cnn = looks_left
    bright = (two_tone[:4, ..., 0] - 0.5).clip(0)
    weights = cnn.module_.output.weight.detach().numpy().reshape(2, 8, 10, 2)
    gradient = (weights[1, ..., 0] - weights[0, ..., 0]).mean()
    shown = explain(cnn, two_tone, "grad_cam", target=1)
    np.testing.assert_allclose(shown.attributions, gradient * bright)


@pytest.mark.parametrize("pooling", [None, "max", "avg"])
def test_grad_cam_stands_on_the_last_block_before_it_is_pooled(pooling, two_tone, by_hand):
    cnn = by_hand(two_tone, (2, 3), pooling=pooling)
    default = explain(cnn, two_tone, "grad_cam")
    assert default.layer == "block2"
    np.testing.assert_allclose(default.attributions, explain(cnn, two_tone, "grad_cam", layer=-1).attributions)
    other = explain(cnn, two_tone, "grad_cam", layer="block1")
    assert not np.allclose(default.attributions, other.attributions)


def test_covering_a_dead_region_changes_nothing(looks_left, two_tone):
    shown = explain(looks_left, two_tone, "occlusion", patch_size=(3, 2), stride=(2, 1))
    dead = shown.patch_positions[1] >= 5
    assert dead.any() and not dead.all()
    plain = np.broadcast_to(shown.scores[:, None, None], shown.probabilities.shape)
    np.testing.assert_allclose(shown.probabilities[:, :, dead], plain[:, :, dead], rtol=1e-12)
    assert np.all(np.abs(shown.probabilities - plain)[:, :, ~dead] > 1e-6)


def covered(X, starts, size, value):
    """Cover one patch of samples (n, *spatial) or (n, *spatial, c)."""
    X = X.astype(float)
    X[(slice(None), *(slice(start, start + width) for start, width in zip(starts, size, strict=True)))] = value
    return X


@pytest.mark.parametrize(
    ("kind", "patch", "stride"),
    [
        ("signals", None, None),
        ("signals", 7, 4),  # the last patch is cut by the border
        ("signals of three channels", 5, 5),
        ("grey", None, None),
        ("grey", 12, 1),
        ("colour", (5, 3), (4, 2)),
        ("volumes", (2, 3, 8), (2, 2, 8)),
    ],
)
def test_occlusion_gives_what_is_predicted_with_each_patch_covered(kind, patch, stride, cases):
    case = cases[kind]
    shown = explain(
        case.cnn,
        case.X,
        "occlusion",
        samples=[3, 1],
        patch_size=patch,
        stride=stride,
        target=list(case.y),
        baseline=0.25,
    )
    grid = [len(starts) for starts in shown.patch_positions]
    assert shown.probabilities.shape == (2, *grid)
    for place in np.ndindex(*grid):
        starts = [axis[i] for axis, i in zip(shown.patch_positions, place, strict=True)]
        X = covered(case.X[[3, 1]], starts, shown.patch_size, 0.25)
        at = (slice(None), *place)
        probabilities = case.cnn.predict_proba(X)[[0, 1], [0, 2]]  # of an apple and a pear
        np.testing.assert_allclose(shown.probabilities[at], probabilities, rtol=1e-4)
        np.testing.assert_array_equal(shown.patch_predictions[at], case.cnn.predict(X))


def test_patches_reach_every_position(cases):
    case = cases["signals"]
    for patch in range(1, 31):
        for stride in {1, (patch + 1) // 2, patch}:
            shown = explain(case.cnn, case.X, "occlusion", samples=0, patch_size=patch, stride=stride)
            [starts] = shown.patch_positions
            reached = {position for start in starts for position in range(start, start + patch)}
            assert reached >= set(range(30)) and starts[-1] < 30


def test_occlusion_attributes_what_is_lost_on_average_over_the_patches(cases):
    case = cases["grey"]
    shown = explain(case.cnn, case.X, "occlusion", samples=[0], patch_size=5, stride=2)
    lost, times = np.zeros((12, 12)), np.zeros((12, 12))
    for (i, j), probability in np.ndenumerate(shown.probabilities[0]):
        patch = tuple(slice(axis[k], axis[k] + 5) for axis, k in zip(shown.patch_positions, (i, j), strict=True))
        lost[patch] += shown.scores[0] - probability
        times[patch] += 1
    np.testing.assert_allclose(shown.attributions[0], lost / times, atol=1e-6)


def test_patches_are_covered_with_the_training_mean_unless_told_otherwise(cases):
    case = cases["colour"]
    mean = case.X.mean((0, 1, 2))
    default = explain(case.cnn, case.X, "occlusion")
    np.testing.assert_allclose(
        default.probabilities, explain(case.cnn, case.X, "occlusion", baseline=mean).probabilities, rtol=1e-4
    )
    assert not np.allclose(default.probabilities, explain(case.cnn, case.X, "occlusion", baseline=0).probabilities)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_integrated_gradients_add_up_to_what_the_sample_is_worth(n_classes, cases):
    X = cases["grey"].X
    cnn = CNNClassifier(precision="float64", **SMALL).fit(X, np.arange(24) % n_classes)
    shown = explain(cnn, X, "integrated_gradients", target=1, n_steps=400)
    plain = np.full_like(X[:1], X.mean())
    scores = [cnn.decision_function(x).reshape(len(x), -1)[:, 0 if n_classes == 2 else 1] for x in (X[:4], plain)]
    np.testing.assert_allclose(shown.attributions.sum((1, 2)), scores[0] - scores[1], atol=2e-3 * np.ptp(scores[0]))


def test_integrated_gradients_of_a_regressor_are_in_units_of_y(cases):
    X = cases["signals"].X
    y = np.column_stack([X.mean(1), 1000 + 50 * X.mean(1)])
    cnn = CNNRegressor(precision="float64", **SMALL).fit(X, y)
    for column in (0, 1):
        shown = explain(cnn, X, "integrated_gradients", target=column, n_steps=400)
        difference = (cnn.predict(X[:4]) - cnn.predict(np.full_like(X[:1], X.mean())))[:, column]
        np.testing.assert_allclose(shown.attributions.sum(1), difference, atol=5e-3 * np.ptp(difference))
        np.testing.assert_allclose(shown.scores, cnn.predict(X[:4])[:, column])


def test_saliency_is_the_largest_slope_over_the_channels(cases):
    X = cases["colour"].X.astype(float)
    cnn = CNNClassifier(precision="float64", activation="tanh", **SMALL).fit(X, np.arange(24) % 2)
    shown = explain(cnn, X, "saliency", samples=[5])
    step = 1e-3
    for i, j in ((0, 0), (5, 4), (11, 9)):
        up, down = (np.repeat(X[5:6], 3, axis=0) for _ in range(2))
        up[range(3), i, j, range(3)] += step
        down[range(3), i, j, range(3)] -= step
        slopes = (cnn.decision_function(up) - cnn.decision_function(down)) / (2 * step)
        assert shown.attributions[0, i, j] == pytest.approx(np.abs(slopes).max(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_predicted_class_is_explained_unless_told_otherwise(method, cases):
    case = cases["grey"]
    default = explain(case.cnn, case.X, method)
    np.testing.assert_array_equal(default.targets, case.cnn.predict(case.X[:4]))
    np.testing.assert_array_equal(default.predictions, default.targets)
    np.testing.assert_allclose(default.scores, case.cnn.predict_proba(case.X[:4]).max(1), rtol=1e-6)
    given = explain(case.cnn, case.X, method, target=case.cnn.predict(case.X))
    np.testing.assert_allclose(given.attributions, default.attributions, rtol=1e-4, atol=1e-7)


def test_targets_are_labels_or_one_for_each_row(cases):
    case = cases["grey"]
    probabilities = case.cnn.predict_proba(case.X)
    for code, label in enumerate(case.cnn.classes_):
        for target in (label, str(label)):
            shown = explain(case.cnn, case.X, "saliency", target=target)
            np.testing.assert_allclose(shown.scores, probabilities[:4, code], rtol=1e-6)
    shown = explain(case.cnn, case.X, "saliency", target=list(case.y), samples=[7, 3])
    np.testing.assert_array_equal(shown.targets, case.y[[7, 3]])


@pytest.mark.parametrize("method", METHODS)
def test_a_label_of_an_indicator_matrix_is_explained_by_itself(method, cases):
    X = cases["grey"].X
    y = np.random.RandomState(0).randint(2, size=(24, 3))
    cnn = CNNClassifier(**SMALL).fit(X, y)
    shown = explain(cnn, X, method, target=2)
    np.testing.assert_allclose(shown.scores, cnn.predict_proba(X[:4])[:, 2], rtol=1e-6)
    np.testing.assert_array_equal(shown.predictions, cnn.predict(X[:4]))
    best = explain(cnn, X, method).targets
    np.testing.assert_array_equal(best, cnn.predict_proba(X[:4]).argmax(1))


@pytest.mark.parametrize("method", ["grad_cam", "occlusion"])
def test_columns_of_a_data_frame_are_known_by_their_names(method, cases):
    X = cases["grey"].X
    y = pd.DataFrame(np.random.RandomState(0).randint(2, size=(24, 3)), columns=["sky", "sea", "shore"])
    cnn = CNNClassifier(**SMALL).fit(X, y)
    assert cnn.classes_.tolist() == [0, 1, 2]
    shown = SaliencyDisplay.from_estimator(cnn, X, method=method, target="shore", samples=[3])
    np.testing.assert_array_equal(shown.targets, [2])
    np.testing.assert_array_equal(shown.attributions, explain(cnn, X, method, target=2, samples=[3]).attributions)
    assert shown.axes_[0, 1].get_title().startswith("P(shore) = ")
    with pytest.raises(ValueError, match=r"target='land' is no column of y .*: 'sky', 'sea', 'shore'"):
        explain(cnn, X, method, target="land")
    heights = CNNRegressor(**SMALL).fit(X, y + 1.5)
    shown = SaliencyDisplay.from_estimator(heights, X, method=method, target="sea", samples=[3])
    assert shown.axes_[0, 1].get_title().startswith("column sea: ")


def test_crosses_mark_the_patches_that_turn_the_prediction(looks_left, two_tone):
    cnn = copy.deepcopy(looks_left)
    with torch.no_grad():  # 1 is predicted where almost all of the left half is bright
        cnn.module_.output.bias[1] = -0.9 * cnn.decision_function(two_tone).min()
    shown = SaliencyDisplay.from_estimator(
        cnn, two_tone, method="occlusion", patch_size=(4, 2), stride=(4, 2), samples=[0, 1]
    )
    turned = shown.patch_predictions != shown.predictions[:, None, None]
    assert turned.any() and not turned.all()
    for i, (_, over) in enumerate(shown.axes_):
        [crosses] = over.get_lines()
        rows, columns = np.nonzero(turned[i])
        np.testing.assert_allclose(crosses.get_xdata(), 2 * columns + 0.5)
        np.testing.assert_allclose(crosses.get_ydata(), 4 * rows + 1.5)
    assert "turns the prediction" in shown.figure_.get_suptitle()


def test_overlays_cover_a_picture_of_another_size(cases):
    case = cases["files"]
    shown = SaliencyDisplay.from_estimator(case.cnn, case.X, samples=[0, 20])
    for picture, (plain, over) in zip(shown.pictures, shown.axes_, strict=True):
        assert plain.images[0].get_array().shape == picture.shape
        assert over.images[0].get_array().shape == picture.shape[:2]  # grey below the colours
        under, found = over.images
        assert found.get_array().shape == (12, 12) and found.get_extent() == under.get_extent()


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1, np.float32), (255, np.uint8), (255, np.float64), (-40, np.float64), (1e-3, np.float64)]
)
def test_pictures_of_any_range_are_drawn_alike(scale, dtype, two_tone):
    rng = np.random.RandomState(0)
    picture = rng.rand(2, 8, 8, 3)
    picture[0, 0, 0], picture[0, 0, 1] = 0, 1
    X = (scale * picture).astype(dtype)
    cnn = CNNClassifier(**SMALL).fit(X, [0, 1])
    drawn = SaliencyDisplay.from_estimator(cnn, X, samples=[0]).axes_[0, 0].images[0].get_array()
    expected = picture[0] if scale > 0 else 1 - picture[0]
    np.testing.assert_allclose(drawn, expected, atol=1 / 255)


@pytest.mark.parametrize("top", [1, 255])
def test_pictures_that_are_neither_black_nor_white_keep_their_brightness(top):
    X = top * np.random.RandomState(0).uniform(0.2, 0.6, (2, 8, 8, 3))
    cnn = CNNClassifier(**SMALL).fit(X, [0, 1])
    drawn = SaliencyDisplay.from_estimator(cnn, X, samples=[0]).axes_[0, 0].images[0].get_array()
    np.testing.assert_allclose(drawn, X[0] / top)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_occlusion_measures_log_odds_on_demand(n_classes, cases):
    X = cases["grey"].X
    cnn = CNNClassifier(precision="float64", **SMALL).fit(X, np.arange(24) % n_classes)
    options = {"patch_size": 4, "stride": 4, "target": 1}
    shown = explain(cnn, X, "occlusion", response_method="decision_function", **options)
    log_odds = np.log(shown.probabilities) - np.log1p(-shown.probabilities)
    plain = np.log(shown.scores) - np.log1p(-shown.scores)
    lost = np.kron(plain[:, None, None] - log_odds, np.ones((4, 4)))  # patches that do not overlap
    np.testing.assert_allclose(shown.attributions, lost, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(shown.probabilities, explain(cnn, X, "occlusion", **options).probabilities)


def test_log_odds_tell_parts_apart_where_the_network_is_sure(looks_left, two_tone):
    cnn = copy.deepcopy(looks_left)
    with torch.no_grad():
        cnn.module_.output.weight *= 100
    faint, clear = (
        SaliencyDisplay.from_estimator(cnn, two_tone, method="occlusion", patch_size=2, stride=2, **options)
        for options in ({}, {"response_method": "decision_function"})
    )
    assert np.all(np.abs(faint.attributions) < 1e-6)
    assert "the network is sure" in faint.figure_.get_suptitle()
    assert np.all(clear.attributions[:, :, :4] > 1) and np.all(clear.attributions[:, :, 6:] == 0)
    assert "sure" not in clear.figure_.get_suptitle()


def drawn_over(shown, i=0):
    """Return the values laid over a sample, and what is below them."""
    under, over = shown.axes_[i, -1].images
    return over.get_array(), under.get_array()


def test_contributions_of_a_large_picture_are_added_up_by_regions(looks_left):
    sign = (-1.0) ** np.add.outer(np.arange(140), np.arange(140))
    values = 10 * sign  # which speak for nothing
    values[20:60, 20:60] += 1  # but here
    shown = explain(looks_left, np.ones((1, 8, 10, 1)), "integrated_gradients")
    shown.attributions, shown.pictures = values[None], [np.full((140, 140, 1), 0.5)]
    drawn, _ = drawn_over(shown.plot())
    assert drawn[40, 40] > 0.7 and np.abs(drawn[90:, 90:]).max() < 0.05
    assert "smoothed over 8.6 positions" in shown.figure_.get_suptitle()
    speckled, _ = drawn_over(shown.plot(smoothing=0))
    np.testing.assert_allclose(speckled, np.clip(values / np.percentile(np.abs(values), 98), -1, 1))


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency"])
def test_positions_of_small_pictures_are_drawn_one_by_one(method, looks_left, two_tone):
    shown = SaliencyDisplay.from_estimator(looks_left, two_tone, method=method)
    values = shown.attributions[0] / np.percentile(np.abs(shown.attributions[0]), 98)
    np.testing.assert_allclose(drawn_over(shown)[0], np.clip(values, -1, 1))
    assert "smoothed" not in shown.figure_.get_suptitle()


@pytest.mark.parametrize("method", METHODS)
def test_colours_stand_on_the_bar_as_on_dark_and_bright_pictures(method, looks_left, two_tone):
    for X in (0.05 * two_tone, two_tone):
        shown = SaliencyDisplay.from_estimator(looks_left, X, method=method)
        ground = drawn_over(shown)[1]
        bar = shown.figure_.axes[-1].get_facecolor()[0]
        assert ground.min() >= 0.5 and abs(bar - 0.75) < 0.01


def test_a_map_without_anything_for_the_target_is_said_to_be_blank(looks_left, two_tone):
    against, in_favour = (SaliencyDisplay.from_estimator(looks_left, two_tone, target=target) for target in (0, 1))
    assert "blank: no map of the layer speaks for the target" in against.figure_.get_suptitle()
    assert "blank" not in in_favour.figure_.get_suptitle()


def test_classes_are_called_by_display_labels(cases):
    case = cases["grey"]
    names = ["an apple", "a fig", "a pear"]
    shown = SaliencyDisplay.from_estimator(case.cnn, case.X, target="fig", display_labels=names)
    assert shown.targets.tolist() == ["fig"] * 4
    assert all(over.get_title().startswith("P(a fig) = ") for _, over in shown.axes_)


def test_classes_that_begin_alike_have_different_titles(cases, find_overlaps):
    case = cases["grey"]
    names = ["standing", "sitting down on a chair", "sitting down on a bench"]
    shown = SaliencyDisplay.from_estimator(
        case.cnn, case.X, target=case.y, samples=range(3), method="saliency", display_labels=names
    )
    assert shown.target_names.tolist() == [names[0], names[2], names[1]]  # of apple, pear, fig
    titles = [over.get_title().partition(" =")[0] for _, over in shown.axes_]
    assert titles == ["P(standing)", "P(sitting … a bench)", "P(sitting … a chair)"]
    assert find_overlaps(shown.figure_) == []


def test_columns_that_begin_alike_have_different_titles_also_where_only_one_is_shown(cases):
    X = cases["grey"].X
    y = pd.DataFrame(
        np.random.RandomState(0).rand(24, 2), columns=["height above the left eye", "height above the right eye"]
    )
    shown = SaliencyDisplay.from_estimator(CNNRegressor(**SMALL).fit(X, y), X, method="saliency", target=1, samples=[0])
    assert shown.axes_[0, 1].get_title().startswith("column height a…ight eye: ")


# Backbones.


class Stages(nn.Module):
    """A backbone with a shortcut, pooled stages, and a convolution on the pooled features."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.stage = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.after = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.top = nn.Conv2d(4, 6, 1)

    def forward(self, images):
        maps = self.stem(images)
        maps = self.after(maps + self.stage(maps.clone()))
        return self.top(self.pool(maps).mean((2, 3), keepdim=True))


@pytest.fixture(scope="module", params=[None, 5], ids=["trained", "frozen"])
def on_stages(request, two_tone):
    torch.manual_seed(0)
    return CNNClassifier(
        backbone=Stages(), dense_units=(), max_epochs=1, freeze_epochs=request.param, random_state=0
    ).fit(two_tone, [0, 1, 0, 1, 0])


@pytest.mark.parametrize("method", METHODS)
def test_backbones_are_explained_and_left_as_they_were(method, on_stages, two_tone, describe_state):
    before = describe_state(on_stages)
    shown = [explain(on_stages, two_tone, method, target=target) for target in (0, 1)]
    assert max(np.abs(one.attributions).max() for one in shown) > 0
    scores = np.column_stack([one.scores for one in shown])
    np.testing.assert_allclose(scores, on_stages.predict_proba(two_tone[:4]), rtol=1e-5)
    assert describe_state(on_stages) == before


def test_grad_cam_stands_on_the_end_of_a_backbones_last_stage(on_stages, two_tone):
    shown = explain(on_stages, two_tone, "grad_cam")
    assert shown.layer == "backbone.network.after"
    other = explain(on_stages, two_tone, "grad_cam", layer="backbone.network.stem")
    assert not np.allclose(shown.attributions, other.attributions)


def test_grad_cam_agrees_with_its_formula_on_an_inner_layer(on_stages, two_tone):
    from sklcnn.inspection import FeatureMapDisplay

    network, head = on_stages.module_.backbone.network, on_stages.module_[1:]
    maps = FeatureMapDisplay.from_estimator(
        on_stages, two_tone, layer="backbone.network.pool", samples=range(4), draw=False
    ).maps
    maps = torch.from_numpy(maps).requires_grad_()
    outputs = head(network.top(maps.mean((2, 3), keepdim=True)).flatten(1))
    (outputs[:, 1] - outputs[:, 0]).sum().backward()
    expected = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1).detach().clamp(min=0)
    expected = nn.functional.interpolate(expected[:, None], (8, 10), mode="bilinear")[:, 0]
    shown = explain(on_stages, two_tone, "grad_cam", layer="backbone.network.pool", target=1)
    np.testing.assert_allclose(shown.attributions, expected.numpy(), rtol=1e-4, atol=1e-7)


def test_a_network_without_convolutions_has_no_grad_cam_but_gradients(two_tone):
    cnn = CNNClassifier(filters=(), dense_units=(), max_epochs=1, random_state=0).fit(two_tone, [0, 1, 0, 1, 0])
    with pytest.raises(ValueError, match=r"no convolution layer.*saliency"):
        explain(cnn, two_tone, "grad_cam")
    assert explain(cnn, two_tone, "saliency").attributions.shape == (4, 8, 10)


# Errors.


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "gradcam"}, ValueError, "method must be one of 'grad_cam', 'occlusion'.*'gradcam'"),
        ({"method": None}, ValueError, "method"),
        ({"method": "saliency", "layer": 0}, ValueError, "layer=0 is for method 'grad_cam', but method='saliency'"),
        ({"method": "grad_cam", "patch_size": 2}, ValueError, "patch_size=2 is for method 'occlusion'"),
        ({"method": "grad_cam", "baseline": 0}, ValueError, "'occlusion' and 'integrated_gradients'"),
        ({"layer": "block9"}, ValueError, "no layer 'block9'.*block1"),
        ({"layer": "output"}, ValueError, "'output'.*not feature maps.*block1, block2"),
        ({"target": "plum"}, ValueError, "target='plum' is no class.*'apple', 'fig', 'pear'"),
        ({"target": ["fig", "pear"]}, ValueError, "target holds 2 entries, but X has 24 rows"),
        ({"method": "occlusion", "patch_size": 13}, ValueError, r"patch_size=13 must be from 1 to \(12, 12\)"),
        ({"method": "occlusion", "patch_size": (1, 2, 3)}, ValueError, "patch_size=.*or 2 of them"),
        ({"method": "occlusion", "patch_size": 2, "stride": 3}, ValueError, r"stride=3 must be from 1 to \(2, 2\)"),
        ({"method": "occlusion", "stride": 0.5}, ValueError, "stride=0.5 must be a whole number"),
        ({"method": "occlusion", "baseline": [1, 2]}, ValueError, "baseline holds 2 numbers.*1 channel"),
        ({"method": "occlusion", "response_method": "logits"}, ValueError, "response_method must be one of 'predict_p"),
        ({"response_method": "predict_proba"}, ValueError, "response_method='predict_proba' is for method 'occlusion'"),
        ({"smoothing": 2}, ValueError, "smoothing=2 is for method 'integrated_gradients' and 'saliency'"),
        ({"method": "saliency", "smoothing": -1}, ValueError, "smoothing must be a number from 0 to 1,000,000; got -1"),
        ({"target": {"fig"}}, ValueError, "target={'fig'} is no class"),
        ({"method": "occlusion", "baseline": "dark"}, TypeError, "baseline must be one number.*'dark'"),
        ({"method": "occlusion", "baseline": np.nan}, ValueError, "baseline=nan holds what is not finite"),
        ({"method": "integrated_gradients", "n_steps": 0}, ValueError, "n_steps must be a whole number from 1 .*got 0"),
        ({"method": "saliency", "draw": True, "alpha": 2}, ValueError, "alpha must be a number from 0 to 1; got 2"),
        ({"display_labels": ["apple"]}, ValueError, r"display_labels has shape \(1,\), but there are 3 classes"),
    ],
    ids=str,
)
def test_what_cannot_be_explained_is_an_error(options, error, words, cases):
    case = cases["grey"]
    with pytest.raises(error, match=words):
        SaliencyDisplay.from_estimator(case.cnn, case.X, **{"draw": False} | options)


def test_columns_that_do_not_exist_are_an_error(cases):
    X = cases["grey"].X
    cnn = CNNRegressor(**SMALL).fit(X, X.mean((1, 2)))
    with pytest.raises(ValueError, match=r"target=1 is no column of y.*: 0\."):
        explain(cnn, X, "saliency", target=1)


def test_a_regressor_has_no_log_odds(cases):
    X = cases["grey"].X
    cnn = CNNRegressor(**SMALL).fit(X, X.mean((1, 2)))
    with pytest.raises(ValueError, match="response_method is for a classifier"):
        explain(cnn, X, "occlusion", response_method="decision_function")


def test_a_missing_captum_is_an_error_that_names_the_extra(cases, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "captum"] or ["captum"]:
        monkeypatch.setitem(sys.modules, name, None)
    case = cases["grey"]
    with pytest.raises(ImportError, match=r'captum.*pip install "sklcnn\[inspect\]"'):
        SaliencyDisplay.from_estimator(case.cnn, case.X)
