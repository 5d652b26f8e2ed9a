"""How tensors lie in memory: which overlap themselves, and sparse ones, whose parts are tensors of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

COMPRESSED = {  # by which axis: what says where each row or column begins, and where its values are
    torch.sparse_csr: ("crow_indices", "col_indices"),
    torch.sparse_bsr: ("crow_indices", "col_indices"),
    torch.sparse_csc: ("ccol_indices", "row_indices"),
    torch.sparse_bsc: ("ccol_indices", "row_indices"),
}
SPARSE = {str(layout).removeprefix("torch."): layout for layout in (torch.sparse_coo, *COMPRESSED)}


def address_of(tensor: torch.Tensor) -> int:
    """Return what tells a tensor from others that are alive: its memory; itself where it has none of its own."""
    return tensor.data_ptr() if tensor.layout is torch.strided else id(tensor)


def overlaps_itself(tensor: torch.Tensor) -> bool:
    """Tell whether several elements of a tensor are one in memory, as `expand` makes them: torch writes to none."""
    if tensor.layout is not torch.strided:
        return False
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.size(), tensor.stride(), strict=True))


def is_sparse(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is in one of the layouts `SPARSE`."""
    return tensor.layout in SPARSE.values()


def laid_out_anew(module: nn.Module) -> dict[int, Any]:
    """Return copies of what `deepcopy` would leave overlapping: buffers, and parameters that take no gradients.

    They are its memo, so that what is copied can be written to, while the module itself stays as it is. Modules that
    are lazy have tensors without a shape, which do not overlap.
    """
    memo: dict[int, Any] = {}
    for tensor in (*module.buffers(), *module.parameters()):
        if nn.parameter.is_lazy(tensor) or tensor.requires_grad or not overlaps_itself(tensor):
            continue
        copied = tensor.detach().clone(memory_format=torch.contiguous_format)
        memo[id(tensor)] = nn.Parameter(copied, False) if isinstance(tensor, nn.Parameter) else copied
    return memo


def compressed_copies(module: nn.Module) -> dict[int, Any]:
    """Return copies of the buffers that `deepcopy` cannot copy, as torch has it: sparse ones by row or column."""
    found = (tensor for tensor in module.buffers() if tensor.layout in COMPRESSED)
    return {id(tensor): tensor.detach().clone() for tensor in found}


def sparse_parts(tensor: torch.Tensor) -> dict[str, Any]:
    """Take a sparse tensor apart: the name of its layout, its shape, and the tensors that it consists of.

    Parameters
    ----------
    tensor : torch.Tensor
        In one of the layouts `SPARSE`.
    """
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce()  # only then has it indices and values to be read
        parts = [tensor.indices(), tensor.values()]
    else:
        parts = [*(getattr(tensor, name)() for name in COMPRESSED[tensor.layout]), tensor.values()]
    return {"layout": str(tensor.layout).removeprefix("torch."), "shape": list(tensor.shape), "parts": parts}


def sparse_of(layout: str, shape: list[int], parts: list[torch.Tensor]) -> torch.Tensor:
    """Make the tensor that `sparse_parts` took apart. Indices out of place, of a damaged file, are refused."""
    if layout == "sparse_coo":
        indices, values = parts
        return torch.sparse_coo_tensor(indices, values, tuple(shape), check_invariants=True).coalesce()
    begins, places, values = parts
    return torch.sparse_compressed_tensor(
        begins, places, values, tuple(shape), layout=SPARSE[layout], check_invariants=True
    )
