"""Forward passes without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from sklcnn.data.batches import Rows
from sklcnn.data.stores import Store
from sklcnn.network.allocation import freed_memory_kept
from sklcnn.network.backbones import backbone_batch_size
from sklcnn.network.blocks import ConvBlock
from sklcnn.network.cnn import widest_layer
from sklcnn.network.network import Network
from sklcnn.network.own_outputs import raised_in
from sklcnn.network.standardize import Standardize
from sklcnn.threads import SMALL_ROW, threads_for

EVALUATION_BATCH = 1024  # rows a forward pass without gradients, at most
# Values before and after a layer in such a pass. Measured for signals, images and volumes, 8 to 256 filters: throughput
# is best at 2 to 6 million and falls by half at 10, where memory comes from the system each time, not from a pool.
EVALUATION_VALUES = 2**22


def autocast(precision: str, device: torch.device) -> Any:
    """Return the context that a forward pass runs in."""
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def has_backbone(module: nn.Module) -> bool:
    """Tell whether a module is a network with a backbone."""
    return isinstance(module, Network) and module.has_backbone


def has_own_code(module: nn.Module) -> bool:
    """Tell whether a module is, or holds, one of the user's."""
    return not isinstance(module, Network) or module.has_own_code


def only_reads(module: nn.Module) -> bool:
    """Tell whether a module is known not to write into its inputs."""
    return isinstance(module, Network) and isinstance(module.first, (Standardize, ConvBlock, nn.Linear))


def evaluation_batch_size(network: nn.Module, sample_shape: Sequence[int]) -> int:
    """Choose how many rows go through a network at once without gradients."""
    if has_backbone(network):
        return backbone_batch_size(sample_shape)
    widest = network.widest if isinstance(network, Network) else None
    return max(1, min(EVALUATION_BATCH, EVALUATION_VALUES // (widest or widest_layer(network, sample_shape))))


def forward_store(
    module: nn.Module,
    store: Store,
    dtype: torch.dtype,
    precision: str,
    device: torch.device,
    rows: torch.Tensor | None = None,
    tell: Callable | None = None,
) -> torch.Tensor:
    """Run a network over a store, or some rows of it, in order and without gradients.

    Modules of the user's may switch gradients on for themselves, as for forces that are derivatives of an energy: that
    is possible without inference mode alone.

    Parameters
    ----------
    module : nn.Module
    store : Store
    dtype : torch.dtype
        Of inputs and outputs.
    precision : str
    device : torch.device
    rows : int64 tensor of shape (n,) or None
        None: all.
    tell : callable of (inputs, outputs, first) or None
        Called for each batch, with the position of its first row.

    Returns
    -------
    outputs : tensor of shape (n, k)
    """
    with torch.no_grad() if has_own_code(module) else torch.inference_mode():
        return _forward_store(module, store, dtype, precision, device, rows, tell)


def _without_gradients(module, inputs):
    """Run a module that may have switched gradients on for good, in an earlier batch or this one."""
    with torch.no_grad():
        return module(inputs).detach()


def _forward_store(module, store, dtype, precision, device, rows, tell):
    if module.training:
        module.eval()
    n_rows = len(store) if rows is None else len(rows)
    operations, reads = getattr(module, "operations", None), only_reads(module)
    call = partial(_without_gradients, module) if has_own_code(module) else module

    def run(inputs):
        # A copy, unless the first layer only reads: inputs may be X itself, and a module may write into them.
        if not reads or inputs.device != device:
            inputs = inputs.to(device, copy=not reads)
        try:
            with autocast(precision, device):
                outputs = call(inputs)
        except Exception as error:
            error.add_note(f"The network raised this{raised_in(error)}, on a batch {tuple(inputs.shape)}.")
            raise
        return outputs if outputs.dtype == dtype else outputs.to(dtype)

    if n_rows == 1:  # for one row, the code below would take a third of the network's time
        inputs = store.batch(slice(0, 1) if rows is None else rows, dtype)
        with threads_for(operations) if operations is not None and operations < SMALL_ROW else nullcontext():
            output = run(inputs)
        if tell is not None:
            tell(inputs, output, 0)
        return output
    size = evaluation_batch_size(module, store.sample_shape)
    groups: Iterable[torch.Tensor | slice]
    if rows is None:
        groups = [slice(start, start + size) for start in range(0, len(store), size)]
    else:
        groups = rows.split(size)
    n_done, outputs = 0, torch.empty(0)
    threads = threads_for(None if operations is None else operations * min(size, n_rows))
    # Without a backbone, batches are small enough for the allocator to reuse memory by itself.
    with threads, freed_memory_kept() if has_backbone(module) else nullcontext():
        for inputs in store.batches(groups, dtype):
            output = run(inputs)
            if tell is not None:
                tell(inputs, output, n_done)
            if len(output) == n_rows:
                return output
            if n_done == 0:
                # One tensor for all: many small ones that stay would fragment the memory that the next batch could use.
                outputs = output.new_empty(n_rows, *output.shape[1:])
            outputs[n_done : n_done + len(output)] = output
            n_done += len(output)
    if n_done != n_rows:  # what is missing would be whatever the memory held
        raise ValueError(f"The network returned {n_done} rows of outputs for {n_rows} rows. Give one for each.")
    return outputs


def weighted_loss(criterion: nn.Module, outputs: torch.Tensor, rows: Rows, device: torch.device) -> float:
    """Average the losses of rows by their weights: ``sum(w * loss) / sum(w)``.

    Parameters
    ----------
    criterion : RowLoss
    outputs : tensor of shape (n, k)
    rows : Rows
        The n rows.
    device : torch.device
    """
    with torch.inference_mode():
        losses = criterion(outputs, rows.targets.to(device)).cpu()
    weights = None if rows.weights is None else rows.weights.cpu().numpy()
    with np.errstate(all="ignore"):  # of losses that are infinite
        return float(np.average(losses.numpy(), weights=weights))
