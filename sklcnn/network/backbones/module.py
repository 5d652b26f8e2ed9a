"""The backbone as a layer of a network."""

import itertools
import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklcnn.network.backbones.fingerprints import digest_module, digest_state
from sklcnn.network.layouts import address_of
from sklcnn.network.network import layers_of
from sklcnn.network.own_outputs import as_floats
from sklcnn.network.own_state import copy_network
from sklcnn.network.standardize import buffers_of, differences

# Images that go through a backbone at once without gradients: as many as are fastest at 224 pixels; fewer of larger
# pictures, of which so many would take gigabytes.
BACKBONE_BATCH, BACKBONE_POSITIONS = 32, 32 * 448**2


def backbone_batch_size(sample_shape):
    """Choose how many samples of a shape (channels first) go through a backbone at once without gradients."""
    return max(1, min(BACKBONE_BATCH, BACKBONE_POSITIONS // math.prod(sample_shape[1:])))


class Shared:
    """What all backbones that share a frozen network know of it together."""

    def __init__(self, network, digests):
        self.layers, self.tensors = tuple(layers_of(network)), tuple(network.state_dict().values())
        self.digests = digests


class Backbone(nn.Module):
    """Map a raw batch ``(n, c, *spatial)`` to pooled features ``(n, d)``.

    Made by `load_backbone`. A frozen backbone stays in eval mode whatever `train` is told, and its
    parameters take no gradients; the batch norms of one whose weights were loaded stay in eval mode always.
    A frozen one with named weights shares its network with the rest of the process; it takes a copy of its
    own before anything of it changes (`unfreeze`, `to` another device or dtype, `load_state_dict`). Copies
    and pickles carry the weights.

    Parameters
    ----------
    network : nn.Module
    name : str or None
        Name and version of the architecture; None for the user's own.
    scale : float
        What raw values are multiplied by.
    mean, std : tuple of float, optional
        Of each channel of images in 0..1. None for the user's own: `standardize_by` gives them those of the training
        data, and without it they see samples as they come.
    trainable : frozenset of str
        The parameters that train when it is not frozen.
    loaded : bool, default=False
        Whether weights were read from a file, or learnt by another estimator.
    shared : Pristine, Shared or None
        None where the network is its own; otherwise what all that share the network know of it together: `layers`,
        `tensors` and `digests`.

    Attributes
    ----------
    n_features : int
        Length d of a row of features.
    loaded : bool
        Whether weights were loaded by name or path, or learnt by another estimator.
    shareable : bool
        Whether its features mean the same in another process: True for named backbones.
    frozen : bool
    channels_last : bool
        Whether the user's own network is given batches laid out channels-last in memory, as they are read; else as
        torch lays out tensors by default.
    layers_inside : tuple of nn.Module or None
        All layers of a network that is shared, which does not change, so that nobody walks through it for each epoch.
    """

    def __init__(
        self,
        network,
        *,
        name,
        scale,
        mean=None,
        std=None,
        trainable=frozenset(),
        loaded=False,
        shared=None,
    ):
        super().__init__()
        self.network = network
        self.name = name
        self.scale = float(scale)
        self.n_features = 0
        self.loaded = loaded
        self.shareable = name is not None
        self.frozen = False
        self.channels_last = True
        self._trainable = trainable
        self._shared = shared
        self.layers_inside = shared and shared.layers
        # By scale: the versions of the network's tensors, and the digest that was taken of them.
        self._digests = shared.digests if shared else {}
        self.register_buffer("mean", _per_channel(mean))
        self.register_buffer("std", _per_channel(std))
        self.register_buffer("shared", None)
        self.register_buffer("kept", None)
        self.register_buffer("varies", None)

    def standardize_by(self, scaling, spatial_dims):
        """Standardise samples of so many axes beside that of channels before the user's own network sees them."""
        buffers = buffers_of(scaling, spatial_dims)
        self.mean, self.std, self.shared, self.kept, self.varies = buffers.values()

    def forward(self, samples):
        """Return the features ``(n, d)`` of raw samples ``(n, c, *spatial)``."""
        if self.scale != 1:
            samples = samples * self.scale
        if self.mean is not None:
            if self.shareable and samples.shape[1] == 1:
                samples = samples.expand(-1, 3, -1, -1)  # grey: (n, 1, h, w) -> (n, 3, h, w)
            samples = differences(samples - self.mean, self.shared, self.kept) / self.std
            if self.varies is not None:
                samples = samples * self.varies
        if self.shareable:
            samples = samples.contiguous(memory_format=torch.channels_last)
        elif not self.channels_last:
            samples = samples.contiguous().flatten().view(samples.shape)  # strides of axes of length 1 count too
        features = self.network(samples)
        if not self.shareable:
            features = as_floats(features, samples, "backbone", "the features")
        return _pool(features, samples.shape)

    @property
    def own_part(self):
        """The hyper-parameter and the module of the user's, for messages; None of a named one."""
        return None if self.shareable else ("backbone", self.network)

    def freeze(self):
        """Stop training: no gradients, and eval mode until `unfreeze`."""
        self.frozen = True
        if self._shared:
            self.training = False
            if not any(layer.training for layer in self.layers_inside):
                return self
        else:
            self._digests = {}  # an optimiser may have changed weights without a new version number
            self.network.requires_grad_(False)
        super().train(False)
        return self

    def unfreeze(self):
        """Start training. The parameters may be new ones: make the optimiser afterwards."""
        self._own()
        self.frozen = False
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in self._trainable)
        return self.train()

    def train(self, mode=True):
        """Set the training mode; a frozen backbone stays in eval mode, and so do the norms of a loaded one."""
        if self.frozen:
            return self
        super().train(mode)
        if self.keeps_statistics:
            for layer in self.network.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    @property
    def keeps_statistics(self):
        """Whether batch norms normalise by the running statistics they came with, also while their weights train.

        The statistics of loaded weights are of more images than fine-tuning will ever see. Measured: 600 pictures of
        clothes, 10 epochs, thawed after 0, 3 or 7 of them: 0.85, 0.86, 0.83, by batch statistics 0.79, 0.78, 0.52.
        """
        return self.loaded

    @property
    def fingerprint(self):
        """Digest of all that its features depend on, as it is now; None if that cannot be told.

        For named backbones: the name, the library's version, the weights and buffers, and the scaling of
        inputs. For the user's own: all that its pickle would hold, with this process's classes and
        functions by identity, so that it means nothing in another process; and what its inputs are standardised by.
        """
        versions = [tensor._version for tensor in self._tensors()]
        scaling = [self.scale]
        if self.mean is not None:  # not the network's, and so not shared
            scaling += [*self.mean.flatten().tolist(), *self.std.flatten().tolist()]
            for part in (self.shared, self.kept, self.varies):
                scaling += [] if part is None else part.flatten().tolist()
            versions += scaling
        # Only a frozen backbone remembers: an optimiser may change weights without a new version number.
        known_versions, known = self._digests.get(self.scale, (None, None))
        if self.frozen and self.shareable and known_versions == versions:
            return known
        if self.shareable:
            fingerprint = digest_state(self.state_dict(), f"{self.name} {self.scale!r}")
        else:
            fingerprint = digest_module(self.network, repr(scaling))
        if self.frozen:
            self._digests[self.scale] = versions, fingerprint
        return fingerprint

    def lent(self):
        """Return a frozen backbone with the same network, of which it takes a copy before it changes anything."""
        lent = object.__new__(type(self))
        vars(lent).update(vars(self))
        lent._modules, lent._buffers = dict(self._modules), dict(self._buffers)
        lent._shared = self._shared or Shared(self.network, self._digests)
        lent.layers_inside = lent._shared.layers
        return lent

    def _own(self):
        """Take a copy of a network that is shared with the process, before changing it."""
        if self._shared:
            self.network = copy_network(self.network)
            self._shared = self.layers_inside = None
            self._digests = {}  # the copy's tensors count their versions anew

    def _tensors(self):
        return self._shared.tensors if self._shared else self.network.state_dict().values()

    def _apply(self, fn, recurse=True):
        if self._shared and _leaves_alone(fn, self._tensors()):
            return super()._apply(fn, recurse=False)
        self._own()
        self._digests = {}
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args, **kwargs):
        # Called for this module before its children, which are then those of the copy.
        self._own()
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self):
        """Leave out what holds in this process only: a copy has a network of its own."""
        return {**self.__dict__, "_shared": None, "layers_inside": None, "_digests": {}}


def _per_channel(values):
    return None if values is None else torch.tensor(values, dtype=torch.float64).float().view(1, -1, 1, 1)


def _leaves_alone(convert, tensors):
    """Tell whether a conversion, such as that of ``module.to``, would change nothing."""
    with torch.no_grad():
        pairs = ((convert(tensor), tensor) for tensor in tensors)
        return all(
            new is old or (address_of(new), new.dtype, new.device) == (address_of(old), old.dtype, old.device)
            for new, old in pairs
        )


def _pool(features, batch_shape):
    """Check what a network returned for a batch, and average feature maps over their positions."""
    maps = features.ndim == len(batch_shape)
    if features.shape[:1] != batch_shape[:1] or not (features.ndim == 2 or maps):
        raise ValueError(
            f"backbone must map a batch of shape {tuple(batch_shape)} to features (n, d), or to feature maps "
            f"with as many axes, but it returned shape {tuple(features.shape)}. Flatten or pool them."
        )
    if features.shape[1] == 0:
        raise ValueError("backbone must return at least one feature a sample, but it returned none.")
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def trainable_names(network):
    """List the names of the parameters that train."""
    return frozenset(name for name, parameter in network.named_parameters() if parameter.requires_grad)


def count_features(backbone, sample_shape, n=1):
    """Run a blank sample, or a few, through in eval mode, which leaves batch norm's statistics alone."""
    tensor = next(itertools.chain(backbone.network.parameters(), backbone.network.buffers()), torch.empty(0))
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    channels, *size = sample_shape
    samples = torch.zeros((n, *size, channels), dtype=dtype, device=tensor.device).movedim(-1, 1)
    with torch.no_grad():
        return backbone.eval()(samples).shape[1]
