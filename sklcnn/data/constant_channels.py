"""Channels that were constant in all training rows: a network knows nothing of other values in them."""

from __future__ import annotations

import math
import warnings

import torch

from sklcnn.data.glance import some_of
from sklcnn.data.schema import InputSchema
from sklcnn.data.stores.base import Store
from sklcnn.data.targets import TORCH_FLOATS

# So far from its constant a channel is still the same: by the rounding of float32, or, beside channels of large values,
# by that of a computation whose result should be zero.
ROUNDING, ROUNDING_OF_PEAK = 1e-6, 1e-12


def differs(constant: float, away: float, peak: float) -> bool:
    """Tell whether values lie further from a channel's constant than rounding has moved them.

    Parameters
    ----------
    constant : float
    away : float
        How far they lie from it.
    peak : float
        The largest magnitude in any channel.
    """
    return away > max(ROUNDING * abs(constant), ROUNDING_OF_PEAK * peak)


def warn_of_other_values(
    store: Store, schema: InputSchema, estimator: str, rows: torch.Tensor | None = None, name: str = "X"
) -> None:
    """Warn where channels that were constant in all training rows hold something else in a few samples.

    Parameters
    ----------
    store : Store
    schema : InputSchema
    estimator : str
        Its name, for the message.
    rows : int64 tensor of shape (n,) or None
        Those that count; None: all.
    name : str
        Of X, for the message.
    """
    if not schema.constants:
        return
    some = torch.tensor(
        some_of(range(len(store)) if rows is None else rows.tolist(), math.prod(schema.sample_shape)), dtype=torch.int64
    )
    if not len(some):
        return
    values = store.batch(some, TORCH_FLOATS[schema.spec.precision]).transpose(0, 1).flatten(1)  # (c, n * positions)
    lows, highs = values.amin(1).tolist(), values.amax(1).tolist()
    peak = max(map(abs, (*lows, *highs)))
    other = [
        (channel, constant)
        for channel, constant in schema.constants
        if differs(constant, max(highs[channel] - constant, constant - lows[channel]), peak)
    ]
    if other:
        channel, constant = other[0]
        others = "" if len(other) == 1 else f" (like {len(other) - 1} more)"
        warnings.warn(
            f"{estimator}: channel {channel} of X{others} was {constant:.7g} in all training rows, so that the network "
            f"leaves it out; {name} now holds values from {lows[channel]:.7g} to {highs[channel]:.7g} in it. Fit with "
            "rows in which it varies, if it tells anything.",
            UserWarning,
            stacklevel=2,
        )
