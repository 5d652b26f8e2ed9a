"""The packages of the extra `onnx`."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "skl2onnx")


def require_onnx() -> None:
    """Check that the packages of the extra are installed.

    Raises
    ------
    ModuleNotFoundError
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise ModuleNotFoundError(
                f'export_onnx needs {package}, which is not installed. Run: pip install "sklcnn[onnx]"', name=package
            )
