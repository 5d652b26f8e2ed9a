"""The hyper-parameters that a network is built from: a fit that continues with it cannot change them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sklcnn.fitting.specs import NETWORK_PARAMETERS, as_tuple, find_filters, find_image_size, find_kernel_size
from sklcnn.network.plan import find_convs_per_block
from sklcnn.parameters import CNNParameters
from sklcnn.sizes import is_sequence, per_block
from sklcnn.wording import shown

SIZES = {"kernel_size": None, "stride": None, "pool_size": None, "convs_per_block": 1}  # axes, where it is not X's
READING = ("input_shape", "spatial_dims", "data_format", "image_size")
# With a backbone there are no blocks; without one there are no weights to load.
WITH_BLOCKS = ("backbone", "filters", "dense_units", *NETWORK_PARAMETERS, "standardize", *READING)
WITH_BACKBONE = ("backbone", "backbone_weights", "dense_units", "activation", "batch_norm", "dropout", *READING)


def built_from(cnn: CNNParameters, sample_shape: tuple[int, ...]) -> dict[str, tuple[Any, Any]]:
    """Return the hyper-parameters that a network is built from.

    Parameters
    ----------
    cnn : CNNParameters
    sample_shape : tuple of int
        Channels first.

    Returns
    -------
    values : dict of str to (given, meant)
        A value as it was given, and in a form that is equal for all values that mean the same.
    """
    names: tuple[str, ...] = WITH_BLOCKS if cnn.backbone is None else WITH_BACKBONE
    if cnn.backbone is not None and not isinstance(cnn.backbone, str):
        names += ("standardize",)
    given = {name: _plain(getattr(cnn, name)) for name in names}
    meant = dict(given)
    meant["image_size"] = find_image_size(cnn.image_size, cnn.backbone)
    meant["dense_units"] = as_tuple(given["dense_units"])
    if cnn.backbone is None:
        n_axes = len(sample_shape) - 1
        meant["filters"] = find_filters(cnn, sample_shape)
        meant["kernel_size"] = find_kernel_size(cnn.kernel_size, sample_shape)
        meant["convs_per_block"] = find_convs_per_block(cnn.block, cnn.convs_per_block)
        n_blocks = len(meant["filters"])
        for name, own_axes in SIZES.items():
            entries = (meant[name], n_blocks, own_axes or n_axes, name, type(cnn).__name__)
            meant[name] = per_block(*entries) if n_blocks else None
    return {name: (given[name], meant[name]) for name in given}


def check_unchanged(cnn: CNNParameters, built: dict[str, tuple[Any, Any]], sample_shape: tuple[int, ...]) -> None:
    """Check that an estimator's hyper-parameters are those that its network was built from.

    Parameters
    ----------
    cnn : CNNParameters
    built : dict
        As `built_from` gave it when the network was made.
    sample_shape : tuple of int

    Raises
    ------
    ValueError
        If one differs.
    """
    for name, (given, meant) in built_from(cnn, sample_shape).items():
        if name not in built:
            continue  # one network has a backbone and the other not: `backbone`, checked first, has been refused
        old_given, old_meant = built[name]
        if meant is not old_meant and meant != old_meant:
            raise ValueError(
                f"{type(cnn).__name__}: {name} was {shown(old_given)} when the network was made, and cannot "
                f"become {shown(given)} in a fit that continues with it. Set it back, or set warm_start=False and "
                "fit anew."
            )


def _plain(value):
    """Copy a list or an array to a tuple, which cannot be changed afterwards."""
    if is_sequence(value):
        return tuple(_plain(entry) for entry in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value
