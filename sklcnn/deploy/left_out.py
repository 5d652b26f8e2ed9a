"""Optional inputs that a node leaves out: they get the values that they have by default.

skl2onnx sorts the nodes of its graph by the names of their inputs, and takes the empty name of an input that is left
out for that of a node that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

RECURRENT = ("LSTM", "GRU", "RNN")


def fill_left_out(model: Any) -> None:
    """Give the optional inputs that nodes of a model leave out values that change nothing.

    Parameters
    ----------
    model : onnx.ModelProto
        Changed in place.

    Raises
    ------
    ValueError
        If an operator leaves out an input whose default is not known here; the message names it.
    """
    if all(all(node.input) for node in model.graph.node):
        return
    from onnx.shape_inference import infer_shapes

    graph = model.graph
    inferred = infer_shapes(model).graph
    types = {value.name: value.type.tensor_type for value in [*inferred.value_info, *inferred.input, *inferred.output]}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        for place in [place for place, name in enumerate(node.input) if not name]:
            fill = FILLS.get(node.op_type)
            if fill is None:
                raise ValueError(
                    f"the network leaves out an optional input of {node.op_type}, which skl2onnx cannot place in its "
                    "graph. Build that layer in another way."
                )
            name = f"{node.output[0] or node.output[1]}/left_out{place}"
            made = fill(node, place, name, types, shapes)
            if isinstance(made, list):
                nodes += made
            else:
                from onnx.numpy_helper import from_array

                graph.initializer.append(from_array(made, name))
            node.input[place] = name
        nodes.append(node)
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _fill_resize(node, place, name, types, shapes):
    """Leave region, scales or sizes empty, as the first versions of Resize did."""
    return np.empty(0, np.int64 if place == 3 else np.float32)


def _fill_clip(node, place, name, types, shapes):
    """Clip at the least or greatest number there is."""
    from onnx.helper import tensor_dtype_to_np_dtype

    dtype = np.dtype(tensor_dtype_to_np_dtype(types[node.input[0]].elem_type))
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array(limits.min if place == 1 else limits.max, dtype)


def _fill_recurrent(node, place, name, types, shapes):
    """Add no bias; read each sequence to its end."""
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array

    if place == 3:
        n_directions, rows, _ = shapes[node.input[1]]
        return np.zeros((n_directions, 2 * rows), np.float32)
    if place != 4:
        raise ValueError(
            f"the network leaves out the first state of {node.op_type}, which skl2onnx cannot place in its graph. Pass "
            "it zeros."
        )
    last_first = any(attribute.name == "layout" and attribute.i == 1 for attribute in node.attribute)
    time, batch = (1, 0) if last_first else (0, 1)
    parts = [f"{name}/{part}" for part in ("shape", "time", "batch", "length", "which time", "which batch")]
    shape, n_times, n_rows, length, which_time, which_batch = parts
    return [
        make_node("Constant", [], [which_time], value=from_array(np.array([time]))),
        make_node("Constant", [], [which_batch], value=from_array(np.array([batch]))),
        make_node("Shape", [node.input[0]], [shape]),
        make_node("Gather", [shape, which_time], [n_times]),
        make_node("Gather", [shape, which_batch], [n_rows]),
        make_node("Cast", [n_times], [length], to=6),  # int32
        make_node("Expand", [length, n_rows], [name]),
    ]


FILLS: dict[str, Callable] = {
    "Resize": _fill_resize,
    "Clip": _fill_clip,
    **dict.fromkeys(RECURRENT, _fill_recurrent),
}
