"""X as a column of pictures: whether it is one, and what it lists."""

import math
import os
import sys

import numpy as np

from sklcnn.wording import shown

IMAGE_KINDS = ("paths", "encoded bytes", "PIL images")
# What reads files of data.
READERS = {
    ".csv": "what pandas.read_csv(X) reads",
    ".tsv": 'what pandas.read_csv(X, sep="\\t") reads',
    ".parquet": "what pandas.read_parquet(X) reads",
    ".npy": "np.load(X)",
    ".npz": "one array of np.load(X)",
    ".mat": "one array of scipy.io.loadmat(X)",
    ".h5": "one data set of h5py.File(X)",
    ".pt": "torch.load(X)",
    ".zip": "a list of the files in it, once it is unpacked",
}


def image_sources(X, stack=True):
    """List the images in X, if X is one of the forms that hold images one by one.

    Parameters
    ----------
    X : object
        What the user passed.
    stack : bool
        Whether a list of arrays of one size is an array of numbers, rather than images one by one.

    Returns
    -------
    sources : list or None
        Paths, encoded bytes, PIL images or arrays; None where X is anything else (numbers, arrays
        of one size), which is left to the reader of arrays.

    Raises
    ------
    TypeError
        If X mixes kinds, or is one image instead of several.
    ValueError
        If X is empty, misses images, or has other columns beside a column of images.
    """
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf":
        return None
    check_several(X)
    values = column_of_values(X)
    if values is None:
        return None
    kinds = {image_kind(value) for value in values}
    if not kinds - {"missing", None}:
        return None
    if "missing" in kinds:
        row = [image_kind(value) for value in values].index("missing")
        raise ValueError(f"X misses the image of row {row}: it is {shown(values[row])}. Leave such rows out.")
    if len(kinds) > 1 and kinds != {"paths", "encoded bytes"}:
        raise mixed_kinds_error(values)
    if stack and isinstance(X, (list, tuple)) and kinds == {"arrays"} and of_one_shape(values):
        return None
    return values


def check_several(X):
    """Refuse one image, or the name of a folder or of another file, where several images are expected."""
    kind = image_kind(X)
    if kind == "paths" and os.path.isdir(X):
        raise TypeError(
            f"X must hold several images, but is the name of a folder, {shown(X)}. Pass a list of its files, such as "
            'sorted(pathlib.Path(X).rglob("*.png")); of a folder a class, sklearn.datasets.load_files(X, '
            "load_content=False) lists files and labels."
        )
    if kind == "paths":
        remedy = READERS.get(os.path.splitext(os.fspath(X))[1].lower(), "a list: [X]")
        remedy = "sorted(glob.glob(X))" if "*" in os.fspath(X) else remedy
        raise TypeError(f"X must hold several images, but is one {type(X).__name__}, {shown(X)}. Pass {remedy}.")
    if kind in IMAGE_KINDS:
        raise TypeError(f"X must hold several images, but is one {type(X).__name__}. Pass a list: [X].")


def column_of_values(X):
    """Return the one column that X consists of as a list, None if X is a table of numbers."""
    if isinstance(X, (list, tuple)):
        values = column_of_nested(list(X))
    elif isinstance(X, np.ndarray):
        values = column_of_array(X)
    elif hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "to_series")):
        values = column_of_frame(X)
    elif hasattr(X, "to_list") and hasattr(X, "dtype"):
        values = None if is_numeric(X.dtype) else X.to_list()
    else:
        return None
    if values is not None and len(values) == 0:
        raise ValueError("X is empty: it has 0 sample(s), while a minimum of 1 is required.")
    return values


def column_of_nested(values):
    """Unwrap a list of one-element lists, as ``array.tolist()`` gives."""
    if not values or not isinstance(values[0], (list, tuple)) or not values[0]:
        return values
    if image_kind(values[0][0]) not in IMAGE_KINDS:
        return values
    longest = max(len(value) for value in values if isinstance(value, (list, tuple)))
    if longest > 1:
        raise other_columns_error("its first column", longest - 1, values[0][0])
    # What is no list of one element stays: it is named as missing, or as of another kind.
    return [value[0] if isinstance(value, (list, tuple)) and value else value for value in values]


def column_of_array(X):
    """Return the one column of an array of objects or strings."""
    if X.dtype.kind == "S":
        raise TypeError(
            f"X has dtype {X.dtype}, which cuts trailing zeros off encoded bytes. "
            "Pass a list, or an array of dtype=object."
        )
    if X.dtype.kind not in "OUT" or X.ndim not in (1, 2) or (X.ndim == 2 and X.shape[1] == 0):
        return None
    if X.ndim == 1 or X.shape[1] == 1:
        return X.ravel().tolist()
    for number, value in enumerate(X[0] if len(X) else []):
        if image_kind(value) in IMAGE_KINDS:
            raise other_columns_error(f"column {number}", X.shape[1] - 1, value)
    return None


def column_of_frame(X):
    """Return the one column of a pandas or polars DataFrame."""
    if all(is_numeric(dtype) for dtype in set(X.dtypes)):
        return None
    columns = [X.to_series(i) if hasattr(X, "to_series") else X.iloc[:, i] for i in range(X.shape[1])]
    if len(columns) == 1:
        return columns[0].to_list()
    for column in columns:
        if not is_numeric(column.dtype) and first_kind(column) is not None:
            first = next(value for value in column if image_kind(value) != "missing")
            raise other_columns_error(f"column {shown(column.name)}", len(columns) - 1, first)
    return None


def is_numeric(dtype):
    """Whether a NumPy, pandas or polars dtype is one of numbers or booleans."""
    if hasattr(dtype, "is_numeric"):  # polars
        return dtype.is_numeric() or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in "biufc"


def first_kind(values):
    """Return the kind of the first value that is not missing."""
    return next((kind for kind in map(image_kind, values) if kind != "missing"), None)


def image_kind(value):
    """Name what kind of image a value is: None if it is none, "missing" if it stands for one.

    Parameters
    ----------
    value : object

    Returns
    -------
    kind : str or None
    """
    if isinstance(value, (str, os.PathLike)):
        return "paths"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "encoded bytes"
    if "PIL.Image" in sys.modules and isinstance(value, sys.modules["PIL.Image"].Image):
        return "PIL images"
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) in (2, 3):
        return "arrays"
    return "missing" if is_missing(value) else None


def is_missing(cell):
    """Whether a cell is empty: None, NaN or a missing value of pandas."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def of_one_shape(arrays):
    """Whether all arrays have one shape, so that they can be stacked."""
    return len({tuple(array.shape) for array in arrays}) == 1


def number_formats_error(dtypes, whole, other):
    """Name a row whose numbers are integers, and one whose are not.

    Parameters
    ----------
    dtypes : {row: dtype}
    whole, other : int
        The rows.
    """
    return ValueError(
        f"X must hold arrays of integers (0 to 255) or of floats, but row {whole} is {dtypes[whole]} and row {other} "
        f"is {dtypes[other]}. Convert them to one dtype."
    )


def mixed_kinds_error(values):
    """Name the first two rows whose kinds differ."""
    names = [image_kind(value) or f"a {type(value).__name__}" for value in values]
    row = next(i for i, name in enumerate(names) if name != names[0])
    return TypeError(
        f"X must hold images of one kind, but row 0 is of {names[0]} and row {row} of {names[row]}. "
        "Convert them to one kind, such as PIL images."
    )


def other_columns_error(column, n_others, value):
    """Point from a table with images in it to the ColumnTransformer, from numbers as text to their conversion."""
    if is_number(value):
        return number_as_text_error(value, f" in {column}")
    return ValueError(
        f"X has paths, encoded images or text in {column}, beside {n_others} other column(s), but images are "
        "read from a single column. Pass that column alone, or use a ColumnTransformer that gives it to "
        "CNNFeatures."
    )


def number_as_text_error(value, where=""):
    """Point from a number that is written as text to its conversion."""
    return ValueError(
        f"X has numbers written as text{where} ({shown(value)}). Convert it, such as X.astype(float) or "
        "np.array(X, dtype=float)."
    )


def is_number(text):
    """Whether a value is a text, that of a number."""
    if not isinstance(text, str):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
