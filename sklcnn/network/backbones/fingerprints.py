"""Digests of networks: equal where they compute the same."""

import hashlib
import itertools
import pickle
import sys
import sysconfig
import types
import weakref
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from sklcnn.network.layouts import is_sparse, sparse_parts
from sklcnn.process import Lock
from sklcnn.signals import raise_if_signalled


def digest_state(state, description):
    """Digest a state dict and a text."""
    digest = hashlib.sha256(description.encode())
    for key, tensor in state.items():
        digest.update(f"\n{key}".encode())
        digest.update(_digest_tensor(tensor))
    return digest.hexdigest()


def _digest_tensor(tensor):
    """Digest type, shape and values, whatever the device and the memory layout."""
    if is_sparse(tensor):
        layout, shape, parts = sparse_parts(tensor).values()
        return hashlib.sha256(f"{layout} {shape}".encode() + b"".join(map(_digest_tensor, parts))).digest()
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(np.ascontiguousarray(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.digest()


def digest_module(module, description):
    """Digest a module of the user's: its state, its settings and the code it runs. None if that fails."""
    buffer = BytesIO()
    try:
        _Digester(buffer).dump((description, module))
    except Exception as error:
        raise_if_signalled(error)
        # A handle to a file or a compiled graph: no way to tell whether two of them compute the same.
        return None
    return hashlib.sha256(buffer.getvalue()).hexdigest()


class _Digester(pickle.Pickler):
    """Pickle a module into bytes that are equal for modules that compute the same.

    Tensors stand for their values. Classes and functions stand for themselves, not for their names: a
    notebook may define a class again, with another ``forward``. What is in no installed library stands for what it
    reads as well: a helper may be defined again too, and a setting changed.
    """

    def __init__(self, file):
        super().__init__(file)
        self._classes = {}  # a network has many objects of few classes
        self._functions = set()  # whose reading has been looked at; they may call one another

    def persistent_id(self, obj):
        """Name an object that is not pickled by its attributes."""
        if isinstance(obj, torch.Tensor):
            return "tensor", _digest_tensor(obj)
        if isinstance(obj, type):
            if obj not in self._classes:
                self._classes[obj] = "class", _token(obj), _token(getattr(obj, "forward", None)), _defined_by(obj)
            return self._classes[obj]
        if isinstance(obj, types.FunctionType):
            token = _token(obj)
            if token in self._functions or _is_installed(obj.__module__):
                return "function", token
            self._functions.add(token)
            return "function", token, _read_by(obj)
        if isinstance(obj, types.ModuleType):
            return "module", obj.__name__
        return None


def _defined_by(cls):
    """List what a class of the user's and its bases define: its methods and attributes may be replaced."""
    bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in ("torch", "builtins")]
    return [
        (name, value if isinstance(value, types.FunctionType) and not _is_installed(base.__module__) else _token(value))
        for base in bases
        for name, value in vars(base).items()
    ]


def _read_by(function):
    """List what a function reads but for its arguments: defaults, variables around it, and those of its module."""
    closure = [_contents(cell) for cell in function.__closure__ or ()]
    names = sorted(set(_names_in(function.__code__)) & function.__globals__.keys())
    read = [(name, function.__globals__[name]) for name in names]
    return function.__defaults__, function.__kwdefaults__, closure, read


def _contents(cell):
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None


def _names_in(code):
    """Yield the names that a function's code, and that of functions inside it, may look up in its module."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


@cache
def _is_installed(name):
    """Whether a module is one of Python's or of an installed package, which do not change while a program runs."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if name.partition(".")[0] == __name__.partition(".")[0]:
        return True
    if file is None:
        return name != "__main__"  # that of a notebook has no file
    roots = {sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")}
    return any(Path(root) in Path(file).parents for root in roots)


_tokens: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_next_token = itertools.count()
_tokens_lock = Lock()


def _token(obj):
    """Return a number of an object that no other object ever has, unlike ``id``."""
    with _tokens_lock:
        try:
            if obj not in _tokens:
                _tokens[obj] = next(_next_token)
            return _tokens[obj]
        except TypeError:  # builtins and None cannot be redefined, nor weakly referenced
            return repr(obj)
