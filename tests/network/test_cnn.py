"""Laws of the network: what its layers compute, and how large they are."""

import copy
import inspect
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.network.blocks import ACTIVATIONS
from sklcnn.network.cnn import widest_layer
from sklcnn.network.network import layers_of, trained_parameters

SHAPES = {1: (13, 3), 2: (9, 12, 3), 3: (5, 6, 7, 3)}  # channels last
POOLS = {"max": np.max, "avg": np.mean}
# Every name as a plain function.
PLAIN_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
}


class Negative(nn.Module):
    """An activation that falls as its input rises."""

    def forward(self, inputs):
        return -inputs


def fitted(shape=(8, 8, 1), *, estimator=CNNClassifier, n=6, **params):
    """Fit for one epoch, on random samples of a shape, a network that computes in float64."""
    X = np.random.RandomState(0).randn(n, *shape)
    quick = {"max_epochs": 1, "precision": "float64", "random_state": 0, "dense_units": (), "filters": (2,)}
    axes = {"spatial_dims": max(1, len(shape) - 1), "data_format": "channels_last"}
    return estimator(**{**quick, **axes, **params}).fit(X, np.arange(n) % 2), X


def channels_first(X):
    return torch.from_numpy(np.moveaxis(X, -1, 1).copy())


def convolution(maps, weights, bias, stride, padding):
    """Convolve (c, *spatial) with (f, c, *kernel) position by position, with TensorFlow's "SAME" or none."""
    size, kernel = maps.shape[1:], weights.shape[2:]
    if padding == "same":
        n_out = [-(-n // s) for n, s in zip(size, stride, strict=True)]
        total = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(n_out, stride, kernel, size, strict=True)]
        maps = np.pad(maps, [(0, 0), *((t // 2, t - t // 2) for t in total)])
    else:
        n_out = [(n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True)]
    out = np.empty((len(weights), *n_out))
    for place in itertools.product(*map(range, n_out)):
        window = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, stride, kernel, strict=True))
        out[(slice(None), *place)] = np.tensordot(weights, maps[(slice(None), *window)], maps.ndim) + bias
    return out


def pooled(maps, window, reduce):
    """Pool (f, *spatial) over windows that do not overlap."""
    n_out = [n // w for n, w in zip(maps.shape[1:], window, strict=True)]
    out = np.empty((len(maps), *n_out))
    for place in itertools.product(*map(range, n_out)):
        window_there = tuple(slice(p * w, (p + 1) * w) for p, w in zip(place, window, strict=True))
        out[(slice(None), *place)] = reduce(maps[(slice(None), *window_there)], axis=tuple(range(1, maps.ndim)))
    return out


def by_axis(size, dims):
    return size if isinstance(size, tuple) else (size,) * dims


def output_shapes(table, kind):
    """List the output shapes of the layers of one kind, (channels, *spatial)."""
    return [shape for shape, type_ in zip(table["output shape"], table["type"], strict=True) if type_.startswith(kind)]


# What the layers compute.

GEOMETRIES = [
    *((1, kernel, stride) for kernel in (1, 2, 3, 8) for stride in (1, 2, 3)),
    *((2, kernel, stride) for kernel in (2, 3, 8, (1, 7)) for stride in (1, (1, 3))),
    *((3, kernel, stride) for kernel in (2, (1, 2, 3)) for stride in (1, 2)),
]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("dims", "kernel", "stride"), GEOMETRIES)
def test_a_convolution_is_the_sum_over_each_window(dims, kernel, stride, padding):
    net, X = fitted(
        SHAPES[dims], kernel_size=(by_axis(kernel, dims),), stride=(by_axis(stride, dims),), padding=padding,
        pooling=None, standardize=False, activation=nn.Identity,
    )  # fmt: skip
    conv = net.module_.block1.conv
    weights, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    for maps, sample in zip(net.module_.block1(channels_first(X[:2])).detach().numpy(), X[:2], strict=True):
        expected = convolution(np.moveaxis(sample, -1, 0), weights, bias, by_axis(stride, dims), padding)
        np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-12)


def test_a_known_filter_and_a_max_pool_of_a_known_picture_give_the_known_answer():
    # A filter that looks one pixel to the left, then the greatest of each quarter of the picture.
    picture = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]], dtype=float)
    X = np.stack([picture, picture.T, -picture, picture[::-1]])
    net = CNNClassifier(filters=(1,), dense_units=(), standardize=False, max_epochs=1, spatial_dims=2).fit(X, range(4))
    with torch.no_grad():
        net.module_.block1.conv.weight.copy_(torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 0]]))
        net.module_.block1.conv.bias.zero_()
        net.module_.output.weight.copy_(torch.eye(4))
        net.module_.output.bias.zero_()
    expected = [[5, 7, 13, 15], [2, 10, 4, 12], [0, 0, 0, 0], [13, 15, 5, 7]]
    np.testing.assert_array_equal(net.decision_function(X), expected)


@pytest.mark.parametrize("pooling", POOLS)
@pytest.mark.parametrize("activation", PLAIN_ACTIVATIONS)
def test_a_block_is_the_pool_of_the_activation_of_the_convolution(activation, pooling):
    # Where a maximum passes through the activation, the network pools first: that must not be seen.
    net, X = fitted((8, 9, 1), activation=activation, pooling=pooling)
    block, samples = net.module_.block1, net.module_.standardize(channels_first(X))
    with torch.no_grad():
        block.conv.weight.mul_(10)  # far into where activations that are not monotone fall
    plain, convolved = PLAIN_ACTIVATIONS[activation], block.conv(samples).detach().numpy()
    expected = np.array([pooled(plain(maps), (2, 2), POOLS[pooling]) for maps in convolved])
    np.testing.assert_allclose(block(samples).detach().numpy(), expected, rtol=0, atol=1e-13)
    if activation in ("gelu", "silu"):  # the order does matter to these
        other_order = plain(np.array([pooled(maps, (2, 2), POOLS[pooling]) for maps in convolved]))
        assert np.abs(expected - other_order).max() > 0.01


@pytest.mark.parametrize("pooling", POOLS)
def test_an_activation_of_the_users_may_fall(pooling):
    net, X = fitted((8, 8, 1), activation=Negative, pooling=pooling, standardize=False)
    block, samples = net.module_.block1, channels_first(X)
    expected = [pooled(-maps, (2, 2), POOLS[pooling]) for maps in block.conv(samples).detach().numpy()]
    np.testing.assert_allclose(block(samples).detach().numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, nn.Softplus])
def test_the_activation_is_that_of_every_hidden_layer_and_of_no_other(activation):
    net, _ = fitted(filters=(2, 2), dense_units=(3, 3), activation=activation)
    activation_class = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    assert sum(isinstance(layer, activation_class) for layer in net.module_.modules()) == 4
    assert isinstance(list(net.module_.children())[-1], nn.Linear)


def test_every_activation_has_its_plain_function_here():
    assert PLAIN_ACTIVATIONS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("dims", SHAPES)
def test_global_pooling_gives_one_number_a_map(dims, kind):
    net, X = fitted(SHAPES[dims], filters=(4, 5), global_pooling=kind, n=3)
    maps = net.module_[:-2](channels_first(X)).detach().numpy()
    features = net.module_[:-1](channels_first(X)).detach().numpy()
    np.testing.assert_allclose(features, POOLS[kind](maps, axis=tuple(range(2, maps.ndim))), rtol=0, atol=1e-14)
    assert features.shape == (3, 5)


@pytest.mark.parametrize("dims", SHAPES)
def test_flattening_lays_features_out_position_by_position(dims):
    net, X = fitted(SHAPES[dims], filters=(4,))
    maps = net.module_[:-2](channels_first(X)).detach().numpy()
    features = net.module_[:-1](channels_first(X)).detach().numpy()
    np.testing.assert_array_equal(features, np.moveaxis(maps, 1, -1).reshape(len(X), -1))


@pytest.mark.parametrize("dims", SHAPES)
def test_inputs_are_standardised_by_the_training_rows_channel_by_channel(dims):
    net, X = fitted(SHAPES[dims])
    axes = tuple(range(X.ndim - 1))
    expected = np.moveaxis((X - X.mean(axes)) / X.std(axes), -1, 1)
    np.testing.assert_allclose(net.module_.standardize(channels_first(X)), expected, rtol=0, atol=1e-12)
    assert not hasattr(fitted(SHAPES[dims], standardize=False)[0].module_, "standardize")


def test_batch_norm_stands_between_each_hidden_layer_and_its_activation():
    net, X = fitted((8, 8, 1), filters=(3,), dense_units=(4,), batch_norm=True, pooling=None, standardize=False)
    module = net.module_
    maps = module.block1.conv(channels_first(X))
    np.testing.assert_allclose(
        module.block1(channels_first(X)).detach(), module.block1.norm(maps).clamp(min=0).detach(), rtol=0, atol=1e-14
    )
    features = module[:-2](channels_first(X))
    expected = module.dense1.norm(module.dense1.linear(features)).clamp(min=0)
    np.testing.assert_allclose(module.dense1(features).detach(), expected.detach(), rtol=0, atol=1e-14)


# How large they are: Keras's formulas.

ARCHITECTURES = [
    {"filters": 5},
    {"filters": ()},
    {"filters": (4, 6), "dense_units": 7},
    {"filters": (4, 6), "dense_units": (7, 8)},
    {"filters": (4, 6), "kernel_size": 8},
    {"filters": (4, 6), "kernel_size": (2, 4), "stride": (2, 1)},
    {"filters": (4, 6, 8), "kernel_size": (5, 5, 5), "pool_size": (2, 1, 3)},
    {"filters": (4, 6), "kernel_size": 2, "stride": 3, "pool_size": 3},
    {"filters": (4, 6), "stride": 2, "pooling": None},
    {"filters": (4, 6), "pooling": "avg", "pool_size": 3},
    {"filters": (4, 6), "global_pooling": "avg"},
    {"filters": (4, 6), "global_pooling": "max", "dense_units": (7,), "batch_norm": True},
    {"filters": (4,), "padding": "valid"},
    {"filters": (4,), "padding": "valid", "kernel_size": 4, "stride": 2},
    {"filters": (4, 6), "padding": "valid", "kernel_size": (2, 1), "batch_norm": True},
    {"filters": (4, 4, 4, 4, 4)},  # more halvings than the shorter axes bear
]


def keras_counts(shape, filters, dense, kernel=3, stride=1, padding="same", window=2, norm=False, flat=True):
    """List the shape after each block, channels first, and the numbers of trainable parameters."""
    *size, channels = shape
    dims, shapes, parameters = len(size), [], []

    def of_block(value, number):
        return by_axis(value[number] if isinstance(value, tuple) else value, dims)

    for number, n_filters in enumerate(filters):
        k, s, w = (of_block(value, number) for value in (kernel, stride, window))
        parameters.append(math.prod(k) * channels * n_filters + n_filters + 2 * n_filters * norm)
        if padding == "same":
            size = [math.ceil(n / b) for n, b in zip(size, s, strict=True)]
        else:
            size = [math.ceil((n - a + 1) / b) for n, a, b in zip(size, k, s, strict=True)]
        size = [n // c if n >= c else n for n, c in zip(size, w, strict=True)]
        channels = n_filters
        shapes.append((channels, *size))
    n_in = channels * (math.prod(size) if flat else 1)
    for n_out in dense:
        parameters.append(n_in * n_out + n_out + 2 * n_out * norm)
        n_in = n_out
    parameters.append(n_in * 3 + 3)
    return shapes, parameters


@pytest.mark.parametrize("params", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("dims", SHAPES)
def test_output_sizes_and_parameter_counts_follow_keras(dims, params):
    X = np.random.RandomState(0).randn(3, *SHAPES[dims])
    net = CNNClassifier(spatial_dims=dims, max_epochs=1, **{"dense_units": (), **params}).fit(X, range(3))
    filters, dense = (by_axis(params.get(name, ()), 1) for name in ("filters", "dense_units"))
    shapes, parameters = keras_counts(
        SHAPES[dims], filters, dense, params.get("kernel_size", 3), params.get("stride", 1),
        params.get("padding", "same"), params.get("pool_size", 2) if params.get("pooling", "max") else 1,
        params.get("batch_norm", False), "global_pooling" not in params,
    )  # fmt: skip
    maps = channels_first(X).float()
    found = []
    for name, layer in net.module_.named_children():
        maps = layer(maps)
        if name.startswith("block"):
            found.append(tuple(maps.shape[1:]))
    assert found == shapes
    layers = [layer for name, layer in net.module_.named_children() if name.startswith(("block", "dense", "output"))]
    assert [sum(p.numel() for p in layer.parameters()) for layer in layers] == parameters
    table = net.summary()
    assert table["parameters"].sum() == table["trainable"].sum() == sum(parameters)
    assert output_shapes(table, "Linear") == [(units,) for units in (*dense, 3)]


@pytest.mark.parametrize("name", ["kernel_size", "stride", "pool_size"])
@pytest.mark.parametrize(
    ("given", "same"),
    [
        (2, (2, 2)),
        (2, (2,)),
        (2, (2, 2, 2, 2)),  # as many as equal entries may be: course notes write (2, 2) for any depth
        (2, ((2, 2), (2, 2))),
        (2, [2, 2]),
        (2, np.array([2, 2])),
        (2, np.int64(2)),
        ((1, 3), ((1, 1), (3, 3))),
        ((1, 3), np.array([1, 3])),
    ],
    ids=str,
)
def test_two_ways_to_write_a_size_are_the_same_network(name, given, same):
    one, other = (fitted((8, 9, 1), filters=(2, 3), **{name: value})[0] for value in (given, same))
    X = np.random.RandomState(1).randn(4, 8, 9, 1)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(("number", "several"), [(5, (5,)), (np.int64(5), [5]), (5, np.array([5]))], ids=str)
@pytest.mark.parametrize("name", ["filters", "dense_units"])
def test_a_number_of_units_is_one_layer(name, number, several):
    one, other = (fitted(**{name: value})[0] for value in (number, several))
    X = np.random.RandomState(1).randn(4, 8, 8, 1)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_a_blocks_entry_may_be_one_number_an_axis():
    net, _ = fitted(
        (10, 12, 1), filters=(2, 3), kernel_size=((1, 7), (3, 3)), pool_size=((1, 2), 2), stride=(1, (2, 1))
    )
    assert [tuple(block.conv.kernel_size) for block in (net.module_.block1, net.module_.block2)] == [(1, 7), (3, 3)]
    assert output_shapes(net.summary(), "MaxPool") == [(2, 10, 6), (3, 2, 3)]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"kernel_size": (3, 5)}, "kernel_size"),
        ({"filters": (2, 2), "stride": (1, 2, 1)}, "stride"),
        ({"pool_size": ((2, 2, 2),)}, "pool_size"),
        ({"kernel_size": 9, "padding": "valid"}, "padding"),
        ({"filters": (2, 2, 2), "padding": "valid"}, "block 3"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_an_error_that_names_them(params, words):
    with pytest.raises(ValueError, match=f"CNNClassifier.*{words}"):
        fitted((8, 8, 1), **params)


def test_an_axis_too_short_for_the_window_is_not_pooled():
    net, _ = fitted((9, 3, 1), pool_size=4)
    assert output_shapes(net.summary(), "MaxPool") == [(2, 2, 3)]
    net, _ = fitted((3, 3, 1), pool_size=4)
    assert output_shapes(net.summary(), "MaxPool") == []


# What dropout does.


def shares_dropped(trained, whole, probability):
    """Check that values are either zero or scaled up; give which are zero."""
    dropped = trained == 0
    np.testing.assert_allclose(trained, np.where(dropped, 0, whole / (1 - probability)), rtol=1e-12)
    return dropped


@pytest.mark.parametrize("dims", SHAPES)
def test_conv_dropout_zeroes_whole_maps_while_training(dims):
    net, X = fitted(SHAPES[dims], filters=(40,), conv_dropout=0.3, activation=Negative)
    samples = channels_first(X)
    whole = net.module_.eval()[:2](samples).detach().numpy()
    torch.manual_seed(0)
    trained = net.module_.train()[:2](samples).detach().numpy()
    dropped = shares_dropped(trained, whole, 0.3).reshape(len(X), 40, -1)
    assert np.array_equal(dropped.all(2), dropped.any(2))
    assert 0.15 < dropped.mean() < 0.45


def test_dropout_zeroes_dense_units_while_training():
    net, X = fitted(dense_units=(50, 50), dropout=0.3, activation=Negative)
    module, samples = net.module_, channels_first(X)
    for n_children in (4, 5):
        before = module.eval()[: n_children - 1](samples)
        whole = module[n_children - 1](before).detach().numpy()
        trained = module.train()[n_children - 1](before).detach().numpy()
        assert 0.15 < shares_dropped(trained, whole, 0.3).mean() < 0.45


def test_dropout_falls_on_the_features_without_hidden_dense_layers():
    net, X = fitted(filters=(10,), dropout=0.3, activation=Negative)
    samples = channels_first(X)
    whole = net.module_.eval()[:-1](samples).detach().numpy()
    trained = net.module_.train()[:-1](samples).detach().numpy()
    dropped = shares_dropped(trained, whole, 0.3)
    assert 0.2 < dropped.mean() < 0.4
    positions = dropped.reshape(len(X), -1, 10)
    assert not np.array_equal(positions.all(1), positions.any(1))  # single features, not maps


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize(
    "params", [{"dropout": 0.9}, {"dropout": 0.9, "dense_units": 5}, {"conv_dropout": 0.9}], ids=str
)
def test_dropout_is_off_in_predict(estimator, params):
    net, X = fitted(estimator=estimator, **params)
    net.module_.train()  # whatever state the user left it in
    predicted = net.predict(X) if estimator is CNNRegressor else net.decision_function(X)
    for layer in net.module_.modules():
        if "Dropout" in type(layer).__name__:
            layer.p = 0.0
    again = net.predict(X) if estimator is CNNRegressor else net.decision_function(X)
    np.testing.assert_array_equal(predicted, again)


def test_without_filters_the_network_is_linear_in_its_inputs():
    net, X = fitted((7,), filters=(), standardize=False, n=8)
    half = (net.predict_log_proba(X[:1]) + net.predict_log_proba(X[1:2])) / 2
    middle = net.predict_log_proba((X[:1] + X[1:2]) / 2)
    assert np.ptp(half - middle) < 1e-12  # logits are linear; log-probabilities so up to a constant


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"filters": (2, 9), "pool_size": 3},
        {"filters": (8, 4), "stride": (1, 2), "pooling": "avg", "batch_norm": True, "dropout": 0.5},
        {"filters": (), "dense_units": (500,)},
        {"stride": 4, "pooling": None, "global_pooling": "max"},
    ],
)
def test_the_widest_layer_is_where_most_values_go_in_and_out(params, dims):
    cnn, X = fitted(SHAPES[dims], **params)
    counts = []
    for layer in cnn.module_.modules():
        if type(layer).__name__.startswith(("Conv1", "Conv2", "Conv3", "MaxPool", "AvgPool", "Linear")):
            layer.register_forward_hook(lambda _, given, out: counts.append(given[0][0].numel() + out[0].numel()))
    cnn.predict(X[:1])
    expected = max(2 * X[0].size, *counts)
    assert widest_layer(cnn.module_, cnn.sample_shape_) == expected
    assert widest_layer(cnn.module_.flat(), cnn.sample_shape_) == expected


def blocks(shape, **params):
    """List (filters, kernel) of the blocks of a network for samples of a shape."""
    net = CNNClassifier(max_epochs=1, random_state=0, **params).fit(
        np.random.RandomState(0).randn(4, *shape), [0, 1] * 2
    )
    convs = [block.conv for name, block in net.module_.named_children() if name.startswith("block")]
    return [(conv.out_channels, conv.kernel_size) for conv in convs]


@pytest.mark.parametrize(
    ("length", "n_blocks", "kernel"), [(24, 2, 3), (63, 2, 3), (64, 3, 7), (150, 4, 7), (400, 5, 7), (1500, 7, 7)]
)
def test_long_signals_get_wide_kernels_and_blocks_until_ten_positions_are_left(length, n_blocks, kernel):
    assert blocks((length,)) == [(32, (kernel,))] + [(64, (kernel,))] * (n_blocks - 1)
    assert blocks((length,), filters=(2, 3)) == [(2, (kernel,)), (3, (kernel,))]
    assert {size for _, size in blocks((length,), kernel_size=5)} == {(5,)}


@pytest.mark.parametrize(
    ("params", "n_blocks", "n_left"),
    [
        ({}, 7, 7),
        ({"stride": 2}, 3, 15),
        ({"pool_size": 4}, 3, 15),
        ({"pool_size": (2, 2, 2)}, 7, 7),
        ({"pooling": None, "stride": 2}, 7, 8),
        ({"padding": "valid"}, 6, 9),
        ({"padding": "valid", "convs_per_block": 2}, 5, 19),
        ({"padding": "valid", "kernel_size": 3}, 6, 13),
        # What does not shrink maps, or not all of them, leaves the two blocks that are the default.
        ({"pool_size": 1}, 2, 1000),
        ({"pooling": None}, 2, 1000),
        ({"pooling": None, "padding": "valid"}, 2, 988),
        ({"pool_size": 2000}, 2, 1000),
        ({"stride": (2, 1)}, 2, 125),
    ],
    ids=str,
)
def test_blocks_of_long_signals_are_counted_by_what_each_really_leaves(params, n_blocks, n_left):
    net = CNNClassifier(max_epochs=1, random_state=0, global_pooling="avg", dense_units=(), **params)
    sizes = net.fit(np.random.RandomState(0).randn(4, 1000), [0, 1] * 2).summary()
    maps = [size for name, size in zip(sizes["layer"], sizes["output shape"], strict=True) if name.startswith("block")]
    assert len({name.partition(".")[0] for name in sizes["layer"] if name.startswith("block")}) == n_blocks
    assert maps[-1] == (64, n_left)


def test_images_get_two_blocks_of_kernels_of_three():
    assert blocks((70, 70), spatial_dims=2) == [(32, (3, 3)), (64, (3, 3))]


@pytest.mark.parametrize("name", ["kernel_size", "stride", "pool_size"])
def test_there_are_as_many_blocks_as_a_size_has_entries(name):
    assert len(blocks((150,), **{name: (2, 1, 2)})) == 3


def test_long_signals_that_are_not_pooled_get_two_blocks():
    assert len(blocks((150,), pooling=None)) == 2


def test_the_layers_of_a_module_are_its_modules_in_their_order():
    shared = nn.Linear(3, 3)
    inner = nn.Sequential(shared, nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3)), shared)
    module = nn.ModuleDict({"one": inner, "two": nn.Sequential(inner, nn.Dropout())})
    module.register_module("none", None)
    assert layers_of(module) == list(module.modules())
    assert trained_parameters(module) == list(module.parameters())


@pytest.mark.parametrize("params", [{}, {"block": "residual", "batch_norm": True}, {"backbone": nn.Conv2d(3, 2, 3)}])
def test_tools_that_look_at_all_attributes_take_the_module(params):
    net, X = fitted(SHAPES[2], **params)
    module, samples = net.module_.eval(), channels_first(X)
    for layer in module.modules():
        assert inspect.getmembers(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and warns of each branch
        traced = torch.jit.trace(module, samples[:2])
    for other in (traced, copy.copy(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(other(samples), module(samples))
