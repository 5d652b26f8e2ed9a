"""L1 and L2 penalties on a network's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from sklcnn.network.network import layers_of

# l2="auto" while a backbone is frozen. On 9 sets of 50 to 1,000 pictures (`benchmarks/small_data.py`) the log-loss,
# divided by that of a logistic regression, was in the median 1.39 with 0, 1.04 with 0.003, 1.00 with 0.01 and 1.02 with
# 0.02. Dropout, fewer updates and label smoothing gave 1.2 to 1.6 without l2, and improved next to nothing beside it.
FROZEN_L2 = 0.01


def penalised_weights(module: nn.Module) -> list[nn.Parameter]:
    """List the convolution and dense weights that train: not biases, not normalisation parameters.

    Those of `layers_with_computed_weights` are left out: there is no parameter whose gradient could be added to.
    """
    layers = layers_of(module)
    multiply = [layer for layer in layers if isinstance(layer, (_ConvNd, nn.Linear))]
    weights: list[Any] = [layer.weight for layer in multiply if "weight" in layer._parameters]
    weights += [
        layer.in_proj_weight
        for layer in layers
        if isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None
    ]
    return [weight for weight in dict.fromkeys(weights) if weight.requires_grad]


def layers_with_computed_weights(module: nn.Module) -> list[nn.Module]:
    """List the convolutions and dense layers whose weight is computed from parameters that train, as in weight norm."""
    return [
        layer
        for layer in layers_of(module)
        if isinstance(layer, (_ConvNd, nn.Linear))
        and "weight" not in layer._parameters
        and any(parameter.requires_grad for name, parameter in layer.named_parameters() if name != "bias")
    ]


def computed_penalty(layers: list[nn.Module], l1: float, l2: float) -> torch.Tensor:
    """Sum the penalties of weights that are computed, to be differentiated with the loss.

    Parameters
    ----------
    layers : list of nn.Module
        At least one, that `layers_with_computed_weights` lists.
    l1, l2 : float
    """
    weights: list[Any] = [layer.weight for layer in layers]
    return torch.stack([l1 * weight.abs().sum() + l2 * weight.square().sum() for weight in weights]).sum()


def weight_penalty(weights: list[Any], l1: float, l2: float) -> torch.Tensor:
    """Sum the L1 and L2 penalties of weights.

    Biases and normalisation parameters are left out: shrinking them moves the output without
    simplifying the function.

    Parameters
    ----------
    weights : list of torch.Tensor
        Those of a network that `penalised_weights` lists, and those that are computed.
    l1, l2 : float, >= 0
        Strengths, in units of loss per unit of weight (squared).

    Returns
    -------
    penalty : torch.Tensor of shape ()
        ``l1 * sum(|w|) + l2 * sum(w**2)``.

    References
    ----------
    Goodfellow et al., *Deep Learning* (2016), section 7.1.
    """
    values = [weight.detach() for weight in weights]
    penalty = torch.zeros((), dtype=torch.float64)
    if l1:
        penalty += l1 * sum(float(value.abs().sum()) for value in values)
    if l2:
        penalty += l2 * sum(float(value.square().sum()) for value in values)
    return penalty


@torch.no_grad()
def add_penalty_gradients(weights: list[nn.Parameter], l1: float, l2: float) -> None:
    """Add the penalties' gradients, ``l1 * sign(w) + 2 * l2 * w``, to those of the loss.

    Far cheaper than to differentiate the penalty itself, and equal to it.

    Parameters
    ----------
    weights : list of nn.Parameter
        Those without gradients are left alone.
    l1, l2 : float
    """
    penalised: Any = [weight for weight in weights if weight.grad is not None]
    gradients: Any = [weight.grad for weight in penalised]
    if l2:
        torch._foreach_add_(gradients, penalised, alpha=2 * l2)
    if l1:
        torch._foreach_add_(gradients, torch._foreach_sign(penalised), alpha=l1)
