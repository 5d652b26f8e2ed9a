"""What modules of the user's hold beside their weights: buffers that are not saved with those, and plain attributes."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from sklcnn.network.layouts import COMPRESSED, is_sparse, overlaps_itself, sparse_of, sparse_parts
from sklcnn.network.network import layers_of

Module = TypeVar("Module", bound=nn.Module)
LIBRARIES = {"torch", "torchvision", "timm", "sklcnn"}  # whose modules are as their constructors make them
PLAIN = (bool, int, float, complex, str, bytes, type(None))
OF_EACH_MODULE = frozenset(vars(nn.Module()))  # hooks, weights, what is inside


class _NotPlainError(Exception):
    """A value that is not kept."""


def pack(value: Any, shared: frozenset[int] = frozenset()) -> Any:
    """Turn tensors, arrays and containers of them into plain values of which each says what it was.

    Parameters
    ----------
    value : object
    shared : frozenset of int
        Addresses of memory that a network's weights have: a copy of what lies there would no longer follow them.

    Raises
    ------
    _NotPlainError
        If it is, or holds, anything else than numbers, texts, tensors and arrays.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is torch.Tensor and value.layout is torch.strided and value.device.type != "meta":
        if value.untyped_storage().data_ptr() in shared and value.numel():
            raise _NotPlainError
        bits = (
            value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().copy()
        )
        dtype = str(value.dtype).removeprefix("torch.")
        return {"kind": "tensor", "dtype": dtype, "shape": list(value.shape), "bits": bits, "moves": not value.is_cpu}
    if kind is torch.Tensor and is_sparse(value) and value.device.type != "meta":
        parts = sparse_parts(value)
        return {"kind": "sparse", **parts, "parts": [pack(part) for part in parts["parts"]]}
    if (kind is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in "biufcmMSU":
        return {"kind": "array" if kind is np.ndarray else "scalar", "values": np.array(value)}
    if kind in (list, tuple):
        return kind(pack(entry, shared) for entry in value)
    if kind is set:
        return {"kind": "set", "entries": [pack(entry, shared) for entry in value]}
    if kind is dict:
        return {"kind": "dict", "entries": [[pack(k, shared), pack(v, shared)] for k, v in value.items()]}
    raise _NotPlainError


def pack_any(value: Any) -> Any:
    """Pack a value, or keep it as it is where it is not plain."""
    try:
        return pack(value)
    except _NotPlainError:
        return {"kind": "object", "value": value}


def unpack(packed: Any, device: Any = "cpu") -> Any:
    """Turn packed values back into what they were; tensors that were not on the CPU go to a device."""
    if type(packed) in (list, tuple):
        return type(packed)(unpack(entry, device) for entry in packed)
    if not isinstance(packed, dict):
        return packed
    kind = packed["kind"]
    if kind == "tensor":
        dtype = getattr(torch, packed["dtype"])
        values = torch.from_numpy(np.array(packed["bits"])).view(dtype).reshape(packed["shape"])
        return values.to(device) if packed["moves"] else values
    if kind == "sparse":
        return sparse_of(packed["layout"], packed["shape"], unpack(packed["parts"], device))
    if kind in ("array", "scalar"):
        return np.array(packed["values"]) if kind == "array" else packed["values"][()]
    if kind == "object":
        return packed["value"]
    entries = [unpack(entry, device) for entry in packed["entries"]]
    return {"set": set, "dict": dict}[kind](entries)


def is_known(kind: type) -> bool:
    """Tell whether a class of modules is of a library that is known here."""
    return kind.__module__.partition(".")[0] in LIBRARIES


def own_modules(network: nn.Module) -> dict[str, nn.Module]:
    """List the modules of a network, by path, whose class is of no library that is known here."""
    known: dict[type, bool] = {}
    found = {}
    for path, module in network.named_modules():
        kind = type(module)
        if kind not in known:
            known[kind] = is_known(kind)
        if not known[kind]:
            found[path] = module
    return found


def plain_attributes(modules: Mapping[str, nn.Module], network: nn.Module) -> dict[str, dict[str, Any]]:
    """Pack the attributes of some modules of a network that are plain: numbers, texts, tensors, arrays.

    Those that hold anything else are as the constructor makes them.
    """
    tensors = [*network.parameters(), *network.buffers()]
    shared = frozenset(t.untyped_storage().data_ptr() for t in tensors if t.layout is torch.strided)
    found: dict[str, dict[str, Any]] = {}
    for path, module in modules.items():
        for name, value in vars(module).items():
            if name in OF_EACH_MODULE:
                continue
            try:
                found.setdefault(path, {})[name] = pack(value, shared)
            except (_NotPlainError, RecursionError):
                continue
    return {path: values for path, values in found.items() if values}


def set_attributes(network: nn.Module, values: Mapping[str, Mapping[str, Any]], device: Any = "cpu") -> None:
    """Set attributes of modules to what they were when `plain_attributes` packed them.

    Those that are equal stay the same objects, which modules may share.
    """
    modules = dict(network.named_modules())
    present = plain_attributes({path: modules[path] for path in values}, network)
    for path, attributes in values.items():
        for name, packed in attributes.items():
            known = present.get(path, {}).get(name, _NotPlainError)
            if pickle.dumps(known) != pickle.dumps(packed):
                modules[path].__dict__[name] = unpack(packed, device)  # no setter of the user's is called


def take_own_state(network: nn.Module, without: str | None = None) -> dict[str, dict[str, Any]]:
    """Pack all that modules of the user's hold and that a state dict leaves out.

    Parameters
    ----------
    network : nn.Module
    without : str or None
        A path within which nothing is packed.

    Returns
    -------
    state : dict
        ``buffers`` of all modules, ``attributes`` of the user's, by path and name; empty where there is nothing.
    """
    buffers: dict[str, dict[str, Any]] = {}

    def left_out(path):
        return without is not None and f"{path}.".startswith(f"{without}.")

    for path, module in network.named_modules():
        if left_out(path):
            continue
        for name in sorted(module._non_persistent_buffers_set):
            with contextlib.suppress(_NotPlainError):  # one of a class of the user's is as the constructor makes it
                buffers.setdefault(path, {})[name] = pack(module._buffers.get(name))
    own = {path: module for path, module in own_modules(network).items() if not left_out(path)}
    state = {"buffers": buffers, "attributes": plain_attributes(own, network)}
    return {name: entry for name, entry in state.items() if entry}


def digest_own_state(network: nn.Module) -> str | None:
    """Digest what `take_own_state` finds; None where it finds nothing."""
    state = take_own_state(network)
    if not state:
        return None
    digest = blake2b(digest_size=16)
    _feed(digest, state)
    return digest.hexdigest()


def _feed(digest, value):
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif isinstance(value, dict):
        _feed(digest, list(value.items()))
    elif isinstance(value, (list, tuple)):
        digest.update(f"{type(value).__name__}{len(value)}".encode())
        for entry in value:
            _feed(digest, entry)
    else:
        digest.update(repr(value).encode())


def put_own_state(network: nn.Module, state: Mapping[str, Mapping[str, Any]], device: Any) -> None:
    """Set modules that were made anew to what `take_own_state` found.

    Parameters
    ----------
    network : nn.Module
        On `device` already.
    state : mapping
    device : torch.device or str
    """
    for path, values in state.get("buffers", {}).items():
        module = network.get_submodule(path)
        for name, packed in values.items():
            value = unpack(packed)
            module._buffers[name] = None if value is None else value.to(device)
    set_attributes(network, state.get("attributes", {}), device)


def without_memory(network: nn.Module, trainable: frozenset[str]) -> nn.Module:
    """Copy a module of the user's as it is, but for its weights, which take no memory in the copy.

    Parameters
    ----------
    network : nn.Module
    trainable : frozenset of str
        The parameters that take gradients in the copy.

    Returns
    -------
    copied : nn.Module
        On the CPU, its weights on "meta".
    """
    state = network.state_dict(keep_vars=True)
    weights = {id(value) for value in state.values()}
    memo: dict[int, Any] = {}

    def stand_in(tensor):  # what a state dict leaves out, by a class of the user's, would not be filled again
        if id(tensor) in weights and tensor.layout is torch.strided:
            return _empty_like(tensor, "meta")
        return tensor.detach().cpu().clone()  # a sparse one has no memory to be laid out, but parts of its own

    for name, parameter in network.named_parameters(remove_duplicate=False):
        memo[id(parameter)] = nn.Parameter(stand_in(parameter), name in trainable)
    for tensor in _tensors_of(network):
        if id(tensor) not in memo:
            memo[id(tensor)] = stand_in(tensor)
    return copy.deepcopy(network, memo)


def with_memory(network: Module) -> Module:
    """Copy what `without_memory` returned, with memory for its weights."""
    memo: dict[int, Any] = {}
    for tensor in _tensors_of(network):
        if tensor.device.type == "meta":
            empty = _empty_like(tensor, "cpu")
            memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(network, memo)


def give_memory(network: Module) -> Module:
    """Give weights without memory (on "meta") memory on the CPU, in place, laid out as they say; shared ones stay so.

    The others stay as they are.

    `to_empty` does the same by a decomposition that imports SymPy: a tenth of a second of each process's first load.
    """
    given: dict[torch.Tensor, torch.Tensor] = {}
    for module in network.modules():
        for named in (module.named_parameters, module.named_buffers):
            for name, tensor in list(named(recurse=False, remove_duplicate=False)):
                if not tensor.is_meta:
                    continue
                if tensor not in given:
                    empty = _empty_like(tensor, "cpu")
                    is_weight = isinstance(tensor, nn.Parameter)
                    given[tensor] = nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
                setattr(module, name, given[tensor])
    return network


def copy_network(network: Module, memo: dict[int, Any] | None = None) -> Module:
    """Copy a network whose attributes may hold what was computed of its weights, which torch does not copy.

    Nor does it copy sparse tensors by row or column.
    """
    memo = {} if memo is None else memo
    for tensor in _tensors_of(network):
        if tensor.grad_fn is not None:
            memo[id(tensor)] = tensor.detach()
        elif tensor.layout in COMPRESSED:
            memo[id(tensor)] = tensor.detach().clone()
    return copy.deepcopy(network, memo)


def _empty_like(tensor, device):
    """`empty_like` keeps no strides that have holes, and imports SymPy on "meta".

    What overlaps itself could not be filled: files of earlier versions may hold such.
    """
    if overlaps_itself(tensor):
        return torch.empty(tensor.size(), dtype=tensor.dtype, device=device)
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)


def _tensors_of(network: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the weights of a network and all tensors that attributes of its modules hold."""
    for module in layers_of(network, shared=False):
        yield from _tensors_in(list(vars(module).values()))


def _tensors_in(value, depth=4):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)) and depth:
        for entry in value:
            yield from _tensors_in(entry, depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _tensors_in(list(value.values()), depth - 1)
