"""Learning rates, update by update, as shares of the peak."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Of torch's OneCycleLR: the share of updates that warm up, and how far the rate starts and ends below its peak.
WARM_UP, START_DIVISOR, END_DIVISOR = 0.3, 25.0, 25.0 * 1e4
# Measured so that the rate falls, and the fall shows, within the default patience of ten epochs.
PLATEAU_FACTOR, PLATEAU_WAIT = 0.3, 4


def _cosine_between(start, end, share):
    return end + (start - end) / 2 * (1 + np.cos(np.pi * share))


def one_cycle(n_updates: int) -> np.ndarray:
    """Give torch's OneCycleLR with its default shape.

    References
    ----------
    Smith and Topin, *Super-Convergence* (2018).
    """
    if n_updates == 1:
        return np.ones(1)  # one update at the end of the cycle would not move at all
    update = np.arange(n_updates)
    summit = WARM_UP * n_updates - 1
    # A summit at or before the first update is never walked up to.
    rising = _cosine_between(1 / START_DIVISOR, 1, update / summit) if summit > 0 else np.ones(n_updates)
    falling = _cosine_between(1, 1 / END_DIVISOR, (update - summit) / (n_updates - 1 - summit))
    return np.where(update <= summit, rising, falling)


def cosine(n_updates: int) -> np.ndarray:
    """Give torch's CosineAnnealingLR down to zero.

    References
    ----------
    Loshchilov and Hutter, *SGDR* (2017).
    """
    return _cosine_between(1, 0, np.arange(n_updates) / n_updates)


SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {"one_cycle": one_cycle, "cosine": cosine}
