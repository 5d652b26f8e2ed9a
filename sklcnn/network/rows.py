"""Layers of signals, computed as images of one row.

PyTorch's layers of signals copy what is channels-last in memory, and normalise and pool the copies slowly: a residual
network of signals trained for 1.7 times as long. As an image of one row a signal keeps its layout. To a user each is
the layer whose sizes and weights it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.utils import _single


class RowConv1d(nn.Conv1d):
    """Of signals, as images of one row, whose layout in memory stays channels-last."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, length) to (n, filters, outputs)."""
        stride, padding = (1, *self.stride), (0, *self.padding)
        rows, weight = maps.unsqueeze(2), self.weight.unsqueeze(2)
        return functional.conv2d(rows, weight, self.bias, stride, padding).squeeze(2)  # type: ignore[arg-type]

    def _get_name(self):
        """Return the name that a user knows."""
        return "Conv1d"


class RowPad1d(nn.ZeroPad1d):
    """Zeros at the ends of signals, as of images of one row."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, length) to (n, c, more)."""
        before, after = self.padding
        return functional.pad(maps.unsqueeze(2), (before, after, 0, 0)).squeeze(2)

    def _get_name(self):
        """Return the name that a user knows."""
        return "ZeroPad1d"


class RowNorm1d(nn.BatchNorm1d):
    """Batch normalisation of signals, as images of one row."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalise (n, c, length)."""
        return super().forward(maps.unsqueeze(2)).squeeze(2)

    def _check_input_dim(self, input):
        pass

    def _get_name(self):
        """Return the name that a user knows."""
        return "BatchNorm1d"


class RowMaxPool1d(nn.MaxPool1d):
    """Maxima of signals, as of images of one row."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, c, length) to (n, c, less)."""
        (window,), (stride,), (padding,) = map(_single, (self.kernel_size, self.stride, self.padding))
        return functional.max_pool2d(maps.unsqueeze(2), (1, window), (1, stride), (0, padding)).squeeze(2)

    def _get_name(self):
        """Return the name that a user knows."""
        return "MaxPool1d"


def join_channels(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Join maps (n, c, *spatial) along their channels, in channels-last memory."""
    if maps[0].ndim > 3:
        return torch.cat(list(maps), dim=1)
    return torch.cat([some.unsqueeze(2) for some in maps], dim=1).squeeze(2)
