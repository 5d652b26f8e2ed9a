"""Laws of what own modules hold beside their weights: it comes back with them, as training left it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import skops.io
import torch
from skorch.callbacks import Callback, Checkpoint, LoadInitState
from torch import nn
from torch.nn.utils import parametrizations

from sklcnn import TRUSTED_TYPES, CNNClassifier, CNNFeatures
from sklcnn.fitting.saved_net import to_tensors
from sklcnn.fitting.saving import to_plain
from sklcnn.inspection import SaliencyDisplay
from sklcnn.network.layouts import SPARSE
from sklcnn.network.own_state import pack, unpack

pytestmark = pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta")  # torch says so once a process
RANDOM = np.random.RandomState(0)
X, Y = RANDOM.randn(24, 8, 8), np.arange(24) % 3
QUICK = {"filters": 3, "dense_units": 4, "max_epochs": 2, "random_state": 0}


class Block(nn.Module):
    """A convolution, for blocks that do something with its output."""

    def __init__(self, in_channels, out_channels, kernel_size, spatial_dims):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")
        self.add(out_channels)

    def add(self, n):
        """Give the block what it has beside its convolution."""
        self.gain = 1.0

    def forward(self, maps):
        """Scale the maps."""
        return self.conv(maps) * self.gain


class BufferBlock(Block):
    """A constant in a buffer that is not saved."""

    def add(self, n):
        self.register_buffer("gain", torch.linspace(0.5, 2, n)[:, None, None], persistent=False)


class TensorBlock(Block):
    """A constant in a tensor."""

    def add(self, n):
        self.gain = torch.linspace(0.5, 2, n)[:, None, None]


class ItemBlock(Block):
    """A number that is computed of tensors, as rates of stochastic depth are."""

    def add(self, n):
        self.gain = torch.linspace(0.5, 2, 3)[1].item()


class OrthogonalBlock(Block):
    """A parametrization of torch's, which decomposes a matrix when it is made."""

    def add(self, n):
        self.gain = 1.0
        self.mix = parametrizations.orthogonal(nn.Linear(n, n))

    def forward(self, maps):
        return self.mix(self.conv(maps).movedim(1, -1)).movedim(-1, 1)


class ExtraBlock(Block):
    """State of torch's protocol for what is no tensor."""

    def add(self, n):
        self.extra = {"type": "bfloat16", "gain": (2.0, torch.ones(2)), 3: [np.arange(2)]}

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state

    def forward(self, maps):
        return self.conv(maps) * self.extra["gain"][0] * self.extra["gain"][1][0] * self.extra[3][0][1]


class Scaled(nn.Module):
    """An activation with a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.tensor(1.7), persistent=False)

    def forward(self, values):
        return torch.tanh(values) * self.gain


class RandomFeatures(nn.Module):
    """Random Fourier features: what is drawn is neither trained nor saved."""

    def __init__(self, sample_shape):
        super().__init__()
        self.register_buffer("directions", torch.randn(64, 16), persistent=False)
        self.shifts = torch.rand(16)

    def forward(self, samples):
        return torch.cos(samples.flatten(1) @ self.directions + self.shifts)


class Running(nn.Module):
    """A network that keeps a running scale, and what it has seen last, in attributes."""

    def __init__(self, sample_shape=(1, 8, 8)):
        super().__init__()
        self.linear = nn.Linear(64, 8)
        self.scale, self.seen, self.last = 1.0, {"largest": []}, None

    def forward(self, samples):
        features = self.linear(samples.flatten(1))
        if self.training:
            self.scale = 0.9 * self.scale + 0.1 * float(samples.abs().max())
            self.seen["largest"].append(self.scale)
            self.last = [features]
        return features / self.scale


class ExpandedBlock(Block):
    """A constant in a buffer whose elements are one in memory."""

    def add(self, n):
        self.register_buffer("gain", torch.full((1,), 1.5).expand(n, 1, 1))


class Expanded(nn.Module):
    """A network with such a buffer, and with a frozen parameter of that kind."""

    def __init__(self, sample_shape=(1, 8, 8)):
        super().__init__()
        self.linear = nn.Linear(64, 8)
        self.register_buffer("gain", torch.full((1,), 1.5).expand(8))
        self.shift = nn.Parameter(torch.ones(1).expand(8), requires_grad=False)

    def forward(self, samples):
        return self.linear(samples.flatten(1)) * self.gain + self.shift


class Graph(nn.Module):
    """A graph convolution: rows of a picture are nodes, and a sparse matrix says which are neighbours."""

    layout, persistent = torch.sparse_coo, True

    def __init__(self, sample_shape=(1, 8, 8)):
        super().__init__()
        neighbours = (torch.rand(8, 8) < 0.4).float() + torch.eye(8)
        self.register_buffer("neighbours", neighbours.to_sparse(layout=self.layout), persistent=self.persistent)
        self.linear = nn.Linear(8, 6)

    def forward(self, samples):
        nodes = samples.flatten(1, 2).transpose(0, 1)
        sums = (self.neighbours @ nodes.flatten(1)).reshape(nodes.shape).transpose(0, 1)
        return torch.relu(self.linear(sums)).mean(1)


class UnsavedGraph(Graph):
    """Its matrix is drawn by the constructor, and is in no state dict."""

    persistent = False


class RowGraph(Graph):
    """Its matrix lies by row, which torch's own `deepcopy` does not take."""

    layout = torch.sparse_csr

    def __init__(self, sample_shape):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(sample_shape)


CASES = {
    "a buffer": {"block": BufferBlock},
    "a buffer of an activation": {"activation": Scaled},
    "a tensor": {"block": TensorBlock},
    "a number of tensors": {"block": ItemBlock},
    "a parametrization": {"block": OrthogonalBlock},
    "extra state": {"block": ExtraBlock},
    "what is drawn": {"backbone": RandomFeatures},
    "what is drawn, frozen": {"backbone": RandomFeatures, "freeze_epochs": 9},
    "what is updated": {"backbone": Running},
    "a module that is updated": {"backbone": Running()},
    "an expanded buffer of a block": {"block": ExpandedBlock},
    "an expanded buffer": {"backbone": Expanded},
    "an expanded buffer, frozen": {"backbone": Expanded, "freeze_epochs": 1},
    "a module's expanded buffer": {"backbone": Expanded()},
    "a sparse buffer": {"backbone": Graph},
    "a sparse buffer, frozen": {"backbone": Graph, "freeze_epochs": 1},
    "a sparse buffer that is not saved": {"backbone": UnsavedGraph},
    "a sparse buffer by row": {"backbone": RowGraph},
    "a sparse buffer by row, frozen": {"backbone": RowGraph, "freeze_epochs": 9},
    "a module's sparse buffer": {"backbone": Graph()},
}
LAID_OUT = [case for case in CASES if "expanded" in case or "sparse" in case]


def through_skops(estimator):
    data = skops.io.dumps(estimator)
    own = [name for name in skops.io.get_untrusted_types(data=data) if name not in TRUSTED_TYPES]
    assert all("test_own_state" in name for name in own)
    return skops.io.loads(data, trusted=[*TRUSTED_TYPES, *own])


WAYS = {"pickle": lambda cnn: pickle.loads(pickle.dumps(cnn)), "deep copy": copy.deepcopy, "skops": through_skops}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_what_own_modules_hold_beside_their_weights_comes_back(case, way):
    if case.startswith("a module") and way == "skops":
        pytest.skip("skops stores no modules")
    cnn = CNNClassifier(**QUICK, **CASES[case]).fit(X, Y)
    expected = cnn.predict_proba(X)
    state = torch.random.get_rng_state()
    again = WAYS[way](WAYS[way](cnn))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    again.set_params(warm_start=True).fit(X, Y)
    cnn.set_params(warm_start=True).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))


@pytest.mark.parametrize(
    "options", [{"early_stopping": True}, {"weight_averaging": "ema"}, {"weight_averaging": "swa"}]
)
@pytest.mark.parametrize("case", LAID_OUT)
def test_buffers_that_are_expanded_or_sparse_are_kept_of_an_epoch_and_with_averages(case, options):
    cnn = CNNClassifier(**QUICK, **CASES[case], **options).fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cnn)).predict_proba(X), cnn.predict_proba(X))
    copy.deepcopy(cnn).set_params(early_stopping=False).partial_fit(X, Y)


@pytest.mark.parametrize("case", LAID_OUT)
def test_a_network_with_expanded_or_sparse_buffers_is_lent(case):
    lender = CNNClassifier(**QUICK, **CASES[case]).fit(X, Y)
    cnn = CNNClassifier(**QUICK, backbone=lender, freeze_epochs=1).fit(X, Y)
    np.testing.assert_array_equal(copy.deepcopy(cnn).predict_proba(X), cnn.predict_proba(X))


def test_the_module_that_was_passed_keeps_its_expanded_buffer():
    module = Expanded()
    CNNClassifier(**QUICK, backbone=module).fit(X, Y)
    assert module.gain.stride() == (0,)
    assert module.shift.stride() == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_tensors_are_put_together_as_they_were(layout, dtype):
    values = torch.eye(4, 6).to(dtype)
    block = {"blocksize": (2, 3)} if "bs" in layout else {}
    tensor = values.to_sparse(layout=SPARSE[layout], **block)
    for again in (unpack(pack(tensor)), to_tensors(to_plain(tensor))):
        assert (again.layout, again.dtype) == (tensor.layout, dtype)
        assert torch.equal(again.to_dense(), values)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_factory_draws_comes_back_in_features(way):
    features = CNNFeatures(backbone=RandomFeatures).fit(X)
    np.testing.assert_array_equal(WAYS[way](features).transform(X), features.transform(X))


@pytest.mark.parametrize("kind", [Expanded, Graph, UnsavedGraph, RowGraph])
def test_expanded_and_sparse_buffers_come_back_in_features(kind):
    features = CNNFeatures(backbone=kind).fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(X), features.transform(X))


@pytest.mark.parametrize("freeze_epochs", [0, 1, 9])
def test_a_module_that_is_changed_after_the_fit_changes_no_copy(freeze_epochs):
    module = Running()
    cnn = CNNClassifier(**QUICK, backbone=module, freeze_epochs=freeze_epochs).fit(X, Y)
    expected = cnn.predict_proba(X)
    module.scale, module.linear = 100.0, nn.Linear(64, 9)
    for way in ("pickle", "deep copy"):
        np.testing.assert_array_equal(WAYS[way](WAYS[way](cnn)).predict_proba(X), expected)


def test_a_module_is_saved_with_its_weights_once_beside_the_one_that_was_passed():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4000))
    cnn = CNNClassifier(**QUICK, backbone=module).fit(X, Y).without_training_state()
    weights = 4 * sum(parameter.numel() for parameter in cnn.module_.parameters())
    assert len(pickle.dumps(cnn)) < 2.1 * weights


def test_a_lent_network_brings_what_it_holds():
    for own in ({"block": BufferBlock}, {"backbone": Running}, {"backbone": Running()}):
        lender = CNNClassifier(**QUICK, **own).fit(X, Y)
        cnn = CNNClassifier(**QUICK, backbone=lender).fit(X, Y)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(cnn)).predict_proba(X), cnn.predict_proba(X))


def test_a_state_of_before_attributes_were_kept_is_read():
    cnn = CNNClassifier(**QUICK, block=TensorBlock).fit(X, Y)
    state = cnn.__getstate__()
    del state["_fitted"]["own"]
    again = CNNClassifier()
    again.__setstate__(state)
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))


def test_weights_that_a_block_lists_stay_those_that_train():
    class Listing(Block):
        def add(self, n):
            self.gain, self.weights = 1.0, [self.conv.weight]

    cnn = CNNClassifier(**QUICK, block=Listing).fit(X, Y)
    (block,) = [layer for layer in copy.deepcopy(cnn).module_.modules() if isinstance(layer, Listing)]
    assert block.weights[0] is block.conv.weight


def test_networks_without_own_code_are_saved_as_before():
    state = CNNClassifier(**QUICK, activation=nn.PReLU).fit(X, Y).__getstate__()["_fitted"]
    assert not {"own", "extra"} & state.keys()


def test_a_network_that_keeps_what_it_has_seen_is_lent_and_looked_into():
    lender = CNNClassifier(**QUICK, backbone=Running).fit(X, Y)
    CNNFeatures(backbone=lender).fit(X)
    SaliencyDisplay.from_estimator(lender, X[:2], method="saliency")


@pytest.mark.parametrize("parameter", ["backbone", "loss"])
def test_skops_is_told_of_a_module_that_the_hyper_parameters_no_longer_hold(parameter):
    class Squares(nn.Module):
        def forward(self, outputs, targets=None):
            return outputs.flatten(1) if targets is None else ((outputs - targets) ** 2).mean(1)

    cnn = CNNClassifier(**QUICK, **{parameter: Squares()}).fit(X, Y)
    cnn.set_params(**{parameter: CNNClassifier().get_params()[parameter]})
    with pytest.raises(TypeError, match=f"CNNClassifier: {parameter} is an nn.Module"):
        skops.io.dumps(cnn)


class Counting(nn.Module):
    """A network that scales by the number of batches that it has trained on."""

    def __init__(self, sample_shape):
        super().__init__()
        self.linear, self.n_batches = nn.Linear(64, 8), 0

    def forward(self, samples):
        self.n_batches += self.training
        return self.linear(samples.flatten(1)) * (1 + self.n_batches / 10)


def test_early_stopping_keeps_what_a_module_held_in_the_best_epoch():
    params = QUICK | {"max_epochs": 12, "batch_size": len(X)}
    cnn = CNNClassifier(**params, backbone=Counting, early_stopping=True, patience=3, learning_rate=0.1).fit(X, Y)
    assert cnn.best_epoch_ < cnn.n_iter_
    assert cnn.module_.backbone.network.n_batches == cnn.best_epoch_


def test_an_interrupt_goes_back_to_what_a_module_held_after_the_last_finished_epoch():
    class Interrupting(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    cnn = CNNClassifier(**QUICK | {"max_epochs": 5, "batch_size": 8}, backbone=Counting, callbacks=[Interrupting()])
    with pytest.raises(KeyboardInterrupt):
        cnn.fit(X, Y)
    assert cnn.n_iter_ == 2
    assert cnn.module_.backbone.network.n_batches == 2 * 3


@pytest.mark.parametrize("own", [{"block": TensorBlock}, {"backbone": Counting}, {"backbone": RandomFeatures}])
def test_a_resumed_run_warns_of_what_its_checkpoint_lacks(own, tmp_path):
    def run(max_epochs):
        checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
        params = QUICK | {"max_epochs": max_epochs, "random_state": None, "lr_schedule": None}
        return CNNClassifier(**params, **own, callbacks=[checkpoint, LoadInitState(checkpoint)]).fit(X, Y)

    run(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(3).n_iter_ == 3
    told = [str(warning.message) for warning in caught if "outside its state dict" in str(warning.message)]
    assert len(told) == (own != {"block": TensorBlock})
