"""Convolutional networks that behave like any other scikit-learn estimator."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklcnn.classifier import CNNClassifier
    from sklcnn.deploy.export import export_onnx
    from sklcnn.features import CNNFeatures
    from sklcnn.regressor import CNNRegressor

__version__ = "0.1.0"
__all__ = ["TRUSTED_TYPES", "CNNClassifier", "CNNFeatures", "CNNRegressor", "export_onnx"]

# What `skops.io.load(file, trusted=TRUSTED_TYPES)` is told to trust: no other type of this package is in a saved file.
TRUSTED_TYPES = ("sklcnn.classifier.CNNClassifier", "sklcnn.features.CNNFeatures", "sklcnn.regressor.CNNRegressor")

_ROOMS = {
    "CNNClassifier": "classifier",
    "CNNFeatures": "features",
    "CNNRegressor": "regressor",
    "export_onnx": "deploy.export",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'sklcnn' has no attribute {name!r}")
    value = getattr(import_module(f"sklcnn.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
