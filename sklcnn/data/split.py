"""The hold-out: which rows train and which validate."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np


def split_rows(
    rows: np.ndarray,
    *,
    fraction: float,
    codes: np.ndarray | None,
    groups: Any = None,
    labels: np.ndarray | None = None,
    seed: int,
    owner: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the rows for validation.

    Parameters
    ----------
    rows : ndarray of int of shape (n,)
        The rows to divide.
    fraction : float
        Share to hold out; at least one row is.
    codes : ndarray of int of shape (n,) or None
        The class of each row: the hold-out is stratified, and a class's last row always trains.
    groups : array-like of shape (n,) or None
        Rows of one group stay together.
    labels : ndarray or None
        The classes' names, for the warning.
    seed : int
    owner : str

    Returns
    -------
    train, valid : ndarrays of int, sorted
        Parts of `rows`.

    Raises
    ------
    ValueError
        If nothing can be held out.
    """
    rng = np.random.RandomState(seed)
    n = len(rows)
    if n == 1:
        raise ValueError(
            f"{owner}: early_stopping holds out rows to validate on, which 1 sample does not allow. Pass more rows, "
            "X_val and y_val, or early_stopping=False."
        )
    n_held_out = max(1, math.ceil(fraction * n - 1e-9))
    if groups is not None:
        held_out = _hold_out_groups(np.asarray(groups), codes, n_held_out, rng)
    elif codes is not None:
        held_out = _hold_out_stratified(codes, n_held_out, rng)
    else:
        held_out = np.zeros(n, dtype=bool)
        held_out[rng.permutation(n)[: min(n_held_out, n - 1)]] = True
    if not held_out.any():
        remedy = "more groups" if groups is not None else "more rows"
        raise ValueError(
            f"{owner}: early_stopping needs rows to validate on, but none of the {n} can be held out without leaving "
            f"a class without training rows. Pass {remedy}, X_val and y_val, or early_stopping=False."
        )
    if codes is not None and groups is None:
        _warn_of_lone_rows(codes, labels, owner)
    return rows[~held_out], rows[held_out]


def _hold_out_stratified(codes, n_held_out, rng):
    """Choose rows so that each class gives its share, and keeps at least one."""
    present, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    exact = counts * (n_held_out / len(codes))
    quota = np.minimum(np.floor(exact).astype(int), counts - 1)
    tie_breaker = rng.permutation(len(present))
    while quota.sum() < n_held_out and np.any(quota < counts - 1):
        lack = np.where(quota < counts - 1, exact - quota, -np.inf)
        quota[np.lexsort((tie_breaker, -lack))[0]] += 1
    held_out = np.zeros(len(codes), dtype=bool)
    for number, n_rows in enumerate(quota):
        members = np.flatnonzero(inverse == number)
        held_out[rng.permutation(members)[:n_rows]] = True
    return held_out


def _hold_out_groups(groups, codes, n_held_out, rng):
    """Choose whole groups, in random order, until the share is reached; a group with a class's last rows stays."""
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    held_out = np.zeros(len(groups), dtype=bool)
    n_left = None if codes is None else np.bincount(codes)
    n_groups_left = len(names)
    for number in rng.permutation(len(names)):
        if held_out.sum() >= n_held_out or n_groups_left == 1:
            break
        overshoot = held_out.sum() + sizes[number] - n_held_out
        if held_out.any() and overshoot > n_held_out - held_out.sum():
            continue  # a group that would overshoot by more than it brings nearer
        members = inverse == number
        if n_left is not None:
            taken = np.bincount(codes[members], minlength=len(n_left))
            if np.any((taken > 0) & (taken == n_left)):
                continue
            n_left = n_left - taken
        held_out |= members
        n_groups_left -= 1
    return held_out


def _warn_of_lone_rows(codes, labels, owner):
    present, counts = np.unique(codes, return_counts=True)
    lone = present[counts == 1]
    if len(lone):
        names = (labels[lone] if labels is not None else lone).tolist()
        warnings.warn(
            f"{owner}: the classes {names[:10]} have one row each, which trains; the validation rows hold none of them.",
            UserWarning,
            stacklevel=2,
        )
