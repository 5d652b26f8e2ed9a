"""The layer before those that train: samples, or features of a frozen backbone, become numbers of about one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn


class Scaling(NamedTuple):
    """What each channel is standardised by.

    Attributes
    ----------
    mean, deviation : tensors of shape (channels,)
    shared : tensor of shape (channels, *spatial) or None
        What is taken off each position beside the mean: what all samples share.
    kept : tensor of shape (channels,) or None
        What part is kept of a sample's level, its mean over positions.
    varies : tensor of shape (channels,) or None
        1; 0 where a channel was constant, so that no weight of it is learnt: it is 0 whatever later samples hold in it.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    shared: torch.Tensor | None = None
    kept: torch.Tensor | None = None
    varies: torch.Tensor | None = None


def parts_taken_off(holder: Any) -> tuple[str, ...]:
    """Name the parts beside mean and deviation that a scaling, or a layer that holds them, has."""
    return tuple(name for name in ("shared", "kept", "varies") if getattr(holder, name) is not None)


class Standardize(nn.Module):
    """Subtract the training mean and divide by the training deviation, per channel.

    Where the differences between samples would be lost beside what all samples share, or beside their levels, that is
    taken off first: see `sklcnn.fitting.scaling`.

    Parameters
    ----------
    scaling : Scaling
    spatial_dims : int
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    shared: torch.Tensor | None
    kept: torch.Tensor | None
    varies: torch.Tensor | None

    def __init__(self, scaling: Scaling, spatial_dims: int):
        super().__init__()
        for name, buffer in buffers_of(scaling, spatial_dims).items():
            self.register_buffer(name, buffer)

    def take(self, scaling: Scaling) -> None:
        """Standardise by another mean and deviation, in place."""
        self.mean.copy_(scaling.mean.reshape(self.mean.shape))
        self.deviation.copy_(scaling.deviation.reshape(self.deviation.shape))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map raw samples (n, c, *spatial) to standardised ones."""
        standardised = differences(inputs - self.mean, self.shared, self.kept).div_(self.deviation)
        return standardised if self.varies is None else standardised.mul_(self.varies)


def buffers_of(scaling: Scaling, spatial_dims: int) -> dict[str, torch.Tensor | None]:
    """Return the parts of a scaling by name, in shapes that (n, c, *spatial) samples are computed with."""
    per_channel = (1, -1) + (1,) * spatial_dims
    parts = scaling._asdict()
    return {
        name: None if part is None else part[None] if name == "shared" else part.reshape(per_channel)
        for name, part in parts.items()
    }


def differences(centred: torch.Tensor, shared: torch.Tensor | None, kept: torch.Tensor | None) -> torch.Tensor:
    """Take off samples what hides their differences.

    Parameters
    ----------
    centred : tensor of shape (n, c, *spatial)
        Samples less the training mean.
    shared, kept : tensors of shapes (1, c, *spatial) and (1, c, 1, ...), or None
        See `Scaling`.
    """
    if shared is not None:
        centred = centred - shared
    if kept is not None:
        centred = centred - (1 - kept) * centred.mean(tuple(range(2, centred.ndim)), keepdim=True)
    return centred
