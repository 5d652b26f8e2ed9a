"""Sizes as users give them: one number for all, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklcnn.wording import shown


def is_sequence(value: Any) -> bool:
    """Whether a value is a list, a tuple or a one-dimensional array: what a grid search passes for a tuple."""
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )


def per_block(value: Any, n_blocks: int, n_axes: int, name: str, estimator_name: str) -> list[tuple[int, ...]]:
    """Spread a size over blocks and axes.

    Parameters
    ----------
    value : int or sequence
        An int for all; or one entry per block, each an int or one number per axis; or a flat sequence of equal
        numbers, which stands for that number.
    n_blocks, n_axes : int
    name, estimator_name : str
        For the message.

    Returns
    -------
    sizes : list of tuple of int
        One tuple of `n_axes` numbers per block.
    """
    if is_sequence(value):
        entries = list(value)
        if len(entries) != n_blocks and entries and all(not is_sequence(e) and e == entries[0] for e in entries):
            entries = [entries[0]] * n_blocks
    else:
        entries = [value] * n_blocks
    if len(entries) != n_blocks:
        raise ValueError(
            f"{estimator_name}: {name}={shown(value)} has {len(entries)} entries for {n_blocks} convolution block"
            f"{'s' * (n_blocks != 1)}. Pass one number, or one entry a block"
            f"{f', such as ({tuple(entries)},) for one block with a number an axis' if n_blocks == 1 else ''}."
        )
    sizes = [tuple(int(s) for s in entry) if is_sequence(entry) else (int(entry),) * n_axes for entry in entries]
    for size in sizes:
        if len(size) != n_axes:
            raise ValueError(
                f"{estimator_name}: {name}={shown(value)} gives a block {len(size)} numbers, but the samples have "
                f"{n_axes} "
                f"spatial ax{'is' if n_axes == 1 else 'es'}. Pass one number an axis."
            )
    return sizes
