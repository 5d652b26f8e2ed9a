"""The running statistics of batch norm in the first updates, while few batches are in them."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklcnn.network.network import layers_of


def _is_young(layer: nn.Module) -> bool:
    """Tell whether a layer's running statistics began with this package's updates, and have seen few of them.

    Statistics of loaded weights must be kept, even where their count of batches is zero.
    """
    if not isinstance(layer, _BatchNorm) or layer.momentum is None or layer.running_mean is None:
        return False
    norm: Any = layer
    n_seen = int(norm.num_batches_tracked)
    if n_seen:
        return 1 / (n_seen + 1) > norm.momentum
    return not norm.running_mean.any() and bool((norm.running_var == 1).all())


class YoungStatistics:
    """Make running statistics the plain average of the batches so far, until their own momentum would be larger.

    They begin as a mean of 0 and a variance of 1, whose influence lasts for dozens of updates with a momentum of 0.1:
    where an epoch has few updates, validation would normalise by wrong statistics.

    It changes the momenta of batch norms until they have seen enough batches, or `end` is called.
    """

    def __init__(self):
        self.young: list = []

    def watch(self, module: nn.Module) -> None:
        """Look after the batch norms of a module, which may be new ones in each stage."""
        self.young = [[norm, norm.momentum, 0] for norm in layers_of(module) if _is_young(norm)]

    def begin_epoch(self) -> None:
        """Read how many batches the statistics have seen: a run that is resumed has loaded that count."""
        for entry in self.young:
            entry[2] = int(entry[0].num_batches_tracked)

    def before_update(self) -> None:
        """Set the momenta of the next forward pass in training mode."""
        for entry in self.young:
            norm, momentum, n_seen = entry
            norm.momentum = max(momentum, 1 / (n_seen + 1))
            entry[2] += 1
        self.young = [entry for entry in self.young if entry[0].momentum > entry[1]]

    def end(self) -> None:
        """Restore the momenta of the layers."""
        for norm, momentum, _ in self.young:
            norm.momentum = momentum
        self.young = []
