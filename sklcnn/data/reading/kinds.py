"""The refusal of X that does not hold its samples in memory: what it is, and how to get them out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from scipy import sparse

from sklcnn.signals import raise_if_signalled
from sklcnn.wording import shown


def check_kind(X: Any, estimator: str) -> None:
    """Refuse X that does not hold its samples in memory, and say how to get them out.

    Raises
    ------
    TypeError
    """
    kind = type(X).__name__
    if hasattr(X, "read"):
        refuse(estimator, f"an open file ({kind})", "its path, or what is in it, in a list: [X.read()]")
    if isinstance(X, torch.utils.data.Dataset):
        refuse(estimator, f"a torch data set ({kind})", _samples_of_dataset(X))
    if isinstance(X, torch.utils.data.DataLoader):
        refuse(estimator, f"a torch data loader ({kind})", "its samples: X, y = map(torch.cat, zip(*loader))")
    if hasattr(X, "as_numpy_iterator"):
        refuse(
            estimator, f"a TensorFlow data set ({kind})", "its samples: X, y = map(list, zip(*X.as_numpy_iterator()))"
        )
    if hasattr(X, "column_names") and hasattr(X, "features"):
        name = next(iter(X.column_names), "image")
        refuse(estimator, "a data set of Hugging Face", f'one of its columns, such as X["{name}"]')
    if is_lazy(X):
        refuse_lazy(X, estimator)
    if isinstance(X, Mapping):
        keys = [f"the value of one key, such as X[{shown(key)}]" for key in X]
        remedy = "[X]" if X.keys() & {"bytes", "path"} else keys[0] if keys else "an array"
        refuse(estimator, f"a mapping ({kind})", remedy)
    if isinstance(X, Iterator):
        refuse(estimator, f"an iterator ({kind}), which can be read only once", "list(X)")
    if isinstance(X, (set, frozenset)):
        refuse(estimator, f"a {kind}, whose samples have no order", "a list")


def is_lazy(values: Any) -> bool:
    """Whether values are not computed yet: polars' lazy frames, and what dask has."""
    return (hasattr(values, "collect") and hasattr(values, "collect_schema")) or (
        hasattr(values, "compute") and hasattr(values, "dask")
    )


def refuse_lazy(values: Any, estimator: str, name: str = "X") -> NoReturn:
    """Say that values are not computed yet, and how they are.

    Raises
    ------
    TypeError
    """
    method = "collect" if hasattr(values, "collect") else "compute"  # polars' and dask's
    raise TypeError(f"{estimator}: {name} is not computed yet ({type(values).__name__}). Pass {name}.{method}().")


def check_has_length(values: Any, estimator: str, name: str) -> None:
    """Refuse values that are not computed yet, where not even their number is known.

    Raises
    ------
    TypeError
    """
    if is_lazy(values) and not all(isinstance(size, int) for size in getattr(values, "shape", (None,))):
        refuse_lazy(values, estimator, name)


def _samples_of_dataset(dataset):
    """Say how to get X and y out of a torch data set, by the attributes it has."""
    if isinstance(dataset, torch.utils.data.TensorDataset):
        return "its tensors: X, y = dataset.tensors"
    if hasattr(dataset, "data") and hasattr(dataset, "targets"):
        return "what it holds: X, y = dataset.data, dataset.targets"
    if isinstance(getattr(dataset, "samples", None), list):  # torchvision's folders of images
        return "the files that it lists, which are decoded by the batch: X, y = map(list, zip(*dataset.samples))"
    # Not every data set ends where it is iterated.
    each = "(dataset[i] for i in range(len(dataset)))" if hasattr(dataset, "__len__") else "dataset"
    try:
        first = dataset[0] if hasattr(dataset, "__len__") else None
    except Exception as error:
        raise_if_signalled(error)
        first = None
    if isinstance(first, Mapping):
        return f"the values of one key: [sample[{shown(next(iter(first), 'image'))}] for sample in {each}]"
    return f"its samples: X, y = map(list, zip(*{each}))"


def refuse(estimator: str, kind: str, remedy: str) -> NoReturn:
    """Say what X is, and what to pass.

    Raises
    ------
    TypeError
    """
    raise TypeError(f"{estimator}: X is {kind}. Pass {remedy}.")


def check_cells(cells: list, first: Any, estimator: str) -> None:
    """Refuse a list or column of cells that are no samples; the first one that is not missing decides.

    Raises
    ------
    TypeError
    """
    if hasattr(first, "read"):
        raise TypeError(
            f"{estimator}: X holds open files ({type(first).__name__}). Pass their paths, or what is in them: "
            "[file.read() for file in X]."
        )
    if sparse.issparse(first):
        raise TypeError(
            f"{estimator}: X holds sparse matrices ({type(first).__name__}). Pass dense arrays: "
            "[sample.toarray() for sample in X]."
        )
    if isinstance(first, Mapping):
        key = shown(next((key for key in first if key not in ("label", "labels", "target")), "image"))
        raise TypeError(
            f"{estimator}: X holds dicts with the keys {shown(list(first))}. Pass what they hold under one key, such "
            f"as [cell[{key}] for cell in X]."
        )
    if len(cells) == 2 and all(isinstance(cell, np.ndarray) for cell in cells):
        X, y = cells
        if X.ndim > 1 and y.ndim == 1 and len(X) == len(y):
            raise TypeError(f"{estimator}: X is a pair of samples and their targets. Pass them apart: X, y = X.")
    if is_pair(first) and all(map(is_pair, cells)):
        raise TypeError(
            f"{estimator}: X holds pairs of a sample and its label. Pass them apart: X, y = map(list, zip(*X))."
        )


def is_pair(cell: Any) -> bool:
    """Whether a cell is a sample beside a label, as data sets of torch and torchvision have them."""
    if not isinstance(cell, tuple) or len(cell) != 2:
        return False
    sample, label = cell
    if isinstance(sample, (str, bytes)) or hasattr(sample, "getpalette") or hasattr(sample, "__fspath__"):
        return isinstance(label, (int, np.integer, str))
    is_array = isinstance(sample, (np.ndarray, torch.Tensor)) and sample.ndim > 0
    return is_array and getattr(label, "ndim", 0) == 0
