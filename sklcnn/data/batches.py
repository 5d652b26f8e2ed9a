"""Rows in batches: which rows meet in a step, and their inputs, targets and weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from sklcnn.data.stores import DeviceStore, Store

# Accuracy on digits with batch norm, batches of 64, means of three seeds, where such a rest joined and did not:
# of 66 rows 0.910 and 0.842, 67 0.919 and 0.908, 68 0.921 and 0.909, 70 0.925 and 0.911, 74 0.923 and 0.921;
# of 194 rows 0.963 and 0.928, 195 0.962 and 0.957, 196 0.962 and 0.956, 198 0.964 and 0.955, 202 0.963 and 0.965.
FEW_ROWS = 8


class Batch(NamedTuple):
    """One step's data.

    Attributes
    ----------
    inputs : tensor of shape (n, c, *spatial)
    targets : tensor of shape (n,) or (n, k)
    weights : tensor of shape (n,) or None
        None where every weight is 1.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Move the batch to a device; to a GPU from pinned memory, so that the copy overlaps a training step."""
        weights = None if self.weights is None else _move(self.weights, device)
        return Batch(_move(self.inputs, device), _move(self.targets, device), weights)


def _move(tensor, device):
    if tensor.device.type == "cpu" and device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True)
class Rows:
    """Some rows of a store, with their targets and weights.

    Attributes
    ----------
    store : Store
    rows : int64 tensor of shape (n,)
        The rows of the store.
    targets : tensor of shape (n,) or (n, k)
        One entry for each of `rows`.
    weights : tensor of shape (n,) or None
        What the loss of each is multiplied by: sample weight times class weight.
    score_weights : tensor of shape (n,) or None
        The sample weights alone, for scores.
    """

    store: Store
    rows: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None
    score_weights: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one sample (c, *spatial) and its target, as callbacks expect of a data set."""
        n = len(self)
        if not -n <= position < n:
            raise IndexError(f"there are {n} rows, and no row {position}")
        dtype = torch.float64 if self.targets.dtype == torch.float64 else torch.float32
        start = position % n
        return self.store.batch(self.rows[start : start + 1], dtype)[0], self.targets[start]

    def at(self, positions: np.ndarray | slice) -> Rows:
        """Return the rows at some positions."""
        chosen = positions if isinstance(positions, slice) else torch.from_numpy(positions)
        weights, score_weights = (
            None if tensor is None else tensor[chosen] for tensor in (self.weights, self.score_weights)
        )
        return Rows(self.store, self.rows[chosen], self.targets[chosen], weights, score_weights)

    def on_device(self, device: torch.device, free_bytes: int) -> Rows:
        """Return these rows kept on a device, whole, so that no batch has to be copied; unchanged if they do not fit.

        Parameters
        ----------
        device : torch.device
        free_bytes : int
            How many bytes the samples may take there.
        """
        samples = self.store.samples()
        if samples is None or samples.nbytes > free_bytes:
            return self
        return replace(
            self,
            store=DeviceStore(samples.to(device), self.store),
            rows=self.rows.to(device),
            targets=self.targets.to(device),
            weights=None if self.weights is None else self.weights.to(device),
        )

    def batches(
        self, order: torch.Tensor, sizes: list[int], dtype: torch.dtype, device: torch.device
    ) -> Iterator[Batch]:
        """Yield batches on a device.

        Parameters
        ----------
        order : int64 tensor of shape (n,)
            Positions in `rows`, in the order in which they come.
        sizes : list of int
            How many of them each batch takes.
        dtype : torch.dtype
        device : torch.device
        """
        order = order.to(self.rows.device)
        # Put in order once an epoch; the batches are views of the result.
        targets = self.targets[order].split(sizes)
        weights = itertools.repeat(None) if self.weights is None else self.weights[order].split(sizes)
        inputs = self.store.batches(self.rows[order].split(sizes), dtype)
        for batch in map(Batch, inputs, targets, weights):
            yield batch if device.type == "cpu" else batch.to(device)


def few_rows(batch_size: int) -> int:
    """Return how many rows are too few to be a batch of their own where a batch is normalised by its own statistics."""
    return max(1, min(FEW_ROWS, batch_size // 8))


def batch_sizes(n: int, batch_size: int, join_few: bool = False) -> list[int]:
    """Divide n rows into batches.

    Parameters
    ----------
    n, batch_size : int
    join_few : bool
        Whether few rows that remain, `few_rows`, join the batch before them. Batch normalisation needs two rows for a
        variance, and two rows are normalised to 1 and -1 whatever they are: such a step is as large as another.

    Returns
    -------
    sizes : list of int
    """
    full, rest = divmod(n, batch_size)
    sizes = [batch_size] * full
    if join_few and batch_size > 1 and full and rest <= few_rows(batch_size):
        sizes[-1] += rest
    elif rest:
        sizes.append(rest)
    return sizes
