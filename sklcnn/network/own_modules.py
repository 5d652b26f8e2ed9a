"""Modules of the user's inside the network: activations and blocks, tried on zeros before they are built in."""

from __future__ import annotations

import copy
import inspect
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sklcnn.network.layouts import compressed_copies, laid_out_anew
from sklcnn.network.own_outputs import as_floats, check_activation
from sklcnn.network.own_state import is_known
from sklcnn.process import Entered
from sklcnn.signals import raise_if_signalled
from sklcnn.wording import name_of, shown

BLOCK_FACTORY = "(in_channels, out_channels, kernel_size, spatial_dims) -> nn.Module"
N_ROWS = 2  # on which modules are tried: of one row, an output of one row for all would not be seen
N_CHANNELS, LENGTH = 4, 3  # of what an activation is tried on


class Trial(NamedTuple):
    """What a module of a factory's was found to be.

    Attributes
    ----------
    size : tuple of int
        Positions of the maps that it makes.
    n_weights : int
    makes_weights : bool
        Whether it makes some only when it is first called.
    """

    size: tuple[int, ...]
    n_weights: int
    makes_weights: bool


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
    check_no_script(module, where)
    names, waits = names_of_weights(module), has_lazy_weights(module)
    values = torch.zeros(N_ROWS, N_CHANNELS, *(LENGTH,) * n_axes)
    rule = "must return what it gets in the same shape and type, as any activation does"
    try:
        made = None if waits else on_zeros(module, values)
    except Exception as error:
        raise_if_signalled(error)
        raise ValueError(
            f"{where} {rule}; with a tensor of shape {tuple(values.shape)} it failed: {shown(str(error))}."
        ) from error
    if waits or names_of_weights(module) != names:
        raise ValueError(
            f"{where} has weights whose shape waits for the first input. Pass an activation that needs none."
        )
    if not isinstance(made, torch.Tensor) or made.shape != values.shape or made.dtype != values.dtype:
        raise ValueError(f"{where} {rule}; of {_described(values)} it made {_described(made)}.")
    if not is_known(activation):
        module.register_forward_hook(check_activation)
    return module


def try_block(spec: Any, channels: int, filters: int, size: tuple[int, ...], kernel: Any) -> Trial:
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
    trial : Trial

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
            raise_if_signalled(error)
            raise ValueError(f"{where} failed when it was called with {arguments}: {shown(str(error))}.") from error
        if not isinstance(module, nn.Module):
            raise TypeError(f"{where} must return an nn.Module; it returned {type(module).__name__}.")
        check_no_script(module, where)
        zeros = torch.zeros(N_ROWS, channels, *size)
        module = own_copy(module).to(zeros)
        names = names_of_weights(module)
        try:
            maps = on_zeros(module, zeros)
        except Exception as error:
            raise_if_signalled(error)
            raise ValueError(
                f"{where} makes a module that does not take maps of shape {(channels, *size)}: {shown(str(error))}."
            ) from error
    maps = as_floats(maps, zeros, where, "the maps")
    shape = tuple(maps.shape)
    if len(shape) != 2 + len(size) or shape[:2] != (N_ROWS, filters):
        raise ValueError(
            f"{where} must make a module that maps (n, {channels}, *spatial) to (n, {filters}, *spatial); of maps of "
            f"shape {tuple(zeros.shape)} it made {shape}."
        )
    n_weights = sum(parameter.numel() for parameter in module.parameters())
    return Trial(shape[2:], n_weights, names_of_weights(module) != names)


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
    except Exception as error:
        raise_if_signalled(error)
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
        raise_if_signalled(error)
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


def with_weights(module: nn.Module, channels: int, size: tuple[int, ...], makes_weights: bool) -> nn.Module:
    """Return a module whose layers know their shapes: ``nn.Lazy`` ones learn them from their first input.

    So do those that `forward` makes when it is first called, if `makes_weights`.
    """
    if makes_weights or has_lazy_weights(module):
        zeros = torch.zeros(1, channels, *size)
        on_zeros(module.to(zeros), zeros)
    return module


def has_lazy_weights(module: nn.Module) -> bool:
    """Tell whether weights of a module wait for its first input."""
    return any(map(is_lazy, [*module.parameters(), *module.buffers()]))


def names_of_weights(module: nn.Module) -> set[str]:
    """Return the names of a module's parameters."""
    return {name for name, _ in module.named_parameters()}


def check_no_script(module: nn.Module, where: str) -> None:
    """Refuse modules that were compiled by TorchScript, or hold such.

    Raises
    ------
    TypeError
    """
    if any(isinstance(inner, torch.jit.ScriptModule) for inner in module.modules()):
        raise TypeError(
            f"{where} holds TorchScript, which cannot be copied and saved with an estimator. Pass the nn.Module that "
            "it was made of."
        )


def on_zeros(module: nn.Module, values: torch.Tensor) -> Any:
    """Compute a module's output in evaluation mode, without gradients."""
    with torch.no_grad():
        made = module.eval()(values)
    module.train()
    return made


def _described(values):
    if not isinstance(values, torch.Tensor):
        return type(values).__name__
    return f"shape {tuple(values.shape)} and {str(values.dtype).removeprefix('torch.')}"
