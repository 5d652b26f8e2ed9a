"""Resizing in a file, with the same numbers as torch's."""

from __future__ import annotations

import torch
from torch import nn

LARGEST_WEIGHT = 2**15 - 1  # torch resizes 8-bit pictures with weights of 16 bits


class Resize(nn.Module):
    """Resize images bilinearly with antialiasing: each axis is multiplied by a matrix of weights.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    whole : bool
        Whether pixels are integers 0..255: for those torch rounds weights, and the pixels after each axis.
    """

    def __init__(self, size: tuple[int, int], whole: bool):
        super().__init__()
        self.size, self.whole = size, whole

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, c, h, w) to (n, c, *size), in float64 or, as they were given, float32."""
        values = images.double() if self.whole else images.to(torch.promote_types(images.dtype, torch.float32))
        for axis in (-1, -2):  # torch's order, which matters where pixels are rounded in between
            weights = resizing_weights(images.shape[axis], self.size[axis])
            if self.whole:
                weights = rounded_weights(weights)
            values = values.movedim(axis, -1) @ weights.T.to(values.dtype)
            if self.whole:
                values = torch.floor(values + 0.5).clamp(0, 255)
            values = values.movedim(-1, axis)
        return values


def resizing_weights(n: int, n_resized: int) -> torch.Tensor:
    """Compute the weight of each of n positions in each resized one, float64 (n_resized, n).

    Parameters
    ----------
    n : int
        May be symbolic, while a graph is traced.
    n_resized : int
    """
    scale = torch.ones((), dtype=torch.float64) * n / n_resized
    width = scale.clamp(min=1.0)  # half the width of the triangle of weights
    centers = (torch.arange(n_resized, dtype=torch.float64) + 0.5) * scale
    positions = torch.arange(n, dtype=torch.float64)
    # torch uses the positions whose centres, rounded, are within the triangle.
    first = torch.trunc(centers - width + 0.5).clamp(min=0)
    last = torch.trunc(centers + width + 0.5)
    within = (positions >= first[:, None]) & (positions < last[:, None])
    weights = (1 - ((positions + 0.5 - centers[:, None]) / width).abs()).clamp(min=0) * within
    return weights / weights.sum(1, keepdim=True)


def rounded_weights(weights: torch.Tensor) -> torch.Tensor:
    """Round weights to as many bits as torch keeps of them, as fractions."""
    largest = weights.max()
    unit = torch.exp2(torch.floor(torch.log2(LARGEST_WEIGHT / largest)))
    return torch.floor(weights * unit + 0.5) / unit
