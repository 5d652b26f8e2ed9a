"""Feature maps: what a known filter gives on a known picture, and which layer is which."""

import numpy as np
import pytest
import torch
from torch import nn

from sklcnn import CNNClassifier
from sklcnn.inspection import FeatureMapDisplay

EDGE = [[-1, 0, 1]] * 3  # answers where it grows brighter to the right


@pytest.fixture(scope="module")
def step():
    """Make two pictures that are black, and white from the fifth column on."""
    X = np.zeros((2, 8, 10, 1))
    X[:, :, 5:] = 1
    return X


def maps_of(cnn, X, **options):
    return FeatureMapDisplay.from_estimator(cnn, X, draw=False, **options).maps


@pytest.mark.parametrize("pooling", [None, "max", "avg"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_edge_filter_lights_up_on_the_edge_at_full_resolution(pooling, activation, step, by_hand, set_by_hand):
    cnn = by_hand(step, (2,), pooling=pooling, activation=activation)
    set_by_hand(cnn.module_.block1.conv, [EDGE, np.negative(EDGE)])
    before = maps_of(cnn, step, after_activation=False)
    expected = np.zeros((8, 10))
    expected[:, 4:6] = 3  # the two columns beside the edge, ...
    expected[:, 9] = -3  # ... and the right border, beyond which is black
    expected[[0, -1]] *= 2 / 3
    np.testing.assert_allclose(before, np.stack([[expected, -expected]] * 2))
    after = maps_of(cnn, step)
    np.testing.assert_allclose(after, cnn.module_.block1.activation(torch.from_numpy(before)).numpy())
    assert np.all((after[:, 0, 1:-1] > 1) == (expected[1:-1] > 1))


@pytest.mark.parametrize("kind", ["signals", "grey", "colour", "volumes"])
def test_a_block_gives_its_pooled_maps_to_the_next(kind, cases):
    case = cases[kind]
    module = case.cnn.module_
    maps = torch.from_numpy(maps_of(case.cnn, case.X, layer="block1"))
    following = torch.from_numpy(maps_of(case.cnn, case.X, layer="block2", after_activation=False))
    convolved = nn.Sequential(*module.block2.convolving())(module.block1.pool(maps))
    torch.testing.assert_close(convolved.detach(), following)


def test_batch_norm_comes_before_the_activation(step, by_hand):
    cnn = by_hand(step, (3,), batch_norm=True)
    norm, conv = cnn.module_.block1.norm, cnn.module_.block1.conv
    expected = norm(conv(torch.from_numpy(step).movedim(-1, 1))).detach().numpy()
    np.testing.assert_allclose(maps_of(cnn, step, after_activation=False), expected)


def test_positions_and_names_are_the_same_layers(cases):
    case = cases["grey"]
    for positions, name in (((0, -2, np.int64(0)), "block1"), ((1, -1), "block2")):
        expected = maps_of(case.cnn, case.X, layer=name)
        for position in positions:
            np.testing.assert_allclose(maps_of(case.cnn, case.X, layer=position), expected, rtol=1e-5, atol=1e-6)


def test_other_layers_give_what_they_return(cases):
    case = cases["grey"]
    pooled = maps_of(case.cnn, case.X, layer="block1.pool")
    expected = case.cnn.module_[:2](torch.from_numpy(case.X[:2, None]).float()).detach().numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)
    standardized = maps_of(case.cnn, case.X, layer="standardize")
    np.testing.assert_allclose(standardized[:, 0], (case.X[:2] - case.X.mean()) / case.X.std(), rtol=1e-4, atol=1e-5)


def test_filters_are_the_weights_and_only_convolutions_have_them(cases):
    case = cases["colour"]
    for layer in ("block1", "block1.conv"):
        shown = FeatureMapDisplay.from_estimator(case.cnn, case.X, layer=layer, draw=False)
        np.testing.assert_array_equal(shown.filters, case.cnn.module_.block1.conv.weight.detach().numpy())
    shown = FeatureMapDisplay.from_estimator(case.cnn, case.X, layer="block1.pool", draw=False)
    assert shown.filters is None
    with pytest.raises(ValueError, match=r"block1\.pool.*no filters"):
        shown.plot(filters=True)


@pytest.mark.parametrize("kind", ["signals", "signals of three channels", "grey", "colour", "volumes"])
@pytest.mark.parametrize("layer", [0, 1])
def test_filters_are_drawn_above_their_maps(kind, layer, cases, find_overlaps):
    case = cases[kind]
    shown = FeatureMapDisplay.from_estimator(case.cnn, case.X, layer=layer, filters=True)
    n_maps = shown.maps.shape[1]
    assert shown.axes_.shape == (1 + len(shown.maps), 1 + n_maps)
    assert shown.axes_[0, 0] is None and all(panel.has_data() for panel in shown.axes_[0, 1:])
    assert find_overlaps(shown.figure_) == []


def test_filters_on_colours_are_drawn_as_colours_around_grey(cases):
    case = cases["colour"]
    shown = FeatureMapDisplay.from_estimator(case.cnn, case.X, filters=True)
    top = np.abs(shown.filters).max()
    drawn = shown.axes_[0, 1].images[0].get_array()
    np.testing.assert_allclose((drawn - 0.5) * 2 * top, shown.filters[0].transpose(1, 2, 0), atol=1e-6)


def test_at_most_so_many_maps_are_drawn(by_hand, step):
    cnn = by_hand(step, (20,))
    shown = FeatureMapDisplay.from_estimator(cnn, step, samples=[0], max_maps=9)
    assert sum(panel is not None for panel in shown.axes_.flat) == 1 + 9
    assert shown.maps.shape[1] == 20 and "9 of 20 maps" in shown.figure_.get_suptitle()
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match="max_maps"):
            shown.plot(max_maps=wrong)


def test_an_unknown_layer_is_an_error_that_names_the_layers(cases):
    case = cases["grey"]
    with pytest.raises(ValueError, match=r"no layer 'block3'.*standardize, block1, .*block2\.conv.*output"):
        maps_of(case.cnn, case.X, layer="block3")
    with pytest.raises(ValueError, match=r"layer=2 .*2 convolution layers.*block1"):
        maps_of(case.cnn, case.X, layer=2)
    for wrong in (1.0, True, None):
        with pytest.raises(TypeError, match="layer must be a name or a position"):
            maps_of(case.cnn, case.X, layer=wrong)


def test_a_layer_without_maps_is_an_error_that_names_those_with_maps(cases):
    case = cases["grey"]
    with pytest.raises(ValueError, match=r"'output' gives outputs of shape \(3,\).*2 spatial axes.*block1, block2"):
        maps_of(case.cnn, case.X, layer="output")


def test_a_choice_that_a_layer_does_not_have_is_an_error(cases):
    case = cases["grey"]
    with pytest.raises(ValueError, match=r"after_activation=True.*'block1\.pool' is a MaxPool2d"):
        maps_of(case.cnn, case.X, layer="block1.pool", after_activation=True)


class Stem(nn.Module):
    """A backbone whose activation changes its maps in place, and that leaves one layer out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.idle = nn.Conv2d(4, 4, 1)

    def forward(self, images):
        return self.relu(self.conv(images))


@pytest.fixture(scope="module")
def on_stem(step):
    torch.manual_seed(0)
    return CNNClassifier(backbone=Stem(), standardize=False, dense_units=(), max_epochs=1, random_state=0).fit(
        step, [0, 1]
    )


def test_layers_of_a_backbone_have_positions_and_names(on_stem, step):
    conv = on_stem.module_.backbone.network.conv
    expected = conv(torch.from_numpy(step).movedim(-1, 1).float()).detach().numpy()
    assert (expected < 0).any()  # which the next layer overwrites
    for layer in (0, "backbone.network.conv"):
        np.testing.assert_allclose(maps_of(on_stem, step, layer=layer), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        maps_of(on_stem, step, layer="backbone.network.relu"), expected.clip(0), rtol=1e-5, atol=1e-6
    )


def test_a_layer_that_does_not_run_is_an_error(on_stem, step):
    with pytest.raises(ValueError, match=r"'backbone\.network\.idle' did not run"):
        maps_of(on_stem, step, layer="backbone.network.idle")


def test_of_many_layers_an_error_names_the_most_similar(step):
    network = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(60)))
    cnn = CNNClassifier(backbone=network, dense_units=(), max_epochs=1, random_state=0).fit(step, [0, 1])
    with pytest.raises(ValueError, match=r"among them backbone\.network\.\d+, .*named_modules"):
        maps_of(cnn, step, layer="backbone.network.60")


def limits_of(shown):
    return [panel.images[0].get_clim() for panel in shown.axes_[:, 1:].flat if panel is not None]


@pytest.mark.parametrize("after_activation", [True, False])
def test_each_map_is_drawn_on_a_scale_of_its_own_up_to_the_number_over_it(after_activation, cases):
    case = cases["grey"]
    shown = FeatureMapDisplay.from_estimator(case.cnn, case.X, after_activation=after_activation)
    largest = np.abs(shown.maps).max(axis=(2, 3)).ravel()
    low = 0 if after_activation else -1
    expected = [(low * (top or shown.maps.max()), top or shown.maps.max()) for top in largest]
    np.testing.assert_allclose(limits_of(shown), expected)
    titles = [panel.get_title().removeprefix("map ") for panel in shown.axes_[:, 1:].flat if panel is not None]
    assert titles == [f"{j % 3}: {top:.2g}" for j, top in enumerate(largest)]


def test_all_maps_are_drawn_on_one_scale_on_demand(cases):
    for kind in ("grey", "signals"):
        case = cases[kind]
        shown = FeatureMapDisplay.from_estimator(case.cnn, case.X, shared_scale=True)
        drawn = [panel for panel in shown.axes_[:, 1:].flat if panel is not None]
        limits = limits_of(shown) if kind == "grey" else [panel.get_ylim() for panel in drawn]
        assert len(set(limits)) == 1
        assert limits[0][1] >= shown.maps.max()
        assert {panel.get_title().removeprefix("map ") for panel in drawn} == {"0", "1", "2"}


def test_a_map_of_nothing_but_rounding_errors_is_drawn_as_zero(by_hand, step):
    cnn = by_hand(step, (2,))
    with torch.no_grad():
        cnn.module_.block1.conv.weight[1] *= 1e-9
        cnn.module_.block1.conv.bias[1] = 0
    shown = FeatureMapDisplay.from_estimator(cnn, step, samples=[0], after_activation=False)
    strong, nothing = limits_of(shown)
    assert nothing == strong
    assert shown.axes_[0, 2].get_title() == "1: 0"


def test_lines_of_a_map_share_their_scale_over_the_samples(cases):
    case = cases["signals"]
    shown = FeatureMapDisplay.from_estimator(case.cnn, case.X)
    limits = np.array([[panel.get_ylim() for panel in row[1:]] for row in shown.axes_])
    np.testing.assert_array_equal(limits[0], limits[1])
    assert len({*map(tuple, limits[0])}) == 3
