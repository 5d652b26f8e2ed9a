"""What skl2onnx asks an estimator for."""

from __future__ import annotations

from collections.abc import Callable


class OnnxConvertible:
    """An estimator that skl2onnx converts as it does scikit-learn's, alone and inside a Pipeline.

    skl2onnx calls these methods of estimators that it does not know. It is imported only then.
    """

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
