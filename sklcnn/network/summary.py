"""A table of a network's layers."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import nn

from sklcnn.network.backbones import Backbone
from sklcnn.network.blocks import InceptionPaths, Shortcut
from sklcnn.network.network import Layers

OWN = (Layers, Shortcut, InceptionPaths)  # whose parts are listed
COLUMNS = ["layer", "type", "output shape", "parameters", "trainable"]
COUNTS = {"parameters", "trainable"}
UNLISTED = "standardize_features"  # what scales a backbone's features has no row, as what scales its inputs has none


def _listed(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """List the layers that a summary shows: the parts of blocks, and other children whole."""
    layers = []
    for name, child in module.named_children():
        if name == UNLISTED:
            continue
        path = f"{prefix}{name}"
        is_list = isinstance(module, OWN) and isinstance(child, nn.Sequential | nn.ModuleList)
        layers += _listed(child, f"{path}.") if is_list or isinstance(child, OWN) else [(path, child)]
    return layers


class LayerTable(pd.DataFrame):
    """A row a layer, and below them, where it is shown, the totals.

    The totals are no row of the table, so that sums over it are right; ``attrs["parameters"]`` and
    ``attrs["trainable"]`` hold them. They count a weight that layers share once.
    """

    @property
    def _constructor(self):
        return pd.DataFrame  # a part of the table has other totals

    def __repr__(self) -> str:
        if not self._is_whole():
            return super().__repr__()
        columns = [[f"{n:,}" if name in COUNTS else str(n) for n in self[name]] for name in COLUMNS]
        total = ["total", "", "", *(f"{self.attrs[name]:,}" for name in COLUMNS[3:])]
        widths = [
            max(map(len, (name, *cells, last))) for name, cells, last in zip(COLUMNS, columns, total, strict=True)
        ]

        def line(cells):
            padded = [
                cell.rjust(width) if name in COUNTS else cell.ljust(width)
                for name, cell, width in zip(COLUMNS, cells, widths, strict=True)
            ]
            return "  ".join(padded)

        rule = "-" * len(line(COLUMNS))
        return "\n".join([line(COLUMNS), rule, *map(line, zip(*columns, strict=True)), rule, line(total)])

    def _repr_html_(self) -> str | None:
        if not self._is_whole():
            return super()._repr_html_()
        formats = dict.fromkeys(COUNTS, "{:,}".format)
        table = self.to_html(index=False, border=0, formatters=formats)
        parameters, trainable = (f"{self.attrs[name]:,}" for name in COLUMNS[3:])
        return f"{table}\n<p>{parameters} parameters, {trainable} of them trainable</p>"

    def _is_whole(self):
        """Whether it is as it was made: a user may have changed it in place."""
        return list(self.columns) == COLUMNS and self.attrs.keys() >= COUNTS


def describe(layer: nn.Module) -> str:
    """Name a layer's type; of a backbone, the network in it."""
    if isinstance(layer, Backbone):
        return layer.name or type(layer.network).__name__
    return layer._get_name()


def summarize(module: nn.Module, sample_shape: tuple[int, ...], dtype: torch.dtype) -> LayerTable:
    """List a network's layers with output shapes and parameters.

    Parameters
    ----------
    module : nn.Module
    sample_shape : tuple of int
        Channels first.
    dtype : torch.dtype

    Returns
    -------
    table : LayerTable
        ``layer``, ``type``, ``output shape`` (without the batch axis), ``parameters``, ``trainable``, in the order in
        which the layers run.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    layers = _listed(module)

    def note_shape(path):
        def hook(layer, inputs, output):
            first = output[0] if isinstance(output, tuple) else output  # of recurrent layers, the states follow it
            shapes[path] = tuple(first.shape[1:])

        return hook

    hooks = [layer.register_forward_hook(note_shape(path)) for path, layer in layers]
    device = next(module.parameters()).device
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *sample_shape, dtype=dtype, device=device))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    order = {path: place for place, path in enumerate(shapes)}
    rows = [
        {
            "layer": path,
            "type": describe(layer),
            "output shape": shapes.get(path, ()),
            "parameters": count_parameters(layer),
            "trainable": count_parameters(layer, trainable=True),
        }
        for path, layer in sorted(layers, key=lambda item: order.get(item[0], -1))
    ]
    table = LayerTable(rows)
    table.attrs |= {"parameters": count_parameters(module), "trainable": count_parameters(module, trainable=True)}
    return table


def count_parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """Count the parameters of a module, or those that train."""
    return sum(math.prod(p.shape) for p in module.parameters() if p.requires_grad or not trainable)
