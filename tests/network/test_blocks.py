"""Laws of blocks: plain ones one after another, residual ones, inception modules, and those of a factory."""

import copy
import math
import pickle

import cloudpickle
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.inspection import FeatureMapDisplay, SaliencyDisplay
from sklcnn.network.memory import count_weights, sample_bytes
from sklcnn.network.plan import NetworkSpec, plan_blocks

RANDOM = np.random.RandomState(0)
SAMPLES = {
    "signals": RANDOM.rand(18, 20, 3),
    "images": RANDOM.rand(18, 9, 10, 3),
    "volumes": RANDOM.rand(18, 5, 6, 7, 1),
}
Y = np.arange(18) % 3
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
QUICK = {"filters": (4, 6), "dense_units": (), "max_epochs": 1, "random_state": 0, "precision": "float64"}


def own_block(n_in, n_out, kernel_size, spatial_dims):
    return nn.Sequential(CONVS[spatial_dims](n_in, n_out, kernel_size, padding=1), nn.Softplus())


BLOCKS = {"plain": "plain", "residual": "residual", "inception": "inception", "own": own_block}


def fit(kind, y=Y, estimator=CNNClassifier, **params):
    spatial_dims = SAMPLES[kind].ndim - 2
    return estimator(**QUICK | {"spatial_dims": spatial_dims, "data_format": "channels_last"} | params).fit(
        SAMPLES[kind], y
    )


def raw(cnn, kind):
    """Return samples as the first block sees them."""
    X = torch.from_numpy(np.moveaxis(SAMPLES[kind], -1, 1))
    return cnn.module_.standardize(X.clone())


@pytest.fixture(params=SAMPLES)
def kind(request):
    return request.param


def test_two_convolutions_a_block_are_two_blocks_of_which_the_second_pools(kind):
    n_axes = SAMPLES[kind].ndim - 2
    both = {"batch_norm": True, "activation": "gelu", "max_epochs": 3}
    one = fit(kind, filters=(4, 4), pool_size=((1,) * n_axes, (2,) * n_axes), **both)
    two = fit(kind, filters=4, convs_per_block=2, **both)
    np.testing.assert_array_equal(two.predict_proba(SAMPLES[kind]), one.predict_proba(SAMPLES[kind]))
    assert two.history_.drop(columns="duration").equals(one.history_.drop(columns="duration"))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_residual_block_of_zero_convolutions_is_the_activated_shortcut(kind, padding, stride):
    kernel = 2 if kind == "volumes" else 3
    cnn = fit(kind, filters=4, block="residual", pooling=None, padding=padding, stride=stride, kernel_size=kernel)
    block, maps = cnn.module_.block1, raw(cnn, kind)
    with torch.no_grad():
        for layer in block.sum.body.modules():
            if isinstance(layer, tuple(CONVS.values())):
                layer.weight.zero_()
                layer.bias.zero_()
        found = block(maps)
        expected = block.sum.around(maps).relu()
    assert found.shape == expected.shape and found.abs().sum() > 0
    torch.testing.assert_close(found, expected)


def test_where_channels_and_positions_agree_the_shortcut_is_the_maps_themselves(kind):
    n_channels = SAMPLES[kind].shape[-1]
    cnn = fit(kind, filters=n_channels, block="residual", pooling=None)
    block, maps = cnn.module_.block1, raw(cnn, kind)
    assert block.sum.around is None
    with torch.no_grad():
        torch.testing.assert_close(block(maps), (block.sum.body(maps) + maps).relu())


class Residual(nn.Module):
    """A residual block, written by hand."""

    def __init__(self, n_in, n_out, stride, n_axes):
        super().__init__()
        conv, norm = CONVS[n_axes], NORMS[n_axes]
        self.one, self.norm_one = conv(n_in, n_out, 3, stride, padding=1), norm(n_out)
        self.two, self.norm_two = conv(n_out, n_out, 3, padding=1), norm(n_out)
        self.around, self.norm_around = conv(n_in, n_out, 1, stride), norm(n_out)

    def forward(self, maps):
        body = self.norm_two(self.two(self.norm_one(self.one(maps)).relu()))
        return (body + self.norm_around(self.around(maps))).relu()


def test_a_residual_block_is_the_one_written_by_hand(kind):
    # An odd stride of even sizes pads unevenly: of one, it is the padding that a hand-written block has.
    cnn = fit(kind, filters=4, block="residual", batch_norm=True, pooling=None)
    block, maps = cnn.module_.block1, raw(cnn, kind)
    by_hand = Residual(maps.shape[1], 4, 1, maps.ndim - 2).double()
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), block.state_dict().values(), strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(block.eval()(maps), by_hand.eval()(maps))
    count = sum(p.numel() for p in block.parameters())
    assert count == sum(p.numel() for p in by_hand.parameters())


@pytest.mark.parametrize(("k", "kernels"), [(5, [5, 3, 1]), (40, [40, 20, 10]), (3, [3, 2, 1]), (1, [1, 1, 1])])
def test_inception_kernels_are_a_half_and_a_quarter(k, kernels):
    spec = NetworkSpec("owner", (10,), k, 1, "same", "max", 2, None, (), "relu", False, 0.0, 0.0, block="inception")
    [plan], _ = plan_blocks(spec, (3, 80))
    assert len(plan.convs) == 3
    assert [conv.kernel[0] for conv in plan.convs[0].convs] == kernels
    assert [conv.filters for conv in (*plan.convs[0].convs, plan.convs[0].pooled)] == [3, 3, 2, 2]


@pytest.mark.parametrize("filters", [1, 2, 3, 5, 8])
def test_inception_paths_are_joined_to_the_filters(kind, filters):
    cnn = fit(kind, filters=filters, block="inception", stride=2, pooling=None)
    shape = tuple(math.ceil(n / 2) for n in SAMPLES[kind].shape[1:-1])
    assert cnn.module_.block1(raw(cnn, kind)).shape == (18, filters, *shape)
    assert len(cnn.module_.block1.sum.body) == 3


@pytest.mark.parametrize("convs", ["auto", 1, 3, (2, 1)])
@pytest.mark.parametrize("block", ["plain", "residual", "inception"])
def test_what_is_planned_is_what_is_built(block, convs, kind):
    cnn = fit(kind, block=block, convs_per_block=convs, batch_norm=False)
    spec = cnn._fitted.recipe.spec
    counts = count_weights(spec, cnn.sample_shape_, 3)
    built = {name: sum(p.numel() for p in layer.parameters()) for name, layer in cnn.module_.named_children()}
    assert counts == {name: count for name, count in built.items() if count}
    assert sample_bytes(spec, cnn.sample_shape_, 8) > 0
    default = {"plain": 1, "residual": 2, "inception": 3}[block]
    n_convs = [default] * 2 if convs == "auto" else np.broadcast_to(convs, 2).tolist()
    plans, _ = plan_blocks(spec, cnn.sample_shape_)
    assert [len(plan.convs) for plan in plans] == n_convs


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_goes_through_pickle_displays_and_the_summary(block, kind):
    cnn = fit(kind, block=BLOCKS[block], conv_dropout=0.1, batch_norm=True)
    X = SAMPLES[kind]
    again = pickle.loads(pickle.dumps(cnn))
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))
    table = cnn.summary()
    assert table["parameters"].sum() == table.attrs["parameters"] == sum(p.numel() for p in cnn.module_.parameters())
    for after_activation in (None, True, False):
        maps = FeatureMapDisplay.from_estimator(
            cnn, X, samples=[0], layer=0, after_activation=after_activation, draw=False
        ).maps
        assert maps.shape == (1, 4, *X.shape[1:-1])
    for method in ("grad_cam", "saliency"):
        shown = SaliencyDisplay.from_estimator(cnn, X, samples=[0], method=method, draw=False)
        assert shown.attributions.shape == (1, *X.shape[1:-1])
    dropouts = [layer for layer in cnn.module_.modules() if isinstance(layer, nn.modules.dropout._DropoutNd)]
    assert len(dropouts) == 2  # once a block


@pytest.mark.parametrize("block", BLOCKS)
def test_batches_of_any_size_predict_the_same(block, kind):
    cnn = fit(kind, block=BLOCKS[block])
    X = SAMPLES[kind]
    one_by_one = np.concatenate([cnn.predict_proba(X[[row]]) for row in range(3)])
    np.testing.assert_allclose(cnn.predict_proba(X)[:3], one_by_one, rtol=1e-9)


def test_a_search_goes_over_blocks_in_a_pipeline():
    X = SAMPLES["images"]
    grid = {"cnn__block": list(BLOCKS.values()), "cnn__convs_per_block": ["auto", 2]}
    pipeline = make_pipeline(FunctionTransformer(), CNNClassifier(**QUICK, l2=0.01))
    pipeline.steps[-1] = ("cnn", pipeline.steps[-1][1])
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 8


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_serve_label_sets_and_values(block):
    label_sets = RANDOM.rand(18, 4) > 0.5
    assert fit("images", label_sets, block=BLOCKS[block]).predict_proba(SAMPLES["images"]).shape == (18, 4)
    values = RANDOM.rand(18, 2)
    assert fit("signals", values, CNNRegressor, block=BLOCKS[block]).predict(SAMPLES["signals"]).shape == (18, 2)


def test_a_factory_may_make_lazy_layers():
    lazy = {1: nn.LazyConv1d, 2: nn.LazyConv2d, 3: nn.LazyConv3d}
    named = {kind: fit(kind, block=lambda i, o, k, n: CONVS[n](i, o, k, padding=1)) for kind in SAMPLES}
    for kind, cnn in named.items():
        late = fit(kind, block=lambda i, o, k, n: lazy[n](o, k, padding=1))
        assert [w.shape for w in late.module_.parameters()] == [w.shape for w in cnn.module_.parameters()]


def test_a_factory_is_given_what_a_block_has():
    calls = []

    def factory(*arguments):
        calls.append(arguments)
        return own_block(*arguments)

    fit("images", block=factory, kernel_size=(3, (3, 3)))
    assert {(3, 4, 3, 2), (4, 6, 3, 2)} == set(calls)


class Checking(nn.Module):
    def forward(self, maps):
        assert maps.ndim == 3, "for signals"


class Float32(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)

    def forward(self, maps):
        return self.conv(maps) * torch.ones(1) @ torch.eye(maps.shape[-1])


@pytest.mark.parametrize("others", [{}, {"precision": "float32"}], ids=["float64", "float32"])
def test_a_factory_may_return_one_module_each_time(others):
    """Each network has a copy of its own; blocks that shared it share the copy, after loading too."""
    made = nn.Conv2d(3, 3, 3, padding=1)
    before = copy.deepcopy(made.state_dict())
    params = {"block": lambda *sizes: made, "filters": (3, 3), "learning_rate": 0.1} | others
    first = fit("images", **params)
    expected = first.predict_proba(SAMPLES["images"])
    second = fit("images", **params)
    np.testing.assert_array_equal(first.predict_proba(SAMPLES["images"]), expected)
    np.testing.assert_array_equal(second.predict_proba(SAMPLES["images"]), expected)
    assert made.weight.dtype == torch.float32
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())
    again = pickle.loads(cloudpickle.dumps(first))
    np.testing.assert_array_equal(again.predict_proba(SAMPLES["images"]), expected)
    for cnn in (first, again):
        convs = [layer for layer in cnn.module_.modules() if isinstance(layer, nn.Conv2d)]
        assert len(convs) == 1
        assert convs[0].weight is not made.weight


class Returning(nn.Module):
    """A block that returns what a function makes of its maps."""

    def __init__(self, function, *sizes):
        super().__init__()
        self.body, self.function = own_block(*sizes), function

    def forward(self, maps):
        return self.function(self.body(maps))


class UnderAutocast(Returning):
    """A block that computes under autocast, as many networks from elsewhere do."""

    def forward(self, maps):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(maps)


def returning(function, kind=Returning):
    return lambda *sizes: kind(function, *sizes)


def as_it_is(maps):
    return maps


OTHER_FLOATS = {
    **{dtype: returning(lambda maps, dtype=dtype: maps.to(getattr(torch, dtype))) for dtype in (
        "bfloat16", "float16", "float64",
    )},
    "autocast": returning(as_it_is, UnderAutocast),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("name", OTHER_FLOATS)
def test_maps_of_another_type_of_floats_are_taken(name, precision):
    if (name, precision) == ("autocast", "float64"):
        pytest.skip("autocast leaves float64 as it is")
    cnn = fit("images", block=OTHER_FLOATS[name], precision=precision)
    assert np.isfinite(cnn.predict_proba(SAMPLES["images"])).all()
    if (name, precision) == ("float64", "float32"):  # cast to it and back
        same = fit("images", block=returning(as_it_is), precision=precision)
        found, expected = (one.predict_proba(SAMPLES["images"]) for one in (cnn, same))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


BAD_FACTORIES = {
    "a tuple": (returning(lambda maps: (maps, maps)), TypeError, "it returned tuple. Return the maps alone"),
    "a dict": (returning(lambda maps: {"maps": maps}), TypeError, "it returned dict. Return the maps alone"),
    "integers": (returning(lambda maps: maps.int()), TypeError, "the maps as floats, but they are int32"),
    "truth values": (returning(lambda maps: maps > 0), TypeError, "the maps as floats, but they are bool"),
    "complex": (returning(lambda maps: maps + 0j), TypeError, "the maps as floats, but they are complex64"),
    "three arguments": (lambda n_in, n_out, k: own_block(n_in, n_out, k, 2), TypeError, "it cannot be called so"),
    "no module": (lambda *sizes: "conv", TypeError, "must return an nn.Module; it returned str"),
    "other channels": (lambda n_in, n_out, k, d: own_block(n_in, 7, k, d), ValueError, r"to \(n, 4, \*spatial\)"),
    "no maps": (lambda n_in, n_out, k, d: nn.Flatten(), ValueError, r"to \(n, 4, \*spatial\)"),
    "other maps": (lambda n_in, n_out, k, d: nn.Conv2d(9, n_out, k), ValueError, "does not take maps of shape"),
    "groups": (lambda n_in, n_out, k, d: nn.Conv2d(n_in, n_out, k, groups=2), ValueError, "failed when it was called"),
    "a check": (lambda n_in, n_out, k, d: Checking(), ValueError, "does not take maps .*for signals"),
    "a module": (nn.Conv2d(3, 4, 3), TypeError, "is a module, but each block has its own"),
    "float32 alone": (lambda n_in, n_out, k, d: Float32(n_in, n_out), ValueError, "does not compute in float64"),
}


@pytest.mark.parametrize("name", BAD_FACTORIES)
def test_a_factory_that_does_not_serve_is_refused_in_words(name):
    factory, error, words = BAD_FACTORIES[name]
    with pytest.raises(error, match=f"CNNClassifier: block=.*{words}"):
        fit("images", block=factory)


def test_two_unpadded_kernels_must_fit():
    with pytest.raises(ValueError, match=r"block 1 has kernel_size=\(6, 6\), but only \(4, 5\) positions are left"):
        fit("images", filters=2, block="residual", padding="valid", kernel_size=6)


def test_shortcuts_make_a_deep_network_train():
    # Twelve convolutions of two channels: without shortcuts hardly anything of the signal comes out at the end.
    random = np.random.RandomState(0)
    X = random.rand(150, 16)
    y = (X[:, 4:8].sum(1) > X[:, 8:12].sum(1)).astype(int)
    params = {"filters": (8,) * 6, "pooling": None, "convs_per_block": 2, "max_epochs": 15, "global_pooling": "avg"}
    losses = [
        CNNClassifier(**params, block=block, random_state=0).fit(X, y).history_["train_loss"].iloc[-1]
        for block in ("plain", "residual")
    ]
    assert losses[1] < losses[0]
