"""Rows in batches: which rows meet in a step, and their inputs, targets and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from sklcnn.data.inputs import Store


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
        """Copy to a device; from pinned memory to a GPU, so that the copy overlaps the step before it."""
        pinned = (t.pin_memory() if device.type == "cuda" and t is not None else t for t in self)
        return Batch(*(None if t is None else t.to(device, non_blocking=True) for t in pinned))


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

    def batches(self, places: list[torch.Tensor], dtype: torch.dtype, device: torch.device) -> Iterator[Batch]:
        """Give one batch, on a device, for each group of places in `rows`."""
        inputs = self.store.batches((self.rows[group] for group in places), dtype)
        for group, images in zip(places, inputs, strict=True):
            weights = None if self.weights is None else self.weights[group]
            batch = Batch(images, self.targets[group], weights)
            yield batch if device.type == "cpu" else batch.to(device)


def batch_places(
    n: int, batch_size: int, *, generator: torch.Generator | None = None, join_last: bool = False
) -> list[torch.Tensor]:
    """Divide n places into batches.

    Parameters
    ----------
    n, batch_size : int
    generator : torch.Generator or None
        Shuffles; None keeps the order.
    join_last : bool
        Whether a last batch of one row joins the batch before it: batch normalisation has no variance to go by in it.
    """
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
    places = list(order.split(batch_size))
    if join_last and batch_size > 1 and len(places) > 1 and len(places[-1]) == 1:
        places[-2:] = [torch.cat(places[-2:])]
    return places


def count_batches(n: int, batch_size: int, join_last: bool = False) -> int:
    """Count the batches of an epoch."""
    full, rest = divmod(n, batch_size)
    joined = join_last and batch_size > 1 and full > 0 and rest == 1
    return full + (rest > 0) - joined
