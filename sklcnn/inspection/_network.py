"""The inside of a fitted network: a copy that may be changed, its layers by name, feature maps."""

from __future__ import annotations

import difflib
import itertools
import math
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from sklcnn.base import BaseCNN
from sklcnn.network.blocks import Block
from sklcnn.network.own_state import copy_network
from sklcnn.training.evaluation import autocast
from sklcnn.wording import shown

MAX_NAMES = 40  # layers that an error lists
# Values of samples that go through a network at once, at most: for gradients a backbone keeps about a hundred times as
# many.
VALUES = 2**21
MAX_ROWS = 256


class OpenNetwork:
    """A copy of a fitted network that shares its weights. Changes of the copy do not change the estimator.

    It is in eval mode, and its blocks pool after the activation, so that the outputs of both are what their names say.

    Parameters
    ----------
    cnn : BaseCNN
        Fitted.

    Attributes
    ----------
    module : torch.nn.Module
    max_rows : int
        How many samples should go through at once.
    """

    def __init__(self, cnn: BaseCNN):
        module = cnn.module_
        tensors = itertools.chain(module.parameters(), module.buffers())
        self.module = copy_network(module, {id(tensor): tensor for tensor in tensors}).eval()
        self.dtype = cnn._dtype
        self._precision, self._device = cnn.net_.spec.precision, cnn.net_.torch_device_
        self.max_rows = min(max(VALUES // math.prod(cnn.sample_shape_), 1), MAX_ROWS)
        for layer in self.module.modules():
            if isinstance(layer, Block):
                layer.pool_first = False

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map samples (n, c, *spatial) to raw outputs (n, k), as `predict` does but with gradients."""
        with autocast(self._precision, self._device):
            return self.module(inputs).to(self.dtype)

    @torch.no_grad()
    def predictions(self, inputs: torch.Tensor) -> Any:
        """Map samples (n, c, *spatial) to raw outputs, an ndarray (n, k)."""
        return as_numpy(torch.cat([self.outputs(part) for part in inputs.split(self.max_rows)]))

    def map_layers(self) -> list[str]:
        """List the layers that an integer may stand for: blocks, or convolutions of a network without blocks."""
        for kind in (Block, _ConvNd):
            names = [name for name, layer in self.module.named_modules() if isinstance(layer, kind)]
            if names:
                return names
        return []

    def find(self, layer: int | str) -> str:
        """Find the name of a layer.

        Parameters
        ----------
        layer : int or str
            A position in `map_layers`, or a path of submodules such as ``"block1"`` or ``"backbone.network.conv1"``.

        Raises
        ------
        TypeError, ValueError
            If it is neither, or there is no such layer.
        """
        if isinstance(layer, str):
            if layer not in dict(self.module.named_modules()) or not layer:
                raise ValueError(f"There is no layer {shown(layer)} in the network. {self._known_layers(layer)}")
            return layer
        if isinstance(layer, bool) or not hasattr(layer, "__index__"):
            raise TypeError(f"layer must be a name or a position, such as 'block1' or 0; got {shown(layer)}.")
        names = self.map_layers()
        try:
            return names[layer.__index__()]
        except IndexError:
            raise ValueError(
                f"layer={layer} is not among the {len(names)} convolution layers. {self._known_layers('')}"
            ) from None

    def _known_layers(self, wanted):
        names = [name for name, _ in self.module.named_modules() if name]
        if len(names) <= MAX_NAMES:
            return f"Its layers are {', '.join(names)}."
        # Of hundreds of layers, name the most similar ones, then those at the top, and say where the rest are.
        close = difflib.get_close_matches(wanted, names, n=5, cutoff=0.5)
        first = dict.fromkeys([*close, *(name for name in names if name.count(".") <= 2)])
        listed = list(first)[:MAX_NAMES]
        return (
            f"It has {len(names)} layers, among them {', '.join(listed)}; "
            "dict(estimator.module_.named_modules()) lists them all."
        )

    def maps_module(self, name: str, after_activation: bool | None = None) -> nn.Module:
        """Return the submodule whose output is the maps of a layer; a block's are those before pooling.

        Raises
        ------
        ValueError
            If `after_activation` is given for a layer that is not a block of the package.
        """
        layer = self.module.get_submodule(name)
        if isinstance(layer, Block):
            return layer.maps_layer if after_activation is False or layer.activation is None else layer.activation
        if after_activation is not None:
            raise ValueError(
                f"after_activation={after_activation} chooses between the two maps of a convolution block, but layer "
                f"{name!r} is a {type(layer).__name__}. Leave it out, and name the layer whose output is wanted."
            )
        return layer

    def check_maps(self, name: str, maps: Any, n_axes: int) -> torch.Tensor:
        """Return a layer's output if it is feature maps, (n, n_maps, *positions); raise an error if not."""
        if isinstance(maps, torch.Tensor) and maps.ndim == n_axes:
            return maps
        if maps is None:
            found = "did not run"
        elif isinstance(maps, torch.Tensor):
            found = f"gives outputs of shape {tuple(maps.shape[1:])}"
        else:
            found = f"returns a {type(maps).__name__}"
        raise ValueError(
            f"Layer {name!r} {found}, not feature maps, which have a channel axis and {n_axes - 2} spatial "
            f"ax{'is' if n_axes == 3 else 'es'}. Layers with feature maps: {', '.join(self.map_layers()[:MAX_NAMES])}."
        )

    @torch.no_grad()
    def feature_maps(self, inputs: torch.Tensor, name: str, after_activation: bool | None = None) -> torch.Tensor:
        """Compute a layer's maps (n, n_maps, *positions) of samples."""
        layer = self.maps_module(name, after_activation)
        seen = []

        def note(_, output):
            # A clone, because the next layer may change it in place.
            seen.append(output.clone() if isinstance(output, torch.Tensor) else output)

        maps = []
        for part in inputs.split(self.max_rows):
            with hooked([layer], note):
                self.outputs(part)
            maps.append(self.check_maps(name, seen[-1] if seen else None, inputs.ndim))
            seen.clear()
        return torch.cat(maps)

    @torch.no_grad()
    def last_map_layer(self, inputs: torch.Tensor) -> str:
        """Name the layer with the last feature maps: the last block, or the end of a backbone's last stage.

        In a backbone it is the last layer whose maps have the size of the last convolution's: after its normalisation,
        activation and shortcut. Convolutions on a single position, which some backbones use as dense layers,
        do not count.

        Raises
        ------
        ValueError
            If the network has no convolution.
        """
        names = self.map_layers()
        if names and isinstance(self.module.get_submodule(names[-1]), Block):
            return names[-1]
        finished = []  # name, positions per axis, whether it is a convolution; in the order in which layers end
        paths = {layer: name for name, layer in self.module.named_modules() if name}

        def note(layer, output):
            if isinstance(output, torch.Tensor) and output.ndim == inputs.ndim:
                finished.append((paths[layer], output.shape[2:], isinstance(layer, _ConvNd)))

        with hooked(list(paths), note):
            self.outputs(inputs[:1])
        sizes = [size for _, size, is_convolution in finished if is_convolution]
        if not sizes:
            raise ValueError(
                "The network has no convolution layer, whose feature maps Grad-CAM needs. "
                'Use method="integrated_gradients", "saliency" or "occlusion".'
            )
        size = ([size for size in sizes if math.prod(size) > 1] or sizes)[-1]
        return next(name for name, other, _ in reversed(finished) if other == size)


@contextmanager
def hooked(layers, note):
    """Call `note(layer, output)` whenever one of some layers has run."""
    hooks = [layer.register_forward_hook(lambda layer, _, output: note(layer, output)) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def as_numpy(tensor: torch.Tensor) -> Any:
    """Convert a tensor to an ndarray; bfloat16, which NumPy lacks, to float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()
