"""The steps of a Pipeline, as skl2onnx converts them; and which one it cannot convert."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from sklearn.base import is_classifier

from sklcnn.deploy.convertible import OnnxConvertible
from sklcnn.signals import raise_if_signalled
from sklcnn.wording import LINE, cut, short_cause

OPSET = {"": 18, "ai.onnx.ml": 3}  # what torch's exporter writes; what all of skl2onnx's converters support
PACKAGE = Path(__file__).parents[1]


def convert(estimator: Any, input_type: Any) -> Any:
    """Let skl2onnx convert an estimator, or all steps of a Pipeline.

    Parameters
    ----------
    estimator : estimator
    input_type : skl2onnx's type of X

    Returns
    -------
    model : onnx.ModelProto

    Raises
    ------
    TypeError, ValueError
        If a step cannot be converted; the message says which, and why.
    """
    try:
        return _convert(estimator, input_type)
    except Exception as error:
        raise_if_signalled(error)
        if PACKAGE in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parents:
            raise  # an error of this package says it already
        raise _refusal(estimator, error) from short_cause(error)


def _convert(estimator, input_type):
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    arguments = {"initial_types": [("X", input_type)], "target_opset": OPSET}
    if not is_classifier(last):
        return convert_sklearn(estimator, **arguments)
    try:  # probabilities as an array: by default some classifiers give dictionaries
        return convert_sklearn(estimator, **arguments, options={id(last): {"zipmap": False}})
    except NameError as error:
        if "zipmap" not in str(error):
            raise
        # A classifier without probabilities lacks the option, and must be given another: without any, skl2onnx adds it.
        return convert_sklearn(estimator, **arguments, options={id(last): {"nocl": False}})


def _refusal(estimator, error):
    """Say which step cannot be converted."""
    steps = getattr(estimator, "steps", [("", estimator)])
    for place, (name, step) in enumerate(steps):
        found = _find_culprit(step)
        if found is None:
            continue
        culprit, reason = found
        ours = next(k for k, (_, other) in enumerate(steps) if isinstance(other, OnnxConvertible))
        others = "after it" if place < ours else "before it"
        missing = isinstance(reason, MissingConverter | MissingShapeCalculator)
        who = type(culprit).__name__
        why = f"skl2onnx has no converter for {who}" if missing else _first_line(reason)
        if who not in why:
            why = f"{who}: {why}"
        return (TypeError if missing else ValueError)(
            f"export_onnx: step {name!r} cannot be converted: {why}. Export the steps {others}, or register a "
            "converter with skl2onnx.update_registered_converter."
        )
    return ValueError(f"export_onnx: skl2onnx cannot convert {type(estimator).__name__}: {_first_line(error)}.")


def _find_culprit(estimator) -> tuple[Any, Exception] | None:
    """Find the innermost part of an estimator that cannot be converted, and the error; None if all can."""
    if isinstance(estimator, OnnxConvertible) or not hasattr(estimator, "fit"):  # "passthrough", "drop", None
        return None
    try:
        _convert(estimator, FloatTensorType([None, getattr(estimator, "n_features_in_", None)]))
    except Exception as error:
        raise_if_signalled(error)
        inner = (_find_culprit(part) for part in _parts_of(estimator))
        return next((found for found in inner if found is not None), (estimator, error))
    return None


def _parts_of(estimator) -> Iterator[Any]:
    """Yield the fitted estimators that another is made of."""
    for attribute in ("steps", "transformer_list", "transformers_"):
        for entry in getattr(estimator, attribute, []):
            yield entry[1]
    for entry in getattr(estimator, "estimators_", []):
        yield entry
    for attribute in ("best_estimator_", "estimator_", "regressor_", "final_estimator_"):
        yield getattr(estimator, attribute, None)


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0].partition("You may raise an issue")[0].rstrip(". ") if lines else ""
    return cut(said, 2 * LINE) or type(error).__name__
