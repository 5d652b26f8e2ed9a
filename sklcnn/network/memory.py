"""How many weights and values a network has, before it is built, and how much memory is free."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

from sklcnn.control_groups import control_groups, read_lines
from sklcnn.network.plan import BlockPlan, NetworkSpec, plan_blocks
from sklcnn.signals import raise_if_signalled

INDEX_BYTES = 8
KEEPING_OUTPUTS = ("relu", "tanh", "sigmoid")  # activations whose gradient is computed from what they return
UNLIMITED = 2**60  # more is a control group's way to say that there is no limit
# The files of a memory control group, by version: limit and usage; then the line of memory.stat for what can be freed.
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def count_weights(spec: NetworkSpec, sample_shape: tuple[int, ...], n_outputs: int) -> dict[str, int]:
    """Count the weights of each layer of a network that is not built yet.

    Parameters
    ----------
    spec : NetworkSpec
    sample_shape : tuple of int
        Channels first.
    n_outputs : int
    """
    plans, n_features = plan_blocks(spec, sample_shape)
    counts = {
        plan.name: plan.n_own_weights
        + sum(conv.filters * (conv.channels * math.prod(conv.kernel) + 1) for conv in plan.each_conv())
        for plan in plans
    }
    return counts | count_head_weights(spec, n_features, n_outputs)


def count_head_weights(spec: NetworkSpec, n_features: int, n_outputs: int) -> dict[str, int]:
    """Count the weights of each dense layer on so many features."""
    widths = [n_features, *spec.dense_units, n_outputs]
    names = [*(f"dense{number}" for number in range(1, len(widths) - 1)), "output"]
    return {name: (n_in + 1) * n_out for name, (n_in, n_out) in zip(names, itertools.pairwise(widths), strict=True)}


def count_operations(spec: NetworkSpec, plans: list[BlockPlan], n_features: int, n_outputs: int) -> int:
    """Count the multiply-adds of one sample's way through a network; those of a factory's modules are a guess.

    Parameters
    ----------
    spec : NetworkSpec
    plans : list of BlockPlan
    n_features : int
        What the blocks leave.
    n_outputs : int
    """
    of_blocks = sum(
        plan.n_own_weights * math.prod(plan.convolved)
        + sum(conv.filters * conv.channels * math.prod((*conv.kernel, *conv.convolved)) for conv in plan.each_conv())
        for plan in plans
    )
    return of_blocks + sum(count_head_weights(spec, n_features, n_outputs).values())


def sample_bytes(spec: NetworkSpec, sample_shape: tuple[int, ...], value_bytes: int) -> int:
    """Return the largest number of bytes that one sample has in memory at one time while a network trains.

    What layers keep for the gradients: a convolution its inputs, normalisation and some activations theirs too, maximum
    pooling the places of the maxima. Each layer's gradient is computed from the next one's, and a sum or a joint needs
    its parts beside it. The library's own work space is not counted.

    Parameters
    ----------
    spec : NetworkSpec
    sample_shape : tuple of int
        Channels first.
    value_bytes : int
        Of a number.
    """
    plans, _ = plan_blocks(spec, sample_shape)
    kept = most = 2 * math.prod(sample_shape) * value_bytes  # as it comes, and standardised
    copies = 1 + spec.batch_norm + (spec.activation not in KEEPING_OUTPUTS)
    maximum_bytes = value_bytes + INDEX_BYTES
    before = 0
    for plan in plans:
        values = [conv.filters * math.prod(conv.convolved) for conv in plan.each_conv()]
        convolved, pooled = (plan.filters * math.prod(size) for size in (plan.convolved, plan.pooled))
        kept += sum(conv.channels * math.prod(conv.size) * maximum_bytes for conv in plan.behind_maxima())
        for n_values in values or [convolved]:
            kept += n_values * value_bytes * copies
            most = max(most, kept + (n_values + before) * value_bytes)
            before = n_values
        if spec.block != "plain":  # the parts of a sum, normalised too
            most = max(most, kept + (5 if spec.batch_norm else 3) * convolved * value_bytes)
        if plan.window is not None:
            kept += pooled * (maximum_bytes if spec.pooling == "max" else value_bytes)
            most = max(most, kept + (convolved + pooled) * value_bytes)
            before = pooled
    return most


def widest_block(spec: NetworkSpec, plans: list[BlockPlan], sample_shape: tuple[int, ...]) -> int | None:
    """Return the largest number of values of one sample in a block at one time; None for plain blocks.

    The outputs of parallel paths are in memory together; those of layers in a row are counted by `widest_layer`.
    """
    if spec.block == "plain":
        return None
    most = 2 * math.prod(sample_shape)
    for plan in plans:
        before, after = plan.channels * math.prod(plan.size), plan.filters * math.prod(plan.convolved)
        most = max(most, before + 2 * after, 4 * after)
    return most


def free_memory(root: Path = Path("/")) -> int | None:
    """Find how many bytes this process may still take; None where the system does not tell.

    What the machine has left, swap included, and what the limits of the process's control groups, such as a
    container's, leave of it. Files that the system keeps in memory count as free.

    Parameters
    ----------
    root : Path
        Where the system's files are.
    """
    limits = [*_left_of_machine(root), *_left_of_groups(root)]
    if not limits and root == Path("/"):
        limits += _physical_memory()
    return min(limits, default=None)


def _left_of_machine(root: Path) -> list[int]:
    """Read what the machine has left, in a list of one number or none."""
    told = {
        name: value.split() for name, _, value in (line.partition(":") for line in read_lines(root / "proc/meminfo"))
    }
    if "MemAvailable" not in told:
        return []
    return [sum(int(told[name][0]) * 1024 for name in ("MemAvailable", "SwapFree") if name in told)]


def _physical_memory():
    """Read the size of the memory where nothing is told of what is free, as on a Mac."""
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError) as error:
        raise_if_signalled(error)
        return []


def _left_of_groups(root: Path) -> Iterator[int]:
    """Read what each memory control group of this process, and those around it, leave."""
    for version, folder in control_groups("memory", root):
        yield from _left_of_group(folder, *(V1 if version == 1 else V2))


def _left_of_group(folder, limit_name, usage_name, reclaimable_name):
    """Read what one control group leaves, if it has a limit."""
    limit, usage = ("".join(read_lines(folder / name)).strip() for name in (limit_name, usage_name))
    if not (limit.isdecimal() and usage.isdecimal()) or int(limit) > UNLIMITED:
        return
    stat = dict(line.split()[:2] for line in read_lines(folder / "memory.stat") if len(line.split()) == 2)
    yield max(0, int(limit) - int(usage) + int(stat.get(reclaimable_name, 0)))
