"""The converter that skl2onnx calls. It is registered for all estimator classes that exist when it is imported.

The outputs `label` and `probabilities` of classifiers are always tensors: the option `zipmap`, which makes dictionaries
of other classifiers' probabilities, has no effect. With the option `raw_scores` the second is the decision function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common import data_types
from sklearn.pipeline import Pipeline

from sklcnn.deploy.convertible import OnnxConvertible
from sklcnn.deploy.graph import OLDEST_OPSET, add_graph, graph_of
from sklcnn.deploy.program import Program, answers_of, example_input, input_shape
from sklcnn.deploy.source import Source, source_of
from sklcnn.wording import shown

TENSOR_TYPES = {
    np.dtype(name): kind
    for name, kind in {
        "float32": data_types.FloatTensorType,
        "float64": data_types.DoubleTensorType,
        "uint8": data_types.UInt8TensorType,
        "int8": data_types.Int8TensorType,
        "int32": data_types.Int32TensorType,
        "int64": data_types.Int64TensorType,
        "bool": data_types.BooleanTensorType,
    }.items()
}
# The format of a table that has one input per column.
COLUMNS_DTYPE = np.dtype(np.float32)


def register(cls: type) -> None:
    """Register an estimator class with skl2onnx."""
    from sklearn.base import ClassifierMixin

    # `raw_scores` is asked for by meta-estimators, such as CalibratedClassifierCV, that use the decision function.
    options = {"zipmap": [True, False], "raw_scores": [True, False]} if issubclass(cls, ClassifierMixin) else None
    update_registered_converter(cls, alias_of(cls), set_shapes, convert, parser=parse, options=options)


def register_once(cls: type) -> None:
    """Register an estimator class, unless skl2onnx knows it."""
    if cls not in sklearn_operator_name_map:
        register(cls)


def alias_of(cls: type) -> str:
    """Return the name by which skl2onnx knows an estimator class."""
    return f"Sklcnn{cls.__module__}.{cls.__qualname__}"


def known_classes(cls: type = OnnxConvertible) -> Iterator[type]:
    """Yield all subclasses of a class."""
    subclass: type
    for subclass in cls.__subclasses__():
        yield subclass
        yield from known_classes(subclass)


def parser_of(estimator: Any) -> Callable:
    """Register the class of an estimator, which skl2onnx does not know yet, and return a parser for it."""
    register(type(estimator))
    return lambda scope, inputs: _declare_outputs(scope, estimator, inputs)


def parse(scope: Any, model: Any, inputs: list, custom_parsers: Any = None) -> list:
    """Declare an estimator's outputs."""
    operator = scope.declare_local_operator(alias_of(type(model)), model)
    operator.inputs = inputs
    for variable in _declare_outputs(scope, model, inputs):
        operator.outputs.append(variable)
    return operator.outputs


def _declare_outputs(scope, model, inputs):
    types = _output_types(source_of(model), _input_dtype(model, inputs))
    return [scope.declare_local_variable(name, kind) for name, kind in types.items()]


def set_shapes(operator: Any) -> None:
    """Set types and shapes of an operator's outputs."""
    model = operator.raw_operator
    types = _output_types(source_of(model), _input_dtype(model, operator.inputs))
    for variable, kind in zip(operator.outputs, types.values(), strict=True):
        variable.type = kind


def _output_types(source: Source, input_dtype: np.dtype) -> dict[str, Any]:
    types = {}
    for name, answer in answers_of(source, input_dtype).items():
        dtype = np.dtype(str(answer.dtype).removeprefix("torch."))
        kind = TENSOR_TYPES[dtype]
        if name == "label" and source.labels is not None:
            kind = data_types.StringTensorType if source.labels.dtype == object else TENSOR_TYPES[source.labels.dtype]
        types[name] = kind([None, *answer.shape[1:]])
    return types


def _input_dtype(model, inputs) -> np.dtype:
    """Return the number format of an estimator's input."""
    name = type(model).__name__
    if len(inputs) > 1:
        odd = [variable for variable in inputs if len(variable.type.shape) != 2]
        if odd:
            raise TypeError(
                f"{name}: the step before it gives in ONNX {', '.join(v.raw_name for v in inputs)}, which are no "
                f"columns of one table. Export the {name} by itself."
            )
        return COLUMNS_DTYPE
    for dtype, kind in TENSOR_TYPES.items():
        if isinstance(inputs[0].type, kind):
            return dtype
    if isinstance(inputs[0].type, data_types.StringTensorType):
        raise TypeError(
            f"{name}: an ONNX file opens no pictures, so that X cannot be paths or texts. Export the {name} by itself: "
            "the file takes arrays of pixels."
        )
    raise TypeError(f"{name}: X is {shown(inputs[0].type)}, which ONNX has no numbers in. Pass an array of numbers.")


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add an estimator's network, and its steps before and after it, to the graph that skl2onnx builds.

    Raises
    ------
    ImportError
        If torch is too old to export any network.
    ValueError
        If torch cannot export it, or the opset is older than its exporter's.
    """
    model = operator.raw_operator
    source, input_dtype = source_of(model), _input_dtype(model, operator.inputs)
    if _asks_for_raw_scores(model, scope, container):
        source = source.with_raw_scores()
    opset = container.target_opset_any_domain("")
    if opset < OLDEST_OPSET:
        raise ValueError(
            f"{source.name}: target_opset={opset} is too old for a network, whose exporter writes opset "
            f"{OLDEST_OPSET} and later. Pass one of those, or none."
        )
    names = list(answers_of(source, input_dtype))
    free = [axis for axis, size in enumerate((None, *input_shape(source.schema))) if size is None]
    graph = graph_of(Program(source, input_dtype), example_input(source.schema, input_dtype), free, names, opset)
    outputs = [variable.full_name for variable in operator.outputs]
    labels = source.labels
    if labels is not None:
        codes, place = scope.get_unique_variable_name("codes"), names.index("label")
        outputs[place], label_name = codes, outputs[place]
        _add_labels(labels, codes, label_name, scope, container)
    add_graph(graph, scope, container, _joined_inputs(operator, scope, container), outputs)


def _asks_for_raw_scores(model, scope, container):
    """Tell whether the decision function is asked for, of a classifier or of a Pipeline that it is the last step of.

    skl2onnx's converter of Pipelines does not tell the last step, so that what calibrates a Pipeline would be given
    probabilities.
    """
    if not container.has_options(model, "raw_scores"):
        return False
    outer = [operator.raw_operator for operator in scope.operators.values()]
    asked = [model, *(part for part in outer if isinstance(part, Pipeline) and _last_step(part) is model)]
    return any(container.get_options(part, {"raw_scores": False})["raw_scores"] for part in asked)


def _last_step(estimator):
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _add_labels(labels, codes, label_name, scope, container):
    """Look labels up by their codes."""
    from onnx.helper import make_tensor, np_dtype_to_tensor_dtype

    kind = np_dtype_to_tensor_dtype(labels.dtype)
    values = [label.encode() for label in labels] if labels.dtype == object else labels
    table = scope.get_unique_variable_name("labels")
    container.initializers.append(make_tensor(table, kind, labels.shape, values))
    container.add_node("Gather", [table, codes], [label_name], op_version=13, axis=0, name=label_name)


def _joined_inputs(operator, scope, container):
    """Return the name of the input; if there is one per column of a table, join them first."""
    names = [variable.full_name for variable in operator.inputs]
    if len(names) == 1:
        return names[0]
    from onnx import TensorProto

    columns = []
    for name in names:
        columns.append(scope.get_unique_variable_name("column"))
        container.add_node("Cast", [name], columns[-1:], op_version=13, to=TensorProto.FLOAT, name=columns[-1])
    table = scope.get_unique_variable_name("table")
    container.add_node("Concat", columns, [table], op_version=13, axis=1, name=table)
    return table


for _cls in known_classes():
    register(_cls)
