"""Checks whether a run fits into memory: a process that takes more than there is, is killed without a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklcnn.network.memory import count_head_weights, count_weights, free_memory, sample_bytes
from sklcnn.network.plan import NetworkSpec
from sklcnn.training.run import TrainingSpec

GB = 1e9
# Numbers that an optimiser keeps for each weight; for other optimisers none are counted.
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1, "rmsprop": 1}
WEIGHT_BYTES = {"float64": 8}
VALUE_BYTES = {"float64": 8, "bfloat16": 2}
SINGLE = 4
# What batches took in all as against what was counted: 1.1 to 1.3 times for signals, images and volumes, plain and
# residual blocks and inception modules, with batch norm and without. It is the library's own work space.
WORK_SPACE = 1.3


@dataclass(frozen=True)
class Need:
    """Memory that a fit takes, as far as it is known beforehand: a lower bound.

    Attributes
    ----------
    weights : dict of str to int
        How many each layer has.
    n_copies : int
        Of the weights: gradients, the optimiser's state and copies to restore count.
    network : int
        Bytes of all copies.
    n_batch : int
        Rows of a batch.
    batch : int
        Bytes.
    """

    weights: dict[str, int]
    n_copies: int
    network: int
    n_batch: int
    batch: int


def need_of(weights: dict[str, int], row_bytes: int, spec: TrainingSpec, n_rows: int) -> Need:
    """Count the memory to train `weights`, on rows that take `row_bytes` each in a batch."""
    moments = MOMENTS.get(spec.optimizer, 0) if isinstance(spec.optimizer, str) else 0
    # The weights, their gradients and moments; a copy of the last epoch with its moments, and one of the best where
    # that is kept.
    n_copies = 2 + moments + (1 + moments) * (1 if spec.patience is None else 2)
    network = sum(weights.values()) * WEIGHT_BYTES.get(spec.precision, SINGLE) * n_copies
    n_batch = min(spec.batch_size, n_rows)
    return Need(weights, n_copies, network, n_batch, n_batch * row_bytes)


def need_of_network(
    network: NetworkSpec, spec: TrainingSpec, sample_shape: tuple[int, ...], n_outputs: int, n_rows: int
) -> Need:
    """Count what it takes to train a network of convolution blocks.

    Parameters
    ----------
    network : NetworkSpec
    spec : TrainingSpec
    sample_shape : tuple of int
        Channels first.
    n_outputs : int
    n_rows : int
        That train.
    """
    row_bytes = sample_bytes(network, sample_shape, VALUE_BYTES.get(spec.precision, SINGLE))
    return need_of(count_weights(network, sample_shape, n_outputs), row_bytes, spec, n_rows)


def need_on_backbone(network: NetworkSpec, spec: TrainingSpec, backbone: Any, n_outputs: int, n_rows: int) -> Need:
    """Count what it takes to train a network on a backbone, as far as that is known: the weights that train."""
    weights = count_head_weights(network, backbone.n_features, n_outputs)
    if spec.freeze_epochs < spec.max_epochs:
        weights["backbone"] = sum(parameter.numel() for parameter in backbone.parameters())
    return need_of(weights, 0, spec, n_rows)


def check_fits(need: Need, spec: TrainingSpec) -> None:
    """Compare what a fit takes with what is free.

    Raises
    ------
    MemoryError
        If it takes more; the message says what would take less.
    """
    free = free_memory() if spec.device == "cpu" else None
    batch = need.batch * WORK_SPACE
    if free is None or need.network + batch <= free:
        return
    largest = max(need.weights, key=lambda name: need.weights[name])
    raise MemoryError(
        f"{spec.estimator_name}: the network and its batches take more memory than there is ({free / GB:,.1f} GB "
        "are free): "
        f"{need.network / GB:,.1f} GB for {need.n_copies} copies of {sum(need.weights.values()):,} weights, most of "
        f"them in {largest} (gradients, the optimizer's state and what a fit goes back to are copies), and "
        f"{batch / GB:,.1f} GB for a batch of {need.n_batch} row{'s' * (need.n_batch != 1)}. Lower batch_size, "
        "filters, kernel_size, dense_units or image_size, raise stride or pool_size, or set global_pooling."
    )
