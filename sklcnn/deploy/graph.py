"""A module of torch as a graph of ONNX, and as a part of a larger one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sklcnn.deploy.extras import require_right_exporter
from sklcnn.deploy.left_out import fill_left_out
from sklcnn.process import Undone, interrupts_wait, leaves_process_as_found, warnings_hidden
from sklcnn.signals import raise_if_signalled
from sklcnn.training.modes import own_modes
from sklcnn.training.turns import turn_kept
from sklcnn.wording import LINE, cut, short_cause

OLDEST_OPSET = 18  # that torch's exporter writes


@leaves_process_as_found
def graph_of(
    program: nn.Module, example: torch.Tensor, free_axes: Sequence[int], output_names: Sequence[str], opset: int
) -> Any:
    """Trace a module into a model of ONNX.

    Parameters
    ----------
    program : nn.Module
        Of one input.
    example : tensor
    free_axes : sequence of int
        The axes of the input that may have any size.
    output_names : sequence of str
    opset : int

    Returns
    -------
    model : onnx.ModelProto

    Raises
    ------
    ImportError
        If torch is too old to export any network.
    ValueError
        If torch cannot export it; the message says why.
    """
    require_right_exporter()
    axes = dict.fromkeys(free_axes, torch.export.Dim.DYNAMIC)
    try:
        # Flags and patches of torch's tell all threads that one traces: beside it a fit would train otherwise, and of
        # two that trace both would fail. An error in the midst may abort the process: Ctrl-C comes some seconds later.
        with turn_kept(), interrupts_wait(), own_modes(), torch.no_grad(), _quiet():
            exported = torch.onnx.export(
                program,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=(axes,),
                input_names=["X"],
                output_names=list(output_names),
                verbose=False,
            )
            model = exported.model_proto  # type: ignore[union-attr]
    except Exception as error:
        raise_if_signalled(error)
        raise ValueError(
            f"torch cannot export the network to ONNX: {_reason(error)} A module of your own must run without "
            "branches that depend on values, and of operations that ONNX has."
        ) from short_cause(error)
    for node in model.graph.node:  # they name lines of source files of this machine
        node.doc_string = ""
        del node.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet():
    """Hide the exporter's log, and its warnings; it prints nothing where `verbose` is False."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript")]
    levels = [logger.level for logger in loggers]

    def reset():
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

    with Undone(reset), warnings_hidden():
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield


def _reason(error):
    """Return the first line of the innermost error, which is the module's or the exporter's own."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {cut(lines[0] if lines else 'no message', 3 * LINE)}."


def add_graph(model: Any, scope: Any, container: Any, input_name: str, output_names: Sequence[str]) -> None:
    """Add a model to the graph that skl2onnx builds.

    Parameters
    ----------
    model : onnx.ModelProto
        Of one input.
    scope, container : as skl2onnx passes them to a converter
    input_name : str
        Of the model's input, in that graph.
    output_names : sequence of str
        Of its outputs, in that graph.
    """
    from onnx.compose import add_prefix
    from onnx.inliner import inline_local_functions

    if model.functions:
        model = inline_local_functions(model)
    fill_left_out(model)
    graph = add_prefix(model, scope.get_unique_operator_name("network") + "/").graph
    container.initializers.extend(graph.initializer)
    container.nodes.extend(graph.node)
    for entry in model.opset_import:
        container.node_domain_version_pair_sets.add((entry.domain, entry.version))
    container.add_node("Identity", [input_name], [graph.input[0].name], name=graph.input[0].name)
    for inner, outer in zip(graph.output, output_names, strict=True):
        container.add_node("Identity", [inner.name], [outer], name=inner.name)
