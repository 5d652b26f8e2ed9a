"""From the `augmentation` hyper-parameter to a function on training batches."""

import copy
import itertools
from functools import partial

import torch

from sklcnn.data.augmentation.checks import (
    check_augmentation,
    check_kind,
    check_mixes,
    check_moves,
    read_strengths,
    written_parts,
)
from sklcnn.data.augmentation.functions import call_function, is_function
from sklcnn.data.augmentation.mixing import mix_samples
from sklcnn.data.augmentation.table import AUGMENTATIONS


def build_augmentation(
    augmentation, *, spatial_dims, sample_shape=None, unit=1, deviation=None, batch_size=None, n_rows=None
):
    """Turn the `augmentation` hyper-parameter into a function on training batches.

    Parameters
    ----------
    augmentation : None, str, dict or callable, or tuple or list of such
        Names have their default strength, a dict maps names to strengths, and a callable gets the batch
        ``(n, c, *spatial)``. Those of torchvision, which draw once a call, are called sample by sample. In a tuple a
        callable has its place: names before it come first, those behind it follow; mixes are always last.
    spatial_dims : {1, 2, 3}
        Signals, images or volumes.
    sample_shape : tuple of int, optional
        ``(channels, *spatial)``. Where given, moves of less than half a pixel are refused, and what has nothing to
        paste.
    unit : float, default=1
        What a callable is given as 1: 255 for integer pixels, since other libraries take 0..1 for granted.
    deviation : callable, optional
        Returns the deviation of each channel (c,) over the training rows; called only where a strength is a share of
        it. Without it that of each batch counts.
    batch_size, n_rows : int, optional
        Rows of a batch, and rows that train. Where one of them is 1, mixes are refused.

    Returns
    -------
    augment : Augmentation or None
        None where nothing would change: no names, or strength zero for all of them.

    Raises
    ------
    TypeError, ValueError
        As `check_augmentation`, and where a name does not suit the kind of data.
    """
    check_augmentation(augmentation)
    strengths = read_strengths(augmentation)
    for name in strengths:
        check_kind(name, spatial_dims)
    active = {name: float(strengths[name]) for name in AUGMENTATIONS if strengths.get(name, 0) > 0}
    if sample_shape is not None:
        for name, strength in active.items():
            check_moves(name, strength, sample_shape[1:])

    mixes = {name: strength for name, strength in active.items() if AUGMENTATIONS[name].step is mix_samples}
    check_mixes(mixes, batch_size, n_rows, sample_shape and sample_shape[1:])
    steps = []
    for are_functions, parts in itertools.groupby(written_parts(augmentation), key=is_function):
        if are_functions:
            steps += [_function_step(function, unit) for function in parts]
        else:
            written = read_strengths(list(parts))
            named = {name: active[name] for name in active if name in written and name not in mixes}
            steps += _named_steps(named, deviation)
    return Augmentation(steps, partial(mix_samples, **mixes) if mixes else None) if steps or mixes else None


def _function_step(function, unit):
    # A module may keep its last draws on itself: the user's own must stay as it was.
    owned = copy.deepcopy(function) if isinstance(function, torch.nn.Module) else function
    return partial(call_function, function=owned, unit=unit)


def _named_steps(strengths, deviation):
    """Make a function of each step and its strengths, in the table's order; neighbours that share a step are one."""
    steps = []
    for step, names in itertools.groupby(strengths, key=lambda name: AUGMENTATIONS[name].step):
        arguments = {name: strengths[name] for name in names}
        if deviation is not None and any(AUGMENTATIONS[name].by_deviation for name in arguments):
            arguments["deviation"] = deviation()
        steps.append(partial(step, **arguments))
    return steps


class Augmentation:
    """A random change of training batches.

    Parameters
    ----------
    steps : list of callable
        Each maps images ``(n, *spatial, c)`` to images of the same shape.
    mix : callable or None
        Maps images and targets to images and targets; applied last.

    Attributes
    ----------
    mixes : bool
        Whether targets are changed.
    """

    def __init__(self, steps, mix=None):
        self._steps = steps
        self._mix = mix
        self.mixes = mix is not None

    @torch.no_grad()
    def __call__(self, batch, targets):
        """Augment one training batch.

        Parameters
        ----------
        batch : torch.Tensor of shape (n, c, *spatial)
            Floating point values in any range; left as it is.
        targets : torch.Tensor
            For the mixes ``(n, k)`` floats: class probabilities, indicators or standardised values.
            Anything otherwise.

        Returns
        -------
        batch : torch.Tensor of shape (n, c, *spatial)
            Of the same dtype, channels-last in memory.
        targets : torch.Tensor
            Mixed with the shares of the images; untouched without mixes.
        """
        images = batch.movedim(1, -1).contiguous()  # (n, *spatial, c)
        for step in self._steps:
            images = step(images)
        if self._mix is not None:
            images, targets = self._mix(images, targets)
        return images.contiguous().movedim(-1, 1), targets
