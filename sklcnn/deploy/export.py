"""One file from a fitted estimator or Pipeline."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklcnn import __version__
from sklcnn.deploy.extras import require_onnx
from sklcnn.deploy.program import input_shape
from sklcnn.files import check_regular
from sklcnn.process import warnings_hidden
from sklcnn.signals import raise_if_signalled
from sklcnn.wording import LINE, cut, short_cause, shortened, shown

N_CHECKED, TOLERANCE = 5, 1e-4  # rows on which file and estimator are compared, and by how much they may differ
# What is drawn for that has no names of columns, and values in channels that were constant in fit.
NOT_OF_THE_USER = r"X does not have valid feature names|\w+: channel \d+ of X .*was .* in all training rows"
ASKED = ("predict_proba", "predict", "transform")  # whose outputs a file has


def export_onnx(estimator: Any, path: Any, *, input_dtype: Any = None) -> Path:
    """Write a fitted estimator, or a Pipeline with one, as an ONNX file.

    The file takes X as the estimator does, as an array with any number of rows, and contains scaling, normalisation,
    resizing and probabilities. Its outputs are `label` and `probabilities` for a classifier, and `variable`, in the
    units of y, for a regressor. Before it is written it is run on a few rows, and must agree with the estimator. It
    computes in float32, also where `precision` is "bfloat16" or "float64".

    Parameters
    ----------
    estimator : estimator
        Fitted: CNNClassifier, CNNRegressor, CNNFeatures, or a Pipeline with one among steps that skl2onnx converts;
        of a search, the best estimator; of a FrozenEstimator, what is in it.
    path : str or path-like
        Of the file. An old file is replaced once the new one is complete; of a link, the file that it leads to.
    input_dtype : dtype, default=None
        Format of the numbers in X. None: uint8 where `fit` saw images of integers 0..255 or pictures of 8 bits, else
        float32, for signals and volumes too.

    Returns
    -------
    path : Path
        Of the file.

    Raises
    ------
    ImportError
        If the extra is not installed: `pip install "sklcnn[onnx]"`; or if PyTorch is older than 2.9.
    OSError
        If the file cannot be written there.
    NotFittedError
        If the estimator is not fitted.
    TypeError, ValueError
        If a step cannot be converted, no file can have such a name, or the file does not agree with the estimator. No
        file is written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sklcnn import CNNClassifier, export_onnx
    >>> X, y = load_digits(return_X_y=True)
    >>> cnn = CNNClassifier(input_shape=(8, 8), filters=(8,), max_epochs=1, random_state=0).fit(X[:200], y[:200])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_onnx(cnn, Path(folder, "digits.onnx")).name
    'digits.onnx'
    """
    require_onnx()
    path = _as_path(path)
    place = _find_place(path)
    estimator = _bare(estimator)
    steps = [estimator]
    if hasattr(estimator, "steps"):
        estimator = Pipeline(list(_flatten(estimator)))
        steps = [step for _, step in estimator.steps]
    is_ours = [hasattr(step, "onnx_converter") and hasattr(step, "_fitted") for step in steps]
    ours = is_ours.index(True) if any(is_ours) else None
    if ours is None:
        raise TypeError(
            f"export_onnx takes a CNNClassifier, CNNRegressor or CNNFeatures, or a Pipeline with one; got "
            f"{shown(estimator)}. Pass other estimators to skl2onnx.to_onnx."
        )
    from sklcnn.deploy.converter import TENSOR_TYPES
    from sklcnn.deploy.source import in_float32, source_of
    from sklcnn.deploy.steps import convert

    source, before = source_of(steps[ours]), steps[:ours]
    dtype = _find_dtype(source.schema, not before, input_dtype)
    if dtype not in TENSOR_TYPES:
        raise TypeError(
            f"input_dtype={dtype} is no format that a file takes. Pass one of "
            f"{', '.join(str(known) for known in TENSOR_TYPES)}."
        )
    shape = _find_shape(source.schema, before)
    model = convert(estimator, TENSOR_TYPES[dtype]([None, *shape]))
    _describe(model, source, shape, dtype)
    data = model.SerializeToString()
    if hasattr(estimator, "steps"):
        exact: Any = Pipeline(list(estimator.steps))
        exact.steps[ours] = (exact.steps[ours][0], in_float32(steps[ours]))
    else:
        exact = in_float32(estimator)
    _compare(exact, data, _examples(source.schema, shape, dtype, before), source if steps[ours] is steps[-1] else None)
    _write(place, data)
    return path


def _bare(estimator: Any) -> Any:
    """Return what is in a FrozenEstimator or a search, which computes what they do, and has a converter."""
    while True:
        inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
        inner = getattr(inner, "best_estimator_", inner)
        if inner is estimator:
            return estimator
        estimator = inner


def _flatten(pipeline) -> Iterator[tuple[str, Any]]:
    """Yield the steps of a Pipeline and of Pipelines inside it, without "passthrough"."""
    for name, step in pipeline.steps:
        step = _bare(step)
        if hasattr(step, "steps"):
            yield from ((f"{name}.{inner_name}", inner) for inner_name, inner in _flatten(step))
        elif hasattr(step, "fit"):
            yield name, step


def _find_dtype(schema, is_first, given) -> np.dtype:
    """Find the number format of X: the one given, or the one that `fit` saw."""
    if given is not None:
        try:
            return np.dtype(given)
        except TypeError:
            raise TypeError(f"input_dtype={shown(given)} is no format of numbers. Pass one such as float32.") from None
    return np.dtype(np.uint8 if is_first and schema.integer else np.float32)


def _find_shape(schema, before) -> tuple[int | None, ...]:
    """Find the shape of one row of X, as the first step takes it."""
    if not before:
        return input_shape(schema)
    if not hasattr(before[0], "n_features_in_"):
        raise TypeError(
            f"export_onnx: {type(before[0]).__name__} does not say how many columns it takes: its fit sets no "
            "n_features_in_. Export the steps after it."
        )
    return (before[0].n_features_in_,)


def _describe(model, source, shape, dtype):
    """Describe the file's input and output in its metadata."""
    from onnx.helper import set_model_props

    described = {
        "sklcnn_version": __version__,
        "estimator": source.name,
        "input_shape": json.dumps([None, *shape]),
        "input_dtype": str(dtype),
        "sample_shape": json.dumps(list(source.schema.sample_shape)),
    }
    if source.labels is not None:
        described["labels"] = json.dumps(source.labels.tolist())
    set_model_props(model, described)


def _examples(schema, shape, dtype, before) -> np.ndarray:
    """Make rows of the magnitude that `fit` saw."""
    random = np.random.RandomState(0)
    glance = schema.glance
    low, high = (0.0, 1.0) if glance is None else (glance.low, glance.high)
    if high == low:  # a constant
        high += max(abs(low), 1.0) * 1e-6
    if max(high, -low) > float(np.finfo(np.float32).max):
        raise ValueError(
            f"export_onnx: a file computes in float32, which does not hold values as large as those of X in fit, "
            f"{max(high, -low):.3g}. Scale X and fit again."
        )
    if before:
        try:  # rows that the steps before turn into such values
            rows: Any = random.uniform(low, high, (N_CHECKED, *input_shape(schema)))  # type: ignore[arg-type]
            for step in reversed(before):
                rows = step.inverse_transform(rows)
            return np.asarray(rows).reshape(N_CHECKED, *shape).astype(dtype)
        except Exception as error:
            raise_if_signalled(error)  # else: not every step can be undone
    size = [2 * schema.sample_shape[1 + axis] + 1 if n is None else n for axis, n in enumerate(shape)]
    if dtype.kind in "ui":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        low, high = (min(max(value, least), most) for value in (low, max(high, 1)))
        return random.randint(int(low), int(high) + 1, (N_CHECKED, *size)).astype(dtype)
    return random.uniform(low, high, (N_CHECKED, *size)).astype(dtype)


def _compare(estimator, data, X, source):
    """Run the file on some rows, and compare its outputs with the estimator's.

    `source` is what the last step computes from, where that is of this package; else None.
    """
    outputs, expected = _run(data, X), _ask(estimator, X, ASKED)
    found = outputs[1 if hasattr(estimator, "predict_proba") else 0]
    expected, found = (np.asarray(values, float).reshape(len(X), -1) for values in (expected, found))
    if source is not None and source.deviation is not None:
        unit = source.deviation  # of the targets: the network's own unit
    else:
        unit = 1.0 if hasattr(estimator, "predict_proba") else np.abs(expected).max()
    name = type(estimator).__name__ if source is None else source.name
    # The file writes float32, to which values that are large beside their deviation are rounded.
    allowed = TOLERANCE * unit + 4 * np.finfo(np.float32).eps * np.abs(expected)
    if expected.shape != found.shape or not np.all(np.abs(expected - found) <= allowed):
        differs = np.abs(expected - found).max() if expected.shape == found.shape else found.shape
        raise ValueError(
            f"export_onnx: the file does not agree with {name}: it differs by {cut(str(differs), LINE)}. Nothing was "
            "written."
        )
    if hasattr(estimator, "predict_proba"):
        _compare_labels(_ask(estimator, X, ["predict"]), outputs[0], expected, name)


def _compare_labels(expected, found, probabilities, name):
    """Compare the labels of those rows whose probabilities are not as good as equal."""
    two = np.sort(probabilities, axis=1)[:, -2:]
    clear = two[:, 1] - two[:, 0] > 2 * TOLERANCE
    if np.ndim(expected) > 1:  # one probability a label
        clear = (abs(probabilities - 0.5) > TOLERANCE).all(axis=1)
    if not np.array_equal(np.asarray(expected)[clear], np.asarray(found)[clear]):
        raise ValueError(
            f"export_onnx: the file does not agree with {name}: it has other labels, such as "
            f"{shown(np.ravel(found)[:1].tolist())} for {shown(np.ravel(expected)[:1].tolist())}. Nothing was written."
        )


def _ask(estimator, X, methods):
    """Call the first of some methods that an estimator has on an array, whatever its columns were called in fit."""
    method = getattr(estimator, next(name for name in methods if hasattr(estimator, name)))
    try:
        with warnings_hidden(UserWarning, NOT_OF_THE_USER):
            return method(X)
    except Exception as error:
        raise_if_signalled(error)
        raise ValueError(
            f"export_onnx: the estimator refuses the rows on which the file is to be tried: {shortened(error)} Export "
            "the steps after the one that does."
        ) from short_cause(error)


def _run(data, X):
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: X})
    except Exception as error:
        raise_if_signalled(error)
        raise ValueError(
            f"export_onnx: onnxruntime does not run what skl2onnx has made: {cut(str(error), 2 * LINE)} Nothing was "
            "written."
        ) from short_cause(error)


def _as_path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"export_onnx: path must be a str or path-like; got {shown(path)}. Pass the estimator first, then the "
            "path: export_onnx(estimator, path)."
        )
    return Path(path)


def _find_place(path: Path) -> Path:
    """Check, before anything is computed, that a file can be written there; return its path, links followed."""
    if "\0" in str(path):
        raise ValueError(
            f"export_onnx: no file can have the name {shown(str(path))}. Pass one without null characters."
        )
    try:
        check_regular(os.stat(path), path)
    except IsADirectoryError:
        raise IsADirectoryError(f"export_onnx: {shown(str(path))} is a folder. Pass the path of a file.") from None
    except (FileNotFoundError, NotADirectoryError):
        pass  # a new file, or none can be there
    except OSError as error:
        raise_if_signalled(error)
        raise OSError(
            f"export_onnx: {shown(str(path))} cannot be written ({error.strerror}). Pass the path of a file."
        ) from None
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    if not place.parent.is_dir():
        raise FileNotFoundError(f"export_onnx: there is no folder {shown(str(place.parent))}. Make it first.")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"export_onnx: no file can be written into the folder {shown(str(place.parent))}. Pass a path in "
            "another one."
        )
    return place


def _write(path: Path, data: bytes) -> None:
    """Write a file under another name, and rename it once it is complete."""
    aside = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.onnx")  # short: names end at 255 characters
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise_if_signalled(error)
        raise OSError(error.errno, error.strerror, str(path)) from None  # the other name is not the user's
    finally:
        aside.unlink(missing_ok=True)
