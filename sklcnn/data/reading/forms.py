"""X in the forms of other libraries, turned into what is read: arrays, tables of numbers, lists of samples.

Columns whose cells are samples themselves (arrays, lists, Series, the lists of parquet and Arrow, the dicts in which
Hugging Face's data sets keep encoded images) become lists of samples. What does not hold its samples in memory (data
loaders, generators, open files) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, ValuesView
from typing import Any

import numpy as np
import torch

from sklcnn.data.pictures.columns import column_of_frame, is_missing, is_numeric
from sklcnn.data.plain import plain_values
from sklcnn.data.reading.kinds import check_cells, check_kind
from sklcnn.data.reading.texts import check_text
from sklcnn.wording import shown

FIRST_ROWS = 64  # that are enough to see what X holds


def plain_form(X: Any, estimator: str) -> Any:
    """Return a column of samples as a list, Arrow's tables as those of pandas, and anything else as it is.

    Parameters
    ----------
    X : object
        What the user passed.
    estimator : str

    Returns
    -------
    X : object
        Cells that were nested are a list of arrays; encoded images in dicts are a list of bytes or of paths.

    Raises
    ------
    TypeError, ValueError
        If X is no collection of samples; if cells are missing, or texts of numbers, or samples lie across columns.
    """
    if isinstance(X, torch.Tensor) or (isinstance(X, np.ndarray) and X.dtype.kind not in "OUT"):
        return X
    check_kind(X, estimator)
    X = from_arrow(X)
    if isinstance(X, (Sequence, ValuesView)) and not isinstance(X, (list, tuple, str, bytes, bytearray, memoryview)):
        X = list(X)
    cells = cells_of(X)
    if cells is None:
        check_one_column(X, estimator)
        return X
    samples = _samples_in(cells, X, estimator)
    return _plain_samples(X if samples is None else samples, estimator)


def _samples_in(cells, X, estimator):
    """Return the samples that the cells of a column hold; None where the cells are the samples themselves."""
    first = next((cell for cell in cells if not is_missing(cell)), None)
    if isinstance(first, list) and len(first) == 1 and isinstance(first[0], Mapping):
        cells, first = [cell[0] if isinstance(cell, list) and cell else cell for cell in cells], first[0]
    if isinstance(first, Mapping) and first.keys() & {"bytes", "path"}:
        return [encoded_image(cell, row) for row, cell in enumerate(cells)]
    check_cells(cells, first, estimator)
    if isinstance(first, (str, bytes)):
        check_text(first, estimator)
    if is_nested(first) and not (isinstance(X, (list, tuple)) and is_plain_sample(first)):
        return [nested_sample(cell, row) for row, cell in enumerate(cells)]
    return None


def _plain_samples(samples, estimator):
    """Make arrays of the tensors in a list of samples, and refuse masked arrays."""
    if not isinstance(samples, (list, tuple)):
        return samples
    if any(isinstance(sample, (torch.Tensor, np.ma.MaskedArray)) for sample in samples):
        return [plain_values(sample, estimator, "in X a sample") for sample in samples]
    return samples


def from_arrow(X: Any) -> Any:
    """Turn pyarrow's tables and arrays into pandas' or NumPy's."""
    if not type(X).__module__.startswith("pyarrow"):
        return X
    if hasattr(X, "column_names") and X.num_columns == 1 and is_tensor_column(X.column(0)):
        X = X.column(0)
    if not hasattr(X, "to_pandas"):  # a tensor, which is no column of one
        return X.to_numpy() if hasattr(X, "to_numpy") else X
    if not is_tensor_column(X):
        return X.to_pandas()
    chunks = X.chunks if hasattr(X, "chunks") else [X]
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in chunks])


def is_tensor_column(column: Any) -> bool:
    """Whether an Arrow array holds arrays of one shape, which pandas would have flat."""
    return getattr(getattr(column, "type", None), "extension_name", "") == "arrow.fixed_shape_tensor"


def cells_of(X: Any) -> list | None:
    """List the cells of X, if it is a list or one column of something other than numbers."""
    if isinstance(X, (list, tuple)):
        return list(X)
    if isinstance(X, np.ndarray):
        one_column = X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)
        return X.ravel().tolist() if one_column and X.dtype.kind in "OUT" else None
    if is_frame(X):
        if X.shape[1] != 1:
            return None
        X = columns_of(X)[0]
    if not (hasattr(X, "to_list") and hasattr(X, "dtype")) or is_numeric(X.dtype):
        return None
    # polars makes arrays of lists faster than lists of lists, but old ones make empty arrays of what is missing.
    has_arrays = str(X.dtype).startswith(("List(", "Array(")) and not X.null_count()
    return list(X.to_numpy()) if has_arrays else X.to_list()


def is_frame(X: Any) -> bool:
    """Whether X is a table of pandas or polars."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "to_series"))


def is_table_of_numbers(X: Any) -> bool:
    """Whether X is a table of numbers, and not one column of samples, by its types and first rows."""
    given = first_rows(X)
    X = from_arrow(given)
    cells = cells_of(X)
    if cells is None:
        if is_frame(X):
            column_of_frame(X)  # paths beside other columns are an error
        return X is given or is_frame(X)  # Arrow's tensors are no table
    first = next((cell for cell in cells if not is_missing(cell)), None)
    return first is None or isinstance(first, (int, float, complex, np.number))


def first_rows(X: Any) -> Any:
    """Return the first rows of X, if it is a table, column or array."""
    if hasattr(X, "head"):
        return X.head(FIRST_ROWS)
    if type(X).__module__.startswith("pyarrow") and hasattr(X, "slice"):
        return X.slice(0, FIRST_ROWS)
    return X[:FIRST_ROWS] if isinstance(X, np.ndarray) else X


def columns_of(X: Any) -> list:
    """List the columns of a table of pandas or polars."""
    return [X.to_series(i) if hasattr(X, "to_series") else X.iloc[:, i] for i in range(X.shape[1])]


def is_nested(cell: Any) -> bool:
    """Whether a cell holds numbers, or lists of such."""
    if isinstance(cell, (list, tuple)):
        return len(cell) > 0 and not isinstance(cell[0], (str, bytes, Mapping))
    if isinstance(cell, (np.ndarray, torch.Tensor)):
        return cell.ndim > 0
    return hasattr(cell, "to_numpy") and hasattr(cell, "__len__")  # a Series, and no Timestamp


def is_plain_sample(cell: Any) -> bool:
    """Whether a sample in a list is of a kind that NumPy stacks itself."""
    if isinstance(cell, (list, tuple)):
        return len(cell) == 0 or not hasattr(cell[0], "to_numpy")
    return isinstance(cell, torch.Tensor) or (isinstance(cell, np.ndarray) and cell.dtype.kind != "O")


def nested_sample(cell: Any, row: int) -> Any:
    """Turn the cell of a row into an array of numbers.

    Raises
    ------
    ValueError
        If it is missing, or holds lists of differing lengths.
    """
    if is_missing(cell):
        raise ValueError(f"X misses the sample of row {row}: it is {shown(cell)}. Leave such rows out.")
    try:
        return as_array(cell)
    except ValueError as error:
        raise ValueError(
            f"X holds in row {row} lists of differing lengths, which are no array. Pad or cut them to one length."
        ) from error


def as_array(cell: Any) -> Any:
    """Stack lists, Series and arrays within each other."""
    if isinstance(cell, torch.Tensor):
        return cell
    cell = cell.to_numpy() if hasattr(cell, "to_numpy") else cell
    if isinstance(cell, (list, tuple)) and any(hasattr(part, "to_numpy") for part in cell):
        return np.stack([as_array(part) for part in cell])
    array = np.asarray(cell)
    if array.dtype.kind == "O" and array.size and is_nested(array.flat[0]):
        return np.stack([as_array(part) for part in array])
    return array


def encoded_image(cell: Any, row: int) -> Any:
    """Return the bytes that a cell {"bytes": ..., "path": ...} holds, or else its path; any other cell as it is.

    Raises
    ------
    ValueError
        If it holds neither.
    """
    if not isinstance(cell, Mapping) and not is_missing(cell):
        return cell
    given: Mapping = {} if is_missing(cell) else cell
    content: Any = given.get("bytes")
    if isinstance(content, (np.ndarray, list)):  # bytes as numbers
        content = np.asarray(content, dtype=np.uint8).tobytes()
    if is_missing(content) or len(content) == 0:
        content = None if is_missing(given.get("path")) else given.get("path")
    if content is None:
        raise ValueError(f"X misses the image of row {row}: it has neither bytes nor a path. Leave such rows out.")
    return content


def check_one_column(X: Any, estimator: str) -> None:
    """Refuse a table whose samples lie across several columns of arrays, as in sktime's nested tables.

    Raises
    ------
    ValueError
    """
    if not is_frame(X) or X.shape[1] < 2 or all(is_numeric(dtype) for dtype in set(X.dtypes)):
        return
    for column in columns_of(X):
        if not len(column) or is_numeric(column.dtype):
            continue
        cell = next(iter(column))
        if isinstance(cell, (str, bytes)):
            check_text(cell, estimator, f"column {shown(column.name)} of X")
        if isinstance(cell, Mapping):
            raise ValueError(
                f"{estimator}: X holds dicts in column {shown(column.name)}, beside {X.shape[1] - 1} other column(s), "
                "but images are read from a single column. Pass that column alone, or use a ColumnTransformer that "
                "gives it to CNNFeatures."
            )
        if is_nested(cell):
            raise ValueError(
                f"{estimator}: X holds arrays or lists in column {shown(column.name)}, beside {X.shape[1] - 1} other "
                "column(s). Pass one column; or, where columns are the channels of signals of one length, "
                "np.stack([np.stack([np.asarray(cell) for cell in X[name]]) for name in X.columns], axis=1) with "
                'spatial_dims=1 and data_format="channels_first".'
            )
