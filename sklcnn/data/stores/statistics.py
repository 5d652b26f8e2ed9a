"""The mean and deviation of each channel of a store's samples, and what hides their differences."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import NamedTuple

import torch

from sklcnn.data.stores.base import CHUNK_VALUES, Store

GRAM_CHANNELS = 8
LOST_PART = 1 / 8  # of the deviation, from which on rounding counts
# Parts of the mean: a smaller deviation is one of the last digits of float64, alone or after a computation.
LAST_DIGITS = (1e-12, 1e-15)


class Statistics(NamedTuple):
    """What is known of the values of each channel.

    Attributes
    ----------
    mean, deviation : float64 tensors of shape (channels,)
        The deviation of a constant channel is 0.
    shared : float64 tensor of shape (positions, channels)
        By how much the mean at a position differs from the mean.
    level, rest : float64 tensors of shape (channels,)
        The deviation of samples' means, and that of the values without these and what is shared: values are their sum.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    shared: torch.Tensor
    level: torch.Tensor
    rest: torch.Tensor


def channel_statistics(
    store: Store, rows: torch.Tensor, weights: torch.Tensor | None, precision: str = "float64", estimator: str = ""
) -> Statistics:
    """Compute the weighted statistics of each channel.

    Parameters
    ----------
    store : Store
    rows : int64 tensor of shape (n,)
    weights : tensor of shape (n,) or None
        Weight of each of those rows; None: they count alike.
    precision, estimator : str
        What the network computes in, and its estimator's name: values whose differences it would lose give a warning.

    Returns
    -------
    statistics : Statistics
    """
    n_channels = store.sample_shape[0]
    n_positions = math.prod(store.sample_shape[1:])
    step = max(1, CHUNK_VALUES // math.prod(store.sample_shape))
    if weights is not None and torch.all(weights == weights[0]):
        weights = None
    shift = torch.zeros(n_channels, dtype=torch.float64)
    of_positions = torch.zeros(n_positions * n_channels, dtype=torch.float64)
    square, of_levels = (torch.zeros(n_channels, dtype=torch.float64) for _ in range(2))
    chunk_weights = itertools.repeat(None) if weights is None else weights.split(step)
    chunks = zip(store.batches(rows.split(step), torch.float64), chunk_weights, strict=False)
    for number, (images, weight) in enumerate(chunks):
        values = images.movedim(1, -1).reshape(-1, n_channels)  # (n * positions, c)
        if number == 0:
            rounding = (values - values.float()).abs().amax(0)
            shift = _near_mean(values)
        values = values.sub_(shift)  # a batch of rows is a copy, never the user's own
        weighted = values if weight is None else values * weight.double().repeat_interleave(n_positions)[:, None]
        of_positions += weighted.reshape(len(images), -1).sum(0)
        # Products of matrices are much faster than reductions, as long as there are few channels.
        square += (weighted.T @ values).diagonal() if n_channels <= GRAM_CHANNELS else (weighted * values).sum(0)
        levels = values.reshape(len(images), n_positions, n_channels).mean(1)
        of_levels += levels.square().sum(0) if weight is None else weight.double() @ levels.square()
    total_weight = len(rows) if weights is None else weights.sum(dtype=torch.float64)
    of_positions = of_positions.reshape(n_positions, n_channels) / total_weight
    mean, square = of_positions.mean(0), square / (total_weight * n_positions)
    deviation = (square - mean**2).clamp_(min=0).sqrt_()
    level = (of_levels / total_weight - mean**2).clamp_(min=0).sqrt_()
    shared = of_positions - mean
    rest = (deviation**2 - level**2 - shared.square().mean(0)).clamp_(min=0).sqrt_()
    mean = shift + mean
    constant = deviation <= LAST_DIGITS[precision == "float64"] * torch.maximum(mean.abs(), deviation)
    if precision != "float64":
        varies = ~constant
        if torch.any(constant & (deviation > 0)):  # by rounding of the mean alone, or by a few last digits
            values = store.batch(rows[:step], torch.float64).movedim(1, -1).reshape(-1, n_channels)
            varies |= (values != values[:1]).any(0)
        _warn_of_rounding(rounding, mean, deviation, varies, estimator)
    deviation[constant] = 0.0
    return Statistics(mean, deviation, shared, level, rest)


def _near_mean(values):
    """Return what the squares of differences from it lose no digits by: the mean, or of constant values their own."""
    mean = values.mean(0)
    if torch.any(values[0] == values[-1]):  # which is rare, and quick to see
        return torch.where(values.amin(0) == values.amax(0), values[0], mean)
    return mean


def _warn_of_rounding(rounding, mean, deviation, varies, estimator):
    """Warn where float32 rounds values by a large part of what they differ by."""
    lost = torch.nonzero(varies & (rounding > LOST_PART * deviation))
    if len(lost):
        channel = int(lost[0])
        warnings.warn(
            f"{estimator}: the values in channel {channel} of X differ by about {deviation[channel]:.3g}, around "
            f"{mean[channel]:.10g}. The network computes in float32, which rounds them by up to "
            f"{rounding[channel]:.3g}, and sees little of the differences. Subtract the mean from X first, or set "
            'precision="float64".',
            UserWarning,
            stacklevel=2,
        )
