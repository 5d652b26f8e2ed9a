"""Learning rates, update by update, as shares of the peak."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

# As in torch's OneCycleLR: the share of updates that warm up, and by what the peak is divided at the start and end.
WARM_UP, START_DIVISOR, END_DIVISOR = 0.3, 25.0, 25.0 * 1e4
# "reduce_on_plateau": the rate is multiplied by the factor when some epochs lower the loss by less than the gain, a
# share of it. Measured: on 54,000 pictures of clothes, with 844 updates per epoch, waiting for several epochs overfits
# meanwhile, and the best of ten epochs is 0.014 less accurate. Where an epoch has few updates, a few epochs say nothing
# yet, so that a wait is at least 100 updates. At less than a hundredth of its first rate a network learns nothing more.
PLATEAU_FACTOR, PLATEAU_GAIN, PLATEAU_FLOOR = 0.3, 0.1, 0.01
PLATEAU_MAX_WAIT, PLATEAU_UPDATES, PLATEAU_MIN_UPDATES = 4, 500, 100


def _cosine_between(start, end, share):
    return end + (start - end) / 2 * (1 + np.cos(np.pi * share))


def one_cycle(update: np.ndarray, n_updates: int) -> np.ndarray:
    """Compute torch's OneCycleLR with its default shape.

    Parameters
    ----------
    update : ndarray of int
        Updates, counted from 0.
    n_updates : int
        Of the whole run.

    References
    ----------
    Smith and Topin, *Super-Convergence* (2018).
    """
    if n_updates == 1:
        return np.ones(len(update))  # at the end of a cycle, a single update would change next to nothing
    summit = WARM_UP * n_updates - 1
    # With few updates the summit is at or before the first one: there is nothing to rise.
    rising = _cosine_between(1 / START_DIVISOR, 1, update / summit) if summit > 0 else np.ones(len(update))
    falling = _cosine_between(1, 1 / END_DIVISOR, (update - summit) / (n_updates - 1 - summit))
    return np.where(update <= summit, rising, falling)


def cosine(update: np.ndarray, n_updates: int) -> np.ndarray:
    """Compute torch's CosineAnnealingLR down to zero; its parameters are those of `one_cycle`.

    References
    ----------
    Loshchilov and Hutter, *SGDR* (2017).
    """
    return _cosine_between(1, 0, update / float(n_updates))


def falling(update: np.ndarray, n_updates: int) -> np.ndarray:
    """Compute the falling part of `one_cycle` alone, over `n_updates`; its parameters are those of `one_cycle`."""
    return _cosine_between(1, 1 / END_DIVISOR, update / n_updates)


def plateau_wait(n_updates: int) -> int:
    """Return the epochs that a plateau may last before the rate falls.

    Parameters
    ----------
    n_updates : int
        Of an epoch: the more it has, the fewer epochs are needed to tell a plateau.
    """
    n_epochs = min(PLATEAU_MAX_WAIT, math.ceil(PLATEAU_UPDATES / n_updates) - 1)
    return max(n_epochs, math.ceil(PLATEAU_MIN_UPDATES / n_updates) - 1)


SCHEDULES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"one_cycle": one_cycle, "cosine": cosine}
