"""The mean and deviation of each channel of a store's samples."""

from __future__ import annotations

import itertools
import math

import torch

from sklcnn.data.stores.base import CHUNK_VALUES, Store

GRAM_CHANNELS = 8


def channel_statistics(
    store: Store, rows: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the weighted mean and standard deviation of each channel.

    Parameters
    ----------
    store : Store
    rows : int64 tensor of shape (n,)
    weights : tensor of shape (n,) or None
        Weight of each of those rows; None: they count alike.

    Returns
    -------
    mean, deviation : float64 tensors of shape (channels,)
        A constant channel has deviation 1.
    """
    n_channels = store.sample_shape[0]
    n_positions = math.prod(store.sample_shape[1:])
    step = max(1, CHUNK_VALUES // math.prod(store.sample_shape))
    if weights is not None and torch.all(weights == weights[0]):
        weights = None
    shift = torch.zeros(n_channels, dtype=torch.float64)
    total, square = torch.zeros(2, n_channels, dtype=torch.float64)
    chunk_weights = itertools.repeat(None) if weights is None else weights.split(step)
    chunks = zip(store.batches(rows.split(step), torch.float64), chunk_weights, strict=False)
    for number, (images, weight) in enumerate(chunks):
        values = images.movedim(1, -1).reshape(-1, n_channels)  # (n * positions, c)
        if number == 0:
            shift = values.mean(0)  # near the mean, so that the squares below lose no digits
        values = values.sub_(shift)  # a batch of rows is a copy, never the user's own
        weighted = values if weight is None else values * weight.double().repeat_interleave(n_positions)[:, None]
        total += weighted.sum(0)
        # Products of matrices are much faster than reductions, as long as there are few channels.
        square += (weighted.T @ values).diagonal() if n_channels <= GRAM_CHANNELS else (weighted * values).sum(0)
    total_weight = len(rows) if weights is None else weights.sum(dtype=torch.float64)
    mean, square = torch.stack([total, square]) / (total_weight * n_positions)
    deviation = (square - mean**2).clamp_(min=0).sqrt_()
    scale = torch.maximum((shift + mean).abs(), deviation)
    deviation[deviation <= 1e-12 * scale] = 1.0
    return shift + mean, deviation
