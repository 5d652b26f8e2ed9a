"""What a file computes: from X, as the estimator takes it, to its answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from sklcnn.data.schema import InputSchema
from sklcnn.deploy.resizing import Resize
from sklcnn.deploy.source import Source
from sklcnn.network.own_state import copy_network


class Reader(nn.Module):
    """Turn X, as an array, into what the network takes, (n, c, *spatial), as the stores of arrays do.

    Parameters
    ----------
    schema : InputSchema
    dtype : torch.dtype
        What the network computes in.
    whole : bool
        Whether X has whole numbers. If they are pixels that are resized, the results are rounded to whole numbers.
    """

    def __init__(self, schema: InputSchema, dtype: torch.dtype, whole: bool):
        super().__init__()
        layout: tuple[Any, Any] = array_layout(schema)
        self.shape, self.channel_axis = layout
        self.flat, self.dtype = schema.flat, dtype
        self.resize: nn.Module | None = None
        size = schema.spec.image_size
        if size is not None and size != spatial_shape(self.shape, self.channel_axis):
            self.resize = Resize(size, whole=whole and schema.integer)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Map X to (n, c, *spatial)."""
        samples = X.reshape(-1, *self.shape) if self.flat else X
        if self.channel_axis is None:
            images = samples.unsqueeze(1)
        else:
            images = samples if self.channel_axis == 0 else samples.movedim(-1, 1)
        if self.resize is not None:
            images = self.resize(images)
        return images.to(self.dtype)


def array_layout(schema: InputSchema) -> tuple[tuple[int | None, ...], int | None]:
    """Return the shape of a sample in an array, and where its channels are.

    Pictures are arrays (height, width, channels). If they are resized, height and width may be any: None.
    """
    if schema.array_shape is not None:
        return schema.array_shape, schema.channel_axis
    channels, *size = schema.sample_shape
    return (*(size if schema.spec.image_size is None else (None, None)), channels), -1


def spatial_shape(shape: tuple, channel_axis: int | None) -> tuple:
    """Return the shape of a sample without its channels."""
    if channel_axis is None:
        return shape
    return shape[1:] if channel_axis == 0 else shape[:-1]


def input_shape(schema: InputSchema) -> tuple[int | None, ...]:
    """Return the shape of one row of X, as the file takes it; None for a size that may be any."""
    shape, _ = array_layout(schema)
    return (math.prod(shape),) if schema.flat else shape  # type: ignore[arg-type]


class Program(nn.Module):
    """All that a fitted estimator computes, as one module.

    Parameters
    ----------
    source : Source
    input_dtype : numpy.dtype
        Of X.
    """

    def __init__(self, source: Source, input_dtype: np.dtype):
        super().__init__()
        self._source, self._wide = source, input_dtype == np.float64
        self.reader = Reader(source.schema, source.dtype, whole=input_dtype.kind in "ui")
        self.network = copy_network(source.network).cpu().to(source.dtype).eval().requires_grad_(False)

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map X to the answers."""
        answers = self._source.answers(self.network(self.reader(X)))
        return tuple(widened(answer, self._wide) for answer in answers.values())


def widened(answer: torch.Tensor, wide: bool) -> torch.Tensor:
    """Return an answer in float64 if X is, as other converters do; else as it is."""
    return answer.double() if wide and answer.is_floating_point() else answer


def answers_of(source: Source, input_dtype: np.dtype) -> dict[str, torch.Tensor]:
    """Return the answers for two rows of zeros, to read their names, formats and shapes."""
    zeros = torch.zeros(2, source.n_outputs, dtype=source.dtype)
    return {name: widened(answer, input_dtype == np.float64) for name, answer in source.answers(zeros).items()}


def example_input(schema: InputSchema, input_dtype: np.dtype) -> torch.Tensor:
    """Return two rows of zeros as the file takes them; a size that may be any is more than twice that of samples."""
    _, *size = schema.sample_shape
    shape = [2 * size[axis] + 1 if n is None else n for axis, n in enumerate(input_shape(schema))]
    return torch.from_numpy(np.zeros((2, *shape), input_dtype))
