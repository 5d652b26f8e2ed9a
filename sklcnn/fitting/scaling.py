"""What samples and features are standardised by, so that a network sees what they differ by."""

from __future__ import annotations

import math
from typing import Any

import torch

from sklcnn.data.batches import Rows
from sklcnn.data.constant_channels import differs
from sklcnn.data.stores import Statistics, channel_statistics
from sklcnn.network.standardize import Scaling

# Values are the sum of what all samples share at their position, of their level, and of a rest. Where the rest is less
# than this part of the whole, networks see too little of it. On bumps under levels, with 0.94 without them, accuracy is
# 0.81 at 1/10 and 0.54 at 1/30 of the levels, R2 0.70 and 0.06, and as good as a linear model's, 0.89 and 0.83, with
# the levels lowered to the rest; spectra of coffee 0.95, and 1.00 without what they share; of meat (Tecator) R2 0.988
# and 0.996. Where the level is the answer, which it may be, lowered ones cost a thousandth of R2.
HIDDEN = 1 / 3
ROUNDING = 1e-5  # of the whole; a smaller rest is what rounding has left
LAST_DIGITS = 4  # by which a feature that is the same in all samples differs: sums are rounded


def choose_scaling(statistics: Statistics, sample_shape: tuple[int, ...], in_place: bool = True) -> Scaling:
    """Choose what samples are standardised by.

    The mean and the deviation; but in channels whose differences between samples would be hidden, what all samples
    share is taken off them, and their levels are lowered to the deviation of the rest.

    Parameters
    ----------
    statistics : Statistics
    sample_shape : tuple of int
        Channels first.
    in_place : bool
        Whether what samples share is always at its place, where it can be taken off.
    """
    mean, deviation, shared, level, rest = statistics
    hidden = (rest < HIDDEN * deviation) & (rest > ROUNDING * deviation)
    kept = torch.where(hidden & (level > rest), rest / torch.where(hidden, level, 1.0), 1.0)
    taken_off = torch.where(hidden, shared, 0.0) if in_place else torch.zeros_like(shared)
    square = rest**2 + (kept * level) ** 2 + (shared - taken_off).square().mean(0)
    lowered = torch.where(hidden, square.sqrt(), deviation)
    return Scaling(
        mean,
        torch.where(lowered > 0, lowered, 1.0),
        taken_off.T.reshape(sample_shape) if torch.any(taken_off != 0) else None,
        kept if torch.any(kept < 1) else None,
        None if torch.all(lowered > 0) else (lowered > 0).to(lowered.dtype),
    )


def constants_of(statistics: Statistics) -> tuple[tuple[int, float], ...]:
    """Return the channels that are constant, and their values."""
    constant = torch.nonzero(statistics.deviation == 0).flatten().tolist()
    return tuple((channel, float(statistics.mean[channel])) for channel in constant)


def take_in(
    network: Any, constants: tuple[tuple[int, float], ...], statistics: Statistics
) -> tuple[tuple[int, float], ...]:
    """Let a network see channels that were constant until now, where they vary in the rows of a further call.

    They are measured from their constants, so that the rows of earlier calls keep their outputs, and in units of the
    root mean square of what they differ by now.

    Parameters
    ----------
    network : Network
        Changed in place.
    constants : tuple of (int, float)
        The channels that were constant, and their values.
    statistics : Statistics
        Of the further call's rows.

    Returns
    -------
    constants : tuple of (int, float)
        Those that are constant still.
    """
    own = getattr(network, "standardize", None) is None  # a network of the user's, within the backbone
    layer, name = (network.backbone, "std") if own else (network.standardize, "deviation")
    peak = float((statistics.mean.abs() + statistics.deviation).max())
    deviation, varies, still = getattr(layer, name).clone(), layer.varies.clone(), []
    for channel, constant in constants:
        away = math.hypot(float(statistics.mean[channel]) - constant, float(statistics.deviation[channel]))
        if differs(constant, away, peak):
            deviation.view(-1)[channel] = away
            varies.view(-1)[channel] = 1
        else:
            still.append((channel, constant))
    setattr(layer, name, deviation)
    layer.varies = varies
    return tuple(still)


def scaling_of_features(features: Rows, dtype: torch.dtype, *, whole: bool) -> Scaling:
    """Return what the features of a frozen backbone are standardised by.

    Parameters
    ----------
    features : Rows
        Of training rows.
    dtype : torch.dtype
        In which they were computed.
    whole : bool
        Whether these are all of the data, of which a feature that is constant tells nothing: it becomes 0. In later
        chunks it may differ, and then it is divided by what others are.
    """
    mean, deviation, *_ = channel_statistics(features.store, features.rows, features.weights)
    limits = torch.finfo(dtype)
    varies = deviation > LAST_DIGITS * limits.eps * mean.abs() + limits.tiny
    others = float(deviation[varies].median()) if varies.any() else 1.0
    return Scaling(mean, torch.where(varies, deviation, math.inf if whole else others))
