"""What skl2onnx asks an estimator for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable


class OnnxConvertible:
    """An estimator that skl2onnx converts as it does scikit-learn's, alone and inside a Pipeline.

    skl2onnx calls these methods of estimators that it does not know. It is imported only then.
    """

    def _tell_skl2onnx(self) -> None:
        """Put the class into skl2onnx's table, where the converters of meta-estimators look for what is inside them."""
        if "skl2onnx" in sys.modules:
            with contextlib.suppress(ImportError):  # of a version that is too old, which an export says
                from sklcnn.deploy.converter import register_once

                register_once(type(self))

    def onnx_parser(self) -> Callable:
        """Return the function by which skl2onnx learns the names and types of the outputs."""
        from sklcnn.deploy.converter import parser_of

        return parser_of(self)

    def onnx_shape_calculator(self) -> Callable:
        """Return the function by which skl2onnx learns the shapes of the outputs."""
        from sklcnn.deploy.converter import set_shapes

        return set_shapes

    def onnx_converter(self) -> Callable:
        """Return the function that adds the network to the graph that skl2onnx builds."""
        from sklcnn.deploy.converter import convert

        return convert
