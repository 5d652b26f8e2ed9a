"""Modules of the user's inside the network: activations and blocks, tried on zeros before they are built in."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sklcnn.network.layouts import compressed_copies, laid_out_anew
from sklcnn.process import Entered
from sklcnn.wording import name_of, shown

BLOCK_FACTORY = "(in_channels, out_channels, kernel_size, spatial_dims) -> nn.Module"
N_ROWS, N_CHANNELS, LENGTH = 2, 4, 3  # of what an activation is tried on


def make_own_activation(activation: type[nn.Module], n_axes: int, estimator_name: str) -> nn.Module:
    """Build an activation from a class of the user's.

    Parameters
    ----------
    activation : subclass of nn.Module
    n_axes : int
        Spatial axes of what it gets; 0 behind a dense layer.
    estimator_name : str
        For messages.

    Raises
    ------
    TypeError
        If the class needs arguments.
    ValueError
        If the module has weights that wait for its first input, or does not return what it gets in the same shape and
        type.
    """
    where = f"{estimator_name}: activation={activation.__name__}"
    try:
        module = own_copy(activation())
    except TypeError as error:
        raise TypeError(
            f"{where} cannot be made without arguments ({shown(str(error))}). Pass an activation's class, such as "
            "nn.Mish, or a subclass whose __init__ fills the arguments in."
        ) from error
    if has_lazy_weights(module):
        raise ValueError(
            f"{where} has weights whose shape waits for the first input. Pass an activation that needs none."
        )
    values = torch.zeros(N_ROWS, N_CHANNELS, *(LENGTH,) * n_axes)
    rule = "must return what it gets in the same shape and type, as any activation does"
    try:
        made = on_zeros(module, values)
    except Exception as error:
        raise ValueError(
            f"{where} {rule}; with a tensor of shape {tuple(values.shape)} it failed: {shown(str(error))}."
        ) from error
    if not isinstance(made, torch.Tensor) or made.shape != values.shape or made.dtype != values.dtype:
        raise ValueError(f"{where} {rule}; of {_described(values)} it made {_described(made)}.")
    return module


def try_block(spec: Any, channels: int, filters: int, size: tuple[int, ...], kernel: Any) -> tuple[tuple, int]:
    """Try the module that a factory of the user's makes.

    Parameters
    ----------
    spec : NetworkSpec
        Whose `block` is the factory.
    channels, filters : int
        That come in and that are to go out.
    size : tuple of int
        Positions of the maps that come in.
    kernel : int or tuple of int

    Returns
    -------
    size : tuple of int
        Of the maps that it makes.
    n_weights : int

    Raises
    ------
    TypeError, ValueError
        If it makes no module, or one that does not map such maps to maps of `filters` channels, which are floats.
    """
    where = f"{spec.estimator_name}: block={name_of(spec.block)}"
    if isinstance(spec.block, nn.Module):
        raise TypeError(f"{where}(...) is a module, but each block has its own: pass a factory {BLOCK_FACTORY}.")
    arguments = (channels, filters, kernel, len(size))
    check_takes(spec.block, arguments, where, BLOCK_FACTORY)
    with Entered(torch.random.fork_rng(devices=[])):
        try:
            module = spec.block(*arguments)
        except Exception as error:
            raise ValueError(f"{where} failed when it was called with {arguments}: {shown(str(error))}.") from error
        if not isinstance(module, nn.Module):
            raise TypeError(f"{where} must return an nn.Module; it returned {type(module).__name__}.")
        zeros = torch.zeros(1, channels, *size)
        module = own_copy(module).to(zeros)
        try:
            maps = on_zeros(module, zeros)
        except Exception as error:
            raise ValueError(
                f"{where} makes a module that does not take maps of shape {(channels, *size)}: {shown(str(error))}."
            ) from error
    maps = as_floats(maps, zeros, where, "the maps")
    shape = tuple(maps.shape)
    if len(shape) != 2 + len(size) or shape[1] != filters:
        raise ValueError(
            f"{where} must make a module that maps (n, {channels}, *spatial) to (n, {filters}, *spatial); of maps of "
            f"shape {(channels, *size)} it made {shape[1:]}."
        )
    return shape[2:], sum(parameter.numel() for parameter in module.parameters())


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
        If it is no tensor, or one of integers, truth values or complex numbers.
    """
    if not isinstance(made, torch.Tensor):
        raise TypeError(f"{where} must return a tensor, but it returned {type(made).__name__}. Return {what} alone.")
    if made.dtype == given.dtype:
        return made
    if not made.is_floating_point():
        remedy = "Return their magnitude, or real and imaginary parts" if made.is_complex() else "Convert them"
        raise TypeError(f"{where} must return {what} as floats, but they are {_type_name(made)}. {remedy}.")
    kind = made.device.type
    if torch.is_autocast_enabled(kind) and made.dtype in (torch.get_autocast_dtype(kind), torch.float32):
        return made
    return made.to(given.dtype)


def own_copy(module: nn.Module, copies: dict | None = None) -> nn.Module:
    """Copy what a factory of the user's returned: it may return one module each time, or one that is used elsewhere.

    Buffers that overlap themselves, as `expand` makes them, do not in the copy: they are to be filled when it is read.

    Parameters
    ----------
    module : nn.Module
    copies : dict or None
        What was copied for the same network before; layers that blocks share are shared by their copies.

    Returns
    -------
    module : nn.Module
        The module itself where it cannot be copied.
    """
    copies = {} if copies is None else copies
    try:
        for address, copied in (laid_out_anew(module) | compressed_copies(module)).items():
            copies.setdefault(address, copied)  # those of layers that blocks share are there already
        return copy.deepcopy(module, copies)
    except Exception:
        return module


def check_runs_in(network: nn.Module, sample_shape: tuple[int, ...], dtype: torch.dtype, where: str) -> None:
    """Check that a network with modules of the user's computes in a type of floats other than float32.

    Raises
    ------
    ValueError
    """
    try:
        with Entered(torch.random.fork_rng(devices=[])):
            on_zeros(network, torch.zeros(1, *sample_shape, dtype=dtype))
    except Exception as error:
        name = str(dtype).removeprefix("torch.")
        raise ValueError(
            f"{where} does not compute in {name}: {shown(str(error))}. Let it make tensors of the type of its inputs, "
            'or set precision="float32".'
        ) from error


def check_takes(factory: Any, arguments: tuple, where: str, rule: str) -> None:
    """Check that a factory of the user's can be called with the arguments that it will be given.

    Raises
    ------
    TypeError
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some builtins do not tell
        return
    try:
        if getattr(factory, "__init__", None) is nn.Module.__init__:  # whose signature takes anything, but it does not
            raise TypeError("it takes no arguments")
        signature.bind(*arguments)
    except TypeError as error:
        instance = f", or a module, such as {factory.__name__}(...)" if isinstance(factory, type) else ""
        raise TypeError(
            f"{where} must be a factory {rule}, but it cannot be called so: {error}. Pass one that can{instance}."
        ) from None


def with_weights(module: nn.Module, channels: int, size: tuple[int, ...]) -> nn.Module:
    """Return a module whose layers know their shapes: ``nn.Lazy`` ones learn them from their first input."""
    if has_lazy_weights(module):
        zeros = torch.zeros(1, channels, *size)
        on_zeros(module.to(zeros), zeros)
    return module


def has_lazy_weights(module: nn.Module) -> bool:
    """Tell whether weights of a module wait for its first input."""
    return any(map(is_lazy, [*module.parameters(), *module.buffers()]))


def on_zeros(module: nn.Module, values: torch.Tensor) -> Any:
    """Compute a module's output in evaluation mode, without gradients."""
    with torch.no_grad():
        made = module.eval()(values)
    module.train()
    return made


def _described(values):
    if not isinstance(values, torch.Tensor):
        return type(values).__name__
    return f"shape {tuple(values.shape)} and {_type_name(values)}"


def _type_name(values):
    return str(values.dtype).removeprefix("torch.")
