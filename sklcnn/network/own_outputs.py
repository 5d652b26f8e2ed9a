"""What modules of the user's return while a network runs: checked each time, and traced where they raise an error.

They are tried before they are built in, but what they return may depend on the mode, the batch or its values.
"""

from __future__ import annotations

import traceback
from typing import Any

import torch
from torch import nn

from sklcnn.network.own_state import is_known


def as_floats(made: Any, given: torch.Tensor, where: str, what: str) -> torch.Tensor:
    """Check what a module or function of the user's returned, and give floats of another type that of its input.

    A forward pass under `torch.autocast` of its own makes such, which the layers behind it would not take. Where the
    whole network computes under autocast, layers take its type too.

    Parameters
    ----------
    made : object
    given : torch.Tensor
    where, what : str
        Whose output it is and what it is to be, for messages: "block", "the maps".

    Raises
    ------
    TypeError
        If it is no tensor, or one of integers, truth values or complex numbers, or one that is sparse or elsewhere.
    """
    if not isinstance(made, torch.Tensor):
        raise TypeError(f"{where} must return a tensor, but it returned {type(made).__name__}. Return {what} alone.")
    if made.layout is not given.layout or made.device != given.device:
        raise TypeError(
            f"{where} must return {what} as a dense tensor on the device of its input, {given.device}; it returned one "
            f"of layout {_last_name(made.layout)} on {made.device}. Convert it by to_dense() and to(...)."
        )
    if made.dtype == given.dtype:
        return made
    if not made.is_floating_point():
        remedy = "Return their magnitude, or real and imaginary parts" if made.is_complex() else "Convert them"
        raise TypeError(f"{where} must return {what} as floats, but they are {_last_name(made.dtype)}. {remedy}.")
    kind = made.device.type
    if torch.is_autocast_enabled(kind) and made.dtype in (torch.get_autocast_dtype(kind), torch.float32):
        return made
    return made.to(given.dtype)


def check_activation(activation: nn.Module, inputs: tuple, made: Any) -> torch.Tensor:
    """Check what an activation of the user's returned: a forward hook, so that its weights keep their names.

    Raises
    ------
    TypeError, ValueError
    """
    made = as_floats(made, inputs[0], "activation", "the values")
    if made.shape != inputs[0].shape:
        raise ValueError(
            f"activation={type(activation).__name__} must return what it gets in the same shape; of "
            f"{tuple(inputs[0].shape)} it made {tuple(made.shape)}."
        )
    return made


def raised_in(error: BaseException) -> str:
    """Say in which module of the user's an error arose, as a part of a sentence; empty where in none.

    Parameters
    ----------
    error : Exception
        That a network has raised: of the calls on its way the outermost module of the user's counts. Layers of the
        package that hold such say so by `own_part`.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        if not isinstance(module, nn.Module):
            continue
        own = getattr(module, "own_part", None) if is_known(type(module)) else ("activation", module)
        if own is not None:
            return f", in its {own[0]} ({type(own[1]).__name__})"
    return ""


def _last_name(kind):
    return str(kind).removeprefix("torch.")
