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
    """Choose whole groups, in random order, as long as each brings the share nearer; else the smallest.

    A group with a class's last training rows stays, and so does the last group.
    """
    names, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(sizes)[:-1])
    codes = np.zeros(len(groups), dtype=int) if codes is None else codes
    n_left = np.bincount(codes)
    order = rng.permutation(len(names))
    held_out = np.zeros(len(groups), dtype=bool)

    def leaves(number):
        """Take a group out, if that leaves each of its classes some rows."""
        present, taken = np.unique(codes[members[number]], return_counts=True)
        if np.any(taken == n_left[present]):
            return False
        n_left[present] -= taken
        held_out[members[number]] = True
        return True

    lack = n_held_out
    for number in order:
        if lack > 0 and sizes[number] <= 2 * lack and leaves(number):
            lack -= sizes[number]
    if not held_out.any():
        any(leaves(number) for number in order[np.argsort(sizes[order], kind="stable")])
    return held_out


def _warn_of_lone_rows(codes, labels, owner):
    present, counts = np.unique(codes, return_counts=True)
    lone = present[counts == 1]
    if len(lone):
        names = (labels[lone] if labels is not None else lone).tolist()
        warnings.warn(
            f"{owner}: the classes {names[:10]} have one row each, which trains; the validation rows "
            "hold none of them.",
            UserWarning,
            stacklevel=2,
        )
