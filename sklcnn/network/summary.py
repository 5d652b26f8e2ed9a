"""A table of a network's layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from sklcnn.network.cnn import ConvBlock, DenseLayer

COMPOSITES = (ConvBlock, DenseLayer)


def _listed(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """List the layers that a summary shows: the parts of blocks, and other children whole."""
    layers = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        layers += _listed(child, f"{path}.") if isinstance(child, COMPOSITES) else [(path, child)]
    return layers


def summarize(module: nn.Module, sample_shape: tuple[int, ...], dtype: torch.dtype) -> list[dict[str, Any]]:
    """List a network's layers with output shapes and parameters.

    Parameters
    ----------
    module : nn.Module
    sample_shape : tuple of int
        Channels first.
    dtype : torch.dtype

    Returns
    -------
    rows : list of dict
        ``layer``, ``type``, ``output shape`` (without the batch axis), ``parameters``, ``trainable``, in the order in
        which the layers run.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    layers = _listed(module)

    def note_shape(path):
        def hook(layer, inputs, output):
            shapes[path] = tuple(output.shape[1:])

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
    return [
        {
            "layer": path,
            "type": type(layer).__name__,
            "output shape": shapes.get(path, ()),
            "parameters": sum(math.prod(p.shape) for p in layer.parameters()),
            "trainable": sum(math.prod(p.shape) for p in layer.parameters() if p.requires_grad),
        }
        for path, layer in sorted(layers, key=lambda item: list(shapes).index(item[0]) if item[0] in shapes else -1)
    ]
