"""One file from a fitted estimator or Pipeline."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from sklcnn import __version__
from sklcnn.deploy.extras import require_onnx
from sklcnn.deploy.program import input_shape
from sklcnn.wording import LINE, cut, short_cause, shown

N_CHECKED, TOLERANCE = 5, 1e-4  # rows that the file is tried on, and by how much it may differ


def export_onnx(estimator: Any, path: Any, *, input_dtype: Any = None) -> Path:
    """Write a fitted estimator, or a Pipeline with one, as an ONNX file.

    The file takes what the estimator takes, as an array of any number of rows, and does all that it does: scaling,
    normalisation, resizing, probabilities. It gives `label` and `probabilities` of a classifier, `variable` of a
    regressor, in its units. Before it is written it is run on a few rows, and must agree with the estimator.

    Parameters
    ----------
    estimator : estimator
        Fitted: CNNClassifier, CNNRegressor, CNNFeatures, or a Pipeline with one among steps that skl2onnx converts.
    path : str or path-like
        Of the file. It is replaced when the new one is whole.
    input_dtype : dtype, default=None
        Format of the numbers in X. None: uint8 where `fit` saw integers 0..255 or pictures, else float32.

    Returns
    -------
    path : Path

    Raises
    ------
    ModuleNotFoundError
        If the extra is not installed: `pip install "sklcnn[onnx]"`.
    OSError
        If the file cannot be written there.
    NotFittedError
        If the estimator is not fitted.
    TypeError, ValueError
        If a step cannot be converted, or the file does not agree with the estimator. No file is written then.
    """
    require_onnx()
    path = _find_place(path)
    steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    ours = next((step for step in steps if hasattr(step, "onnx_converter") and hasattr(step, "_fitted")), None)
    if ours is None:
        raise TypeError(
            f"export_onnx takes a CNNClassifier, CNNRegressor or CNNFeatures, or a Pipeline with one; got "
            f"{shown(estimator)}. Pass other estimators to skl2onnx.to_onnx."
        )
    from sklcnn.deploy.source import source_of

    source = source_of(ours)
    first = steps[0]
    dtype = _find_dtype(source.schema, first is ours, input_dtype)
    shape = input_shape(source.schema) if first is ours else (first.n_features_in_,)
    model = _convert(estimator, shape, dtype)
    _describe(model, source, shape, dtype)
    data = model.SerializeToString()
    _compare(estimator, data, _examples(source.schema, shape, dtype), source.name)
    _write(path, data)
    return path


def _find_dtype(schema, is_first, given) -> np.dtype:
    """Find the format of X: that which was asked for, or that which `fit` saw."""
    if given is not None:
        return np.dtype(given)
    return np.dtype(np.uint8 if is_first and (schema.mode is not None or schema.integer) else np.float32)


def _convert(estimator, shape, dtype):
    """Let skl2onnx convert all steps."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.exceptions import MissingShapeCalculator
    from sklearn.base import is_classifier

    from sklcnn.deploy.converter import TENSOR_TYPES

    if dtype not in TENSOR_TYPES:
        raise TypeError(
            f"input_dtype={dtype} is no format that a file takes. Pass one of "
            f"{', '.join(str(known) for known in TENSOR_TYPES)}."
        )
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    options = {id(last): {"zipmap": False}} if is_classifier(last) else None
    try:
        return convert_sklearn(
            estimator, initial_types=[("X", TENSOR_TYPES[dtype]([None, *shape]))], options=options, target_opset=18
        )
    except MissingShapeCalculator as error:
        names = [type(step).__name__ for _, step in getattr(estimator, "steps", [])]
        step = next((name for name in names if f"'{name}'" in str(error) or f".{name}'" in str(error)), "a step")
        raise TypeError(
            f"export_onnx: skl2onnx has no converter for {step}. Export the steps that follow it, or register one "
            "with skl2onnx.update_registered_converter."
        ) from short_cause(error)


def _describe(model, source, shape, dtype):
    """Write into the file's metadata what it takes and gives."""
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


def _examples(schema, shape, dtype) -> np.ndarray:
    """Make rows of the magnitude that `fit` saw."""
    random = np.random.RandomState(0)
    size = [2 * schema.sample_shape[1 + axis] + 1 if n is None else n for axis, n in enumerate(shape)]
    glance = schema.glance
    low, high = (0.0, 1.0) if glance is None else (glance.low, max(glance.high, glance.low + 1e-6))
    if dtype.kind in "ui":
        low, high = max(low, np.iinfo(dtype).min), min(max(high, 1), np.iinfo(dtype).max)
        return random.randint(int(low), int(high) + 1, (N_CHECKED, *size)).astype(dtype)
    return random.uniform(low, high, (N_CHECKED, *size)).astype(dtype)


def _compare(estimator, data, X, name):
    """Run the file on some rows, and compare what it gives with the estimator."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: X})
    if hasattr(estimator, "predict_proba"):
        expected = np.asarray(estimator.predict_proba(X))
        found = found[1]
    else:
        method = estimator.predict if hasattr(estimator, "predict") else estimator.transform
        expected, found = np.asarray(method(X)), found[0]
    expected, found = (np.asarray(values, float).reshape(len(X), -1) for values in (expected, found))
    unit = max(1.0, float(np.abs(expected).max()))
    if expected.shape != found.shape or not np.abs(expected - found).max() <= TOLERANCE * unit:
        differs = np.abs(expected - found).max() if expected.shape == found.shape else found.shape
        raise ValueError(
            f"export_onnx: the file does not agree with {name}: it differs by {cut(str(differs), LINE)}. Nothing was "
            "written."
        )


def _find_place(path: Any) -> Path:
    """Check, before anything is computed, that a file can be written there."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"export_onnx: there is no folder {shown(str(path.parent))}. Make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"export_onnx: {shown(str(path))} is a folder. Pass the path of a file.")
    return path


def _write(path: Path, data: bytes) -> None:
    """Write a file aside, and put it in its place when it is whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
