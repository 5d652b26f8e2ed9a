"""The packages of the extra `onnx`, and the PyTorch whose exporter is right."""

from __future__ import annotations

from importlib.util import find_spec

import torch

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "skl2onnx")
# Older exporters fail at batch norm and at pictures that are resized, and take one branch of a module for all.
OLDEST_TORCH = (2, 9)


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


def has_right_exporter() -> bool:
    """Whether PyTorch is new enough to export any network."""
    return tuple(map(int, torch.__version__.split(".")[:2])) >= OLDEST_TORCH


def require_right_exporter() -> None:
    """Check that PyTorch is new enough to export any network.

    Raises
    ------
    ImportError
    """
    if not has_right_exporter():
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise ImportError(
            f"An ONNX file needs PyTorch {oldest} or newer, and this is {torch.__version__}: older ones cannot write "
            "every network. Run: pip install --upgrade torch torchvision",
            name="torch",
        )
