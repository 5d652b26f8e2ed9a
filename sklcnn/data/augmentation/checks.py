"""What the `augmentation` hyper-parameter may be, and the errors where it is something else."""

import math
from collections.abc import Mapping
from numbers import Real

from sklcnn.data.augmentation.draws import greatest_offset
from sklcnn.data.augmentation.functions import check_function, is_function
from sklcnn.data.augmentation.table import AUGMENTATIONS
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import shown

_KINDS = {1: "signals", 2: "images", 3: "volumes"}


def check_augmentation(augmentation):
    """Check the `augmentation` hyper-parameter, whatever the data.

    Parameters
    ----------
    augmentation : object
        What the user passed.

    Raises
    ------
    TypeError
        If it is not None, a name, a dict ``{name: strength}``, a callable, or a tuple or list of such.
    ValueError
        If a name is unknown or given twice, a strength is out of its range, or a callable changes targets.
    """
    for name, strength in read_strengths(augmentation).items():
        _check_strength(name, strength)
    for function in filter(is_function, written_parts(augmentation)):
        check_function(function)


def written_parts(augmentation):
    """List the names, dicts and callables, in the order in which they are written."""
    if augmentation is None:
        return []
    if isinstance(augmentation, str | Mapping) or is_function(augmentation):
        return [augmentation]
    if isinstance(augmentation, tuple | list):
        return list(augmentation)
    raise TypeError(
        "augmentation must be None, a name, a dict {name: strength}, a callable on a batch or a tuple of such, "
        f"but is {shown(augmentation)}. The names are {_listed(AUGMENTATIONS)}."
    )


def read_strengths(augmentation):
    """Read names and strengths, ``{name: strength}``, with every name known; callables are left out."""
    strengths = {}
    for part in written_parts(augmentation):
        if is_function(part):
            continue
        for name in part if isinstance(part, Mapping) else [part]:
            _check_name(name)
            if name in strengths:
                raise ValueError(
                    f"augmentation must name each change once, but has {shown(name)} twice. "
                    "Use a dict {name: strength} for a stronger one."
                )
            strengths[name] = part[name] if isinstance(part, Mapping) else AUGMENTATIONS[name].default
    return strengths


def _check_name(name):
    if not isinstance(name, str):
        raise TypeError(
            f"augmentation must have names, but has {shown(name)}. The names are {_listed(AUGMENTATIONS)}; "
            'a callable stands alone or in a tuple, such as ({"rotate": 5}, function).'
        )
    if name not in AUGMENTATIONS:
        meant = did_you_mean(name, [*AUGMENTATIONS, None])
        raise ValueError(f"augmentation has no {shown(name)}. The names are {_listed(AUGMENTATIONS)}.{meant}")


def _check_strength(name, strength):
    technique = AUGMENTATIONS[name]
    rule = f"augmentation {shown(name)} must have a strength from 0 to {technique.maximum:g} ({technique.unit})"
    if not isinstance(strength, Real) or isinstance(strength, bool):
        raise TypeError(f"{rule}, but has {shown(strength)}. Its default is {technique.default:g}.")
    if not 0 <= strength <= technique.maximum:  # false for NaN too
        raise ValueError(f"{rule}, but has {shown(strength)}. Its default is {technique.default:g}.")


def check_kind(name, spatial_dims):
    """Refuse a change that does not suit signals, images or volumes."""
    if spatial_dims not in AUGMENTATIONS[name].spatial_dims:
        kind = _KINDS[spatial_dims]
        suited = [other for other in AUGMENTATIONS if spatial_dims in AUGMENTATIONS[other].spatial_dims]
        raise ValueError(f"augmentation {shown(name)} does not work on {kind}. Those that do are {_listed(suited)}.")


def check_moves(name, share, spatial):
    """Refuse a move that rounds to no pixel along every axis: it would silently do nothing."""
    if name in ("shift", "crop") and not any(greatest_offset(side, share) for side in spatial):
        sides = "x".join(map(str, spatial))
        remedy = f"Use {math.ceil(500 / max(spatial)) / 1000} or more." if max(spatial) > 1 else f"Leave {name!r} out."
        raise ValueError(
            f"augmentation {shown(name)} must move by half a pixel or more, but {share:g} of {sides} is less. " + remedy
        )


def check_mixes(names, batch_size, n_rows, spatial):
    """Refuse mixes where no row has another to be mixed with, or no part that could be pasted.

    Parameters
    ----------
    names : collection of str
        Of the mixes.
    batch_size : int or None
    n_rows : int or None
        How many rows train; None: not known.
    spatial : tuple of int or None
    """
    for name in names:
        rule = f"augmentation {shown(name)} must have another row in the batch to mix a row with"
        if batch_size == 1:
            raise ValueError(f"{rule}, but batch_size=1. Use batch_size=2 or more, or leave {name!r} out.")
        if n_rows == 1:
            raise ValueError(f"{rule}, but X has one training row. Pass more rows, or leave {name!r} out.")
        if name == "cutmix" and spatial is not None and max(spatial) == 1:
            raise ValueError(
                "augmentation 'cutmix' must have two positions or more to paste a part of a sample, but samples have "
                "one. Use 'mixup'."
            )


def _listed(names):
    return ", ".join(repr(name) for name in names)
