"""The hold-out: which rows train and which validate."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy import sparse

PARTS_AT_ONCE = 1024  # whose change of the error is computed together
# The hold-out is drawn again until so many groups were drawn in all, or so many times; then the best drawing is taken.
# With many groups any drawing is nearly right.
PARTS_DRAWN, MAX_DRAWINGS = 20_000, 10
MOST_GROUPS = 2  # times their share of all groups may be held out


def split_rows(
    rows: np.ndarray,
    *,
    fraction: float,
    codes: np.ndarray | None,
    groups: Any = None,
    labels: np.ndarray | None = None,
    seed: int,
    estimator_name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of the rows for validation.

    Parameters
    ----------
    rows : ndarray of int of shape (n,)
        The rows to divide.
    fraction : float
        Share to hold out; at least one row is.
    codes : ndarray of shape (n,) or (n, k), or None
        The class of each row as an int, or the indicators of k labels: the hold-out is stratified, and a class's last
        row always trains, as does the last row with a label and the last without.
    groups : array-like of shape (n,) or None
        Rows of one group stay together. At most twice the share of the groups is held out.
    labels : ndarray or None
        The names of classes or labels, for the warning.
    seed : int
    estimator_name : str

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
            f"{estimator_name}: early_stopping holds out rows to validate on, which 1 sample does not allow. Pass "
            "more rows, X_val and y_val, or early_stopping=False."
        )
    n_held_out = max(1, math.ceil(fraction * n - 1e-9))
    if codes is None and groups is None:
        held_out = np.zeros(n, dtype=bool)
        held_out[rng.permutation(n)[: min(n_held_out, n - 1)]] = True
    elif codes is not None and codes.ndim == 1 and groups is None:
        held_out = _hold_out_stratified(codes, n_held_out, rng)
        n_parts = np.bincount(codes)
    else:
        held_out, n_parts = _hold_out_parts(_memberships(codes, n), groups, n_held_out, rng)
    if not held_out.any():
        remedy = "more groups" if groups is not None else "more rows"
        raise ValueError(
            f"{estimator_name}: early_stopping needs rows to validate on, but none of the {n} can be held out without "
            f"leaving a class without training rows. Pass {remedy}, X_val and y_val, or early_stopping=False."
        )
    if codes is not None:
        lone = np.flatnonzero(n_parts[: None if codes.ndim == 1 else codes.shape[1]] == 1)
        who = "classes" if codes.ndim == 1 else "labels"
        where = "have one row each" if groups is None else "are in one group each"
        _warn_of_lone(lone if labels is None else labels[lone], who, where, estimator_name)
    return rows[~held_out], rows[held_out]


def _hold_out_stratified(codes, n_held_out, rng):
    """Choose rows so that each class gives its share, rounded, and keeps at least one.

    The rows that rounding down leaves are given to classes of which nothing would be held out, then to those that
    lack most.
    """
    counts = np.bincount(codes)
    counts = counts[counts > 0]
    exact = counts * (n_held_out / len(codes))
    quota = np.minimum(np.floor(exact).astype(int), counts - 1)
    tie_breaker = rng.permutation(len(counts))
    while quota.sum() < n_held_out and np.any(quota < counts - 1):
        can_give = quota < counts - 1
        given = (quota > 0) | (counts == 1)
        order = np.lexsort((tie_breaker, quota - exact, given))
        quota[order[can_give[order]][: n_held_out - quota.sum()]] += 1  # one each, before any gives a second
    held_out = np.zeros(len(codes), dtype=bool)
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    for rows, n_rows in zip(members, quota, strict=True):
        held_out[rng.permutation(rows)[:n_rows]] = True
    return held_out


def _memberships(codes, n):
    """Return the classes of each row as a sparse matrix of ones (n, k + 1); the last column is 1 in every row.

    Of indicators, each label is two classes: the rows with it, columns 0..k-1, and those without it, columns k..2k-1.
    """
    everything = sparse.csr_array(np.ones((n, 1), dtype=np.int32))
    if codes is None:
        return everything
    if codes.ndim == 1:
        classes = [sparse.csr_array((np.ones(n, dtype=np.int32), codes, np.arange(n + 1)))]
    else:
        classes = [sparse.csr_array(present.astype(np.int32)) for present in (codes > 0.5, codes < 0.5)]
    return sparse.csr_array(sparse.hstack([*classes, everything]))


def _hold_out_parts(memberships, groups, n_held_out, rng):
    """Choose whole groups, or rows of several classes each, so that each class gives about its share.

    Parts are taken class by class, from the rarest on, and then from all: in random order, each part that brings the
    shares of the classes nearer to what they should be. That is, one that lowers the sum of their squared differences,
    as fractions of each class, as in scikit-learn's StratifiedGroupKFold. A part with a class's last training rows
    stays. Groups are drawn several times, and the best drawing is taken.

    Returns
    -------
    held_out : ndarray of bool of shape (n,)
    n_parts : ndarray of int of shape (n_classes,)
        In how many groups (or rows) there is some of each class.
    """
    n, n_classes = memberships.shape
    part_of, counts, n_drawings = np.arange(n), memberships, 1
    if groups is not None:
        part_of = np.unique(groups, return_inverse=True)[1]
        counts = sparse.csr_array((np.ones(n, dtype=np.int32), (part_of, np.arange(n)))) @ memberships
        if n_classes > 1:
            n_drawings = min(max(PARTS_DRAWN // counts.shape[0], 1), MAX_DRAWINGS)
    drawings = [_draw_parts(counts, n_held_out, rng, exact=groups is None) for _ in range(n_drawings)]
    best = min(drawings, key=lambda parts: np.sum((parts.lack / parts.totals) ** 2))
    return best.taken[part_of], np.diff(counts.tocsc().indptr)


def _draw_parts(counts, n_held_out, rng, exact):
    """Hold parts out in random order."""
    parts, order = _Parts(counts, n_held_out, exact), rng.permutation(counts.shape[0])
    parts.take_of_each_class(order, rng)
    parts.take_what_improves(order)
    if exact:
        parts.fill(order)
    if not parts.taken.any():
        parts.take_one(order[np.argsort(parts.sizes[order], kind="stable")])
    return parts


class _Parts:
    """The parts that may be held out, groups or rows, and which of them are.

    Parameters
    ----------
    counts : csr_array of shape (n_parts, n_classes)
        Rows of each class in each part; the last column counts all rows.
    n_held_out : int
        Rows to hold out.
    exact : bool
        Whether so many are held out, however many parts that takes. Else these are at most twice their share: where
        most rows are in one group, all others would make up for what it cannot give, and none of them would train.
    """

    def __init__(self, counts, n_held_out, exact):
        self.counts, self.sizes = counts, counts[:, [-1]].toarray().ravel()
        totals = np.asarray(counts.sum(axis=0)).ravel()
        self.totals, self.left = np.maximum(totals, 1), totals.copy()
        self.lack = totals * n_held_out / totals[-1]  # what is still to be held out of each class
        self.taken = np.zeros(counts.shape[0], dtype=bool)
        share = n_held_out / totals[-1]
        self.n_left = len(self.taken) if exact else max(1, math.ceil(MOST_GROUPS * share * len(self.taken) - 1e-9))

    def take_one(self, parts):
        """Hold out the first of some parts that can be."""
        for part in parts:
            if self.take(part):
                return

    def _of(self, part):
        """Return the classes of a part and their numbers of rows."""
        start, stop = self.counts.indptr[part : part + 2]
        return self.counts.indices[start:stop], self.counts.data[start:stop]

    def take(self, part):
        """Hold a part out, if that leaves each of its classes some rows; tell whether it did."""
        classes, numbers = self._of(part)
        if self.n_left == 0 or self.taken[part] or np.any(numbers == self.left[classes]):
            return False
        self.n_left -= 1
        self.left[classes] -= numbers
        self.lack[classes] -= numbers
        self.taken[part] = True
        return True

    def _error_growth(self, classes, numbers):
        """Return by how much each class's squared error grows, or falls, if these rows of it are held out."""
        return numbers * (numbers - 2 * self.lack[classes]) / self.totals[classes] ** 2.0

    def error_growth_of_each(self, parts):
        """Return by how much the error grows if a part is held out, for each of some parts.

        It is never less for a part once more is held out, so that parts that would raise it need no second look.
        """
        some = self.counts[parts]
        return np.add.reduceat(self._error_growth(some.indices, some.data), some.indptr[:-1])

    def take_of_each_class(self, order, rng):
        """Hold out the share of each class, the rarest class first.

        Of classes in so few parts that less than one of them is expected in the hold-out, only as many are taken as
        chance would hold out.
        """
        columns, place = self.counts.tocsc(), np.argsort(order)
        n_parts = np.diff(columns.indptr)[:-1]
        expected = n_parts * self.lack[-1] / self.totals[-1]
        rare = rng.permutation(np.flatnonzero((n_parts > 1) & (expected < 1)))
        rare = rare[np.argsort(-expected[rare], kind="stable")][: math.ceil(expected[rare].sum() - 1e-9)]
        for number in np.argsort(expected, kind="stable"):
            parts = columns.indices[columns.indptr[number] : columns.indptr[number + 1]]
            in_order = parts[np.argsort(place[parts])]
            if (expected[number] >= 1 or number in rare) and not self.taken[parts].any():
                self.take_one(in_order[self.sizes[in_order] <= 2 * self.lack[-1]])
            self.take_what_improves(in_order, number)

    def take_what_improves(self, order, number=-1):
        """Hold out parts that bring the shares nearer, until enough rows are held out, in all and of one class."""
        for some in np.array_split(order, math.ceil(len(order) / PARTS_AT_ONCE) or 1):
            if len(some) == 0 or self.n_left == 0 or min(self.lack[number], self.lack[-1]) <= 0:
                return
            for part in some[self.error_growth_of_each(some) <= 0]:
                if min(self.lack[number], self.lack[-1]) > 0 and self._error_growth(*self._of(part)).sum() <= 0:
                    self.take(part)

    def fill(self, order):
        """Hold out any rows, until enough are held out."""
        for row in order:
            if self.lack[-1] <= 0:
                break
            self.take(row)


def _warn_of_lone(names, who, where, estimator_name):
    if len(names):
        warnings.warn(
            f"{estimator_name}: the {who} {names.tolist()[:10]} {where}, which trains; the validation rows hold "
            "none of them.",
            UserWarning,
            stacklevel=2,
        )
