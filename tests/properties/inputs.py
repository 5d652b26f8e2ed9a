"""Samples, targets, weights and groups from recipes of plain values: what is printed is enough to rebuild them."""

import io
import itertools
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch
from PIL import Image
from scipy import sparse

# What is refused, most of it, is drawn more rarely than the rest of its table.
RARE = {"NaN", "infinity", "one too huge", "too huge", "too tiny", "subnormal", "complex64", "U8", "sparse", "matrix"}
RARE |= {"memoryview", "continuous", "None", "mixed", "bytes", "dates", "complex", "strings of numbers", "all zero"}
RARE |= {"negative", "one short", "column of ones", "one number"}


def usually_fit(table):
    """List the names in a table, those that can be fitted four times as often as the others."""
    return tuple(name for name in table for _ in range(1 if name in RARE else 4))


# Values, before they get their type


def draw_values(shape, pattern, seed):
    """Draw float64 values of a shape."""
    rng = np.random.RandomState(seed)
    values = rng.normal(size=shape)
    if pattern == "pixels":
        values = rng.randint(0, 256, size=shape).astype(float)
    elif pattern == "zeros":
        values = np.zeros(shape)
    elif pattern == "constant":
        values = np.full(shape, 7.25)
    elif pattern == "constant columns":
        values[:, ..., 0] = 3
    elif pattern == "duplicates":
        values[:] = values[:1]
    elif pattern == "offset":
        values += 1e6
    elif pattern in SPECIAL:
        values.flat[rng.randint(values.size)] = SPECIAL[pattern]
    elif pattern in SCALES:
        values *= SCALES[pattern]
    return values


SPECIAL = {"NaN": np.nan, "infinity": np.inf, "one huge": 1e38, "one too huge": 1e300}
SCALES = {"tiny": 1e-30, "too tiny": 1e-200, "huge": 1e30, "too huge": 1e200, "subnormal": 1e-310}
PATTERNS = ["normal", "pixels", "zeros", "constant", "constant columns", "duplicates", "offset", *SPECIAL, *SCALES]
DTYPES = ["float64", "float32", "float16", "longdouble", "uint8", "int8", "int16", "uint16", "int64", "uint64", "bool"]
DTYPES += [">f4", ">f8", ">i2", ">u4", "object", "fractions", "object of float32", "complex64", "U8"]


def as_dtype(values, dtype):
    with np.errstate(all="ignore"):
        if dtype == "fractions":
            finite = np.where(np.isfinite(values), values, 0)
            return np.array([Fraction(value) for value in finite.ravel()] + [None], object)[:-1].reshape(values.shape)
        if dtype == "object of float32":
            return np.array([np.float32(value) for value in values.ravel()] + [None], object)[:-1].reshape(values.shape)
        if np.dtype(dtype).kind in "iu":
            values = np.nan_to_num(values)
        return values.astype(dtype)


# Memory


class Wrapped:
    """What knows how to become an array, and no more."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)

    def __len__(self):
        return len(self.array)


_numbers = itertools.count()


def unaligned(array):
    raw = bytearray(b"x" + array.tobytes())
    return np.frombuffer(raw, dtype=array.dtype, count=array.size, offset=1).reshape(array.shape)


def strided(array):
    holder = np.zeros(tuple(2 * side for side in array.shape), dtype=array.dtype)
    view = holder[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def memory_map(array):
    path = Path(folder()) / f"map{next(_numbers)}.dat"  # one each: a file that is mapped must not be cut
    mapped = np.memmap(path, dtype=array.dtype, mode="w+", shape=array.shape)
    mapped[...] = array
    path.unlink()
    return mapped


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed rows": lambda array: np.ascontiguousarray(array[::-1])[::-1],
    "reversed": lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    "strided": strided,
    "one row again and again": lambda array: np.broadcast_to(array[:1], array.shape),
    "one value again and again": lambda array: np.broadcast_to(array.flat[0], array.shape),
    "axes moved": lambda array: np.ascontiguousarray(np.moveaxis(array, 0, -1)).transpose(
        array.ndim - 1, *range(array.ndim - 1)
    ),
    "unaligned": lambda array: array if array.dtype.hasobject else unaligned(array),
    "memory map": lambda array: array if array.dtype.hasobject else memory_map(array),
}


# Containers


def narrow(array):
    """Return numbers of a type that Arrow has."""
    return array.astype(np.float64) if array.dtype == np.longdouble else array


def native(array):
    """Return an array in the machine's byte order, which other libraries ask for."""
    return array.astype(array.dtype.newbyteorder("="))


def as_tensor(array):
    array = np.ascontiguousarray(native(array))
    torch_has_it = array.dtype.kind in "biufc" and array.dtype != np.longdouble
    return torch.from_numpy(array if torch_has_it else array.astype(float))


def strided_tensor(array):
    return as_tensor(array).repeat_interleave(2, dim=0)[::2]


def needing_gradients(array):
    tensor = as_tensor(array)
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def frame(array):
    return pd.DataFrame(array.reshape(len(array), -1), columns=[f"c{n}" for n in range(array[0].size)])


def series_of_samples(array):
    return pd.Series(list(array), index=range(5, 5 + len(array)))


FORMS = {
    "array": lambda array: array,
    "read-only": lambda array: read_only(array),
    "list": lambda array: array.tolist(),
    "tuple": lambda array: tuple(array.tolist()),
    "list of arrays": list,
    "tensor": as_tensor,
    "strided tensor": strided_tensor,
    "tensor with gradients": needing_gradients,
    "bfloat16 tensor": lambda array: as_tensor(array).to(torch.bfloat16),
    "list of tensors": lambda array: list(as_tensor(array)),
    "DataFrame": frame,
    "DataFrame of numbered columns": lambda array: pd.DataFrame(array.reshape(len(array), -1)),
    "nullable DataFrame": lambda array: frame(array).convert_dtypes(),
    "DataFrame of mixed types": lambda array: frame(array).astype({"c0": "float32"}),
    "shuffled DataFrame": lambda array: frame(native(array)).sample(frac=1, random_state=0).sort_index(),
    "Arrow DataFrame": lambda array: frame(narrow(native(array))).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda array: pl.DataFrame(native(array).reshape(len(array), -1)),
    "Arrow table": lambda array: pa.Table.from_pandas(frame(array.real.astype(float))),
    "Series of samples": series_of_samples,
    "masked array": lambda array: np.ma.masked_array(array),
    "matrix": lambda array: np.asmatrix(array.reshape(len(array), -1)),
    "wrapped": Wrapped,
    "sparse": lambda array: sparse.csr_matrix(array.reshape(len(array), -1).real.astype(float)),
    "memoryview": lambda array: memoryview(np.ascontiguousarray(array)),
}


def read_only(array):
    array = array.view()
    array.flags.writeable = False
    return array


# Pictures


@cache
def folder():
    """Return a folder for files, made once a process."""
    return mkdtemp(prefix="sklcnn-properties-")


def picture(values, mode):
    """Return a Pillow image of values 0..255, (height, width, 3)."""
    pixels = np.nan_to_num(np.abs(values) * 40 % 256).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def written(image, file_format, name):
    path = Path(folder()) / f"{name}.{file_format}"
    image.save(path)
    return path


def encoded(image, file_format):
    stream = io.BytesIO()
    image.save(stream, format=file_format)
    return stream.getvalue()


def make_pictures(sides, pattern, mode, form, seed):
    """Make pictures of some sides, each in one of the forms that pictures have."""
    images = [
        picture(draw_values((height, width, 3), pattern, seed + n), mode) for n, (height, width) in enumerate(sides)
    ]
    file_format = "png" if mode in ("RGBA", "P", "1", "I;16", "LA") or seed % 2 else "jpeg"
    if form == "PIL images":
        return images
    if form == "arrays":
        return [np.asarray(image) for image in images]
    if form == "bytes":
        return [encoded(image, file_format) for image in images]
    paths = [written(image, file_format, f"{seed}-{n}-{mode}-{pattern}") for n, image in enumerate(images)]
    if form == "Series of paths":
        return pd.Series(map(str, paths), index=range(3, 3 + len(paths)))
    if form == "column of paths":
        return pd.DataFrame({"file": list(map(str, paths))})
    return np.array(list(map(str, paths))) if form == "array of paths" else paths


PICTURE_FORMS = ["PIL images", "arrays", "bytes", "paths", "Series of paths", "column of paths", "array of paths"]
PICTURE_MODES = ["RGB", "L", "RGBA", "P", "1"]


# Targets


def draw_codes(n, n_classes, seed):
    """Draw a class for each row; all of them where there are rows enough."""
    rng = np.random.RandomState(seed)
    return rng.permutation(np.r_[np.arange(n) % n_classes, np.zeros(0, int)][:n])


LABELS = {
    "ints": lambda codes: codes * 3 - 4,
    "strings": lambda codes: np.array(["cat", "dog", "owl", "yak"])[codes],
    "long strings": lambda codes: np.array(["cat", "d" * 300, "", "\u00fc\n"], dtype=object)[codes],
    "bools": lambda codes: codes > 0,
    "whole floats": lambda codes: codes.astype(float),
    "uint8": lambda codes: codes.astype(np.uint8),
    "big-endian": lambda codes: codes.astype(">i4"),
    "objects": lambda codes: np.array([*codes.tolist(), None], dtype=object)[:-1],
    "list": lambda codes: codes.tolist(),
    "list of strings": lambda codes: [f"class {code}" for code in codes],
    "Series": lambda codes: pd.Series(codes, index=range(7, 7 + len(codes))),
    "categories": lambda codes: pd.Series(pd.Categorical.from_codes(codes, categories=list("abcd"))),
    "nullable": lambda codes: pd.Series(codes, dtype="Int64"),
    "string Series": lambda codes: pd.Series([f"c{code}" for code in codes], dtype="string"),
    "polars": lambda codes: pl.Series(codes),
    "tensor": lambda codes: torch.from_numpy(codes),
    "column": lambda codes: codes[:, None],
    "frame": lambda codes: pd.DataFrame({"y": codes}),
    "dates": lambda codes: np.datetime64("2020-01-01") + codes,
    "read-only": lambda codes: read_only(codes),
    "reversed": lambda codes: codes[::-1],
    "one-hot": lambda codes: np.eye(4, dtype=int)[codes],
    "indicators": lambda codes: indicators_of(codes),
    "bool indicators": lambda codes: indicators_of(codes).astype(bool),
    "float indicators": lambda codes: indicators_of(codes).astype(float),
    "sparse indicators": lambda codes: sparse.csr_matrix(indicators_of(codes)),
    "frame of indicators": lambda codes: pd.DataFrame(indicators_of(codes), columns=["sun", "rain", "snow"]),
    "list of indicators": lambda codes: indicators_of(codes).tolist(),
    "tensor of indicators": lambda codes: torch.from_numpy(indicators_of(codes)),
    "continuous": lambda codes: codes + 0.5,
    "NaN": lambda codes: np.where(codes == 0, np.nan, codes),
    "None": lambda codes: None,
    "mixed": lambda codes: np.array(["a", 1, 2.5, None], dtype=object)[codes],
    "bytes": lambda codes: np.array([b"a", b"b", b"c", b"d"])[codes],
}


def indicators_of(codes):
    return (codes[:, None] >> np.arange(3)) & 1


VALUES = {
    "floats": lambda values: values,
    "float32": lambda values: values.astype(np.float32),
    "float16": lambda values: values.astype(np.float16),
    "big-endian": lambda values: values.astype(">f8"),
    "ints": lambda values: np.round(values * 10).astype(int),
    "bools": lambda values: values > 0,
    "huge": lambda values: values * 1e200,
    "too huge": lambda values: values * 1e305,
    "tiny": lambda values: values * 1e-200,
    "subnormal": lambda values: values * 1e-310,
    "constant": lambda values: np.full(len(values), 5.5),
    "zeros": lambda values: np.zeros(len(values)),
    "offset": lambda values: values + 1e9,
    "list": lambda values: values.tolist(),
    "objects": lambda values: values.astype(object),
    "fractions": lambda values: [Fraction(value) for value in values],
    "Series": lambda values: pd.Series(values, index=range(7, 7 + len(values))),
    "nullable": lambda values: pd.Series(values, dtype="Float64"),
    "polars": lambda values: pl.Series(values),
    "frame": lambda values: pd.DataFrame({"a": values, "b": -values}),
    "tensor": lambda values: torch.from_numpy(values),
    "column": lambda values: values[:, None],
    "two columns": lambda values: np.stack([values, values**2], axis=1),
    "two columns, one constant": lambda values: np.stack([values, 0 * values + 3], axis=1),
    "Fortran columns": lambda values: np.asfortranarray(np.stack([values, values**2], axis=1)),
    "tensor of columns": lambda values: torch.from_numpy(np.stack([values, -values], axis=1)),
    "reversed": lambda values: values[::-1],
    "read-only": lambda values: read_only(values),
    "strings of numbers": lambda values: [f"{value:.3f}" for value in values],
    "NaN": lambda values: np.where(values == values.max(), np.nan, values),
    "complex": lambda values: values + 1j,
    "None": lambda values: None,
}


def make_targets(kind, n, n_classes, seed, classifies):
    if classifies:
        return LABELS[kind](draw_codes(n, n_classes, seed))
    return VALUES[kind](np.random.RandomState(seed).normal(size=n))


# Weights and groups

WEIGHTS = {
    "ones": lambda n, rng: np.ones(n),
    "random": lambda n, rng: rng.rand(n),
    "some zero": lambda n, rng: (rng.rand(n) > 0.3).astype(float),
    "first zero": lambda n, rng: np.r_[0.0, np.ones(n - 1)],
    "all zero": lambda n, rng: np.zeros(n),
    "negative": lambda n, rng: rng.rand(n) - 0.5,
    "ints": lambda n, rng: rng.randint(0, 3, n),
    "bools": lambda n, rng: rng.rand(n) > 0.3,
    "huge": lambda n, rng: rng.rand(n) * 1e290,
    "tiny": lambda n, rng: rng.rand(n) * 1e-290,
    "subnormal": lambda n, rng: rng.rand(n) * 1e-310,
    "far apart": lambda n, rng: 10.0 ** rng.uniform(-200, 200, n),
    "list": lambda n, rng: rng.rand(n).tolist(),
    "Series": lambda n, rng: pd.Series(rng.rand(n), index=range(9, 9 + n)),
    "tensor": lambda n, rng: torch.from_numpy(rng.rand(n)),
    "fractions": lambda n, rng: [Fraction(value) for value in rng.rand(n)],
    "float16": lambda n, rng: rng.rand(n).astype(np.float16),
    "one short": lambda n, rng: np.ones(n - 1),
    "column of ones": lambda n, rng: np.ones((n, 1)),
    "one number": lambda n, rng: 2.0,
    "NaN": lambda n, rng: np.r_[np.nan, np.ones(n - 1)],
}
GROUPS = {
    "numbers": lambda n, rng: rng.randint(0, 4, n),
    "strings": lambda n, rng: np.array(["a", "b", "c", "d"])[rng.randint(0, 4, n)],
    "one": lambda n, rng: np.zeros(n, int),
    "each its own": lambda n, rng: np.arange(n),
    "list": lambda n, rng: rng.randint(0, 3, n).tolist(),
    "Series": lambda n, rng: pd.Series(rng.randint(0, 3, n), index=range(9, 9 + n)),
    "categories": lambda n, rng: pd.Series(pd.Categorical.from_codes(rng.randint(0, 3, n), categories=list("xyz"))),
    "tensor": lambda n, rng: torch.from_numpy(rng.randint(0, 3, n)),
    "floats": lambda n, rng: rng.randint(0, 3, n) + 0.5,
    "mixed": lambda n, rng: np.array(["a", 1, None], dtype=object)[rng.randint(0, 3, n)],
    "one short": lambda n, rng: np.zeros(n - 1),
    "column": lambda n, rng: rng.randint(0, 3, (n, 1)),
}
