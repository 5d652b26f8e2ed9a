"""One pass over the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from sklcnn.data.batches import Batch, batch_sizes
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.training.averaging import Averaging
from sklcnn.training.norms import YoungStatistics
from sklcnn.training.progress import Progress
from sklcnn.training.scores import RunningScore
from sklcnn.training.stages import Stages, set_rate

SCORED_ROWS = 8192  # whose outputs are collected and then scored together


class Pass(NamedTuple):
    """What an epoch of training gave.

    Attributes
    ----------
    loss : float
        The mean over rows.
    score : float
        Of the outputs while training; NaN where nothing is scored.
    first_output : tensor of shape (n, k)
        Of the first batch.
    """

    loss: float
    score: float
    first_output: torch.Tensor


class TrainingPass:
    """Train on every row once.

    Parameters
    ----------
    net : TrainingNet
    stages : Stages
    step : callable of (batch) -> (loss, outputs)
    callbacks : BatchCallbacks
        skorch callbacks that listen to batches.
    statistics : YoungStatistics
    score : RunningScore or None
    progress : Progress
    generator : torch.Generator or None
        Shuffles the rows.
    averaging : Averaging
        Of the weights.
    """

    def __init__(
        self,
        net: Any,
        stages: Stages,
        step: Callable[[Batch], tuple[torch.Tensor, torch.Tensor]],
        callbacks: BatchCallbacks,
        statistics: YoungStatistics,
        score: RunningScore | None,
        progress: Progress,
        generator: torch.Generator | None,
        averaging: Averaging,
    ):
        self._net, self._stages, self._step, self._callbacks = net, stages, step, callbacks
        self._statistics, self._score, self._progress, self._generator = statistics, score, progress, generator
        self._averaging = averaging
        self._dtype, self._device = TORCH_FLOATS[net.spec.precision], net.torch_device_

    def shuffle(self) -> torch.Tensor:
        """Draw the order of the rows of an epoch."""
        return torch.randperm(len(self._stages.train_rows), generator=self._generator)

    def run(self, rates: Iterator[float] | None) -> Pass:
        """Train for an epoch; `rates` gives the rate of each update, None leaves it as it is."""
        net, rows = self._net, self._stages.train_rows
        order = self.shuffle()
        sizes = batch_sizes(len(rows), net.spec.batch_size, self._stages.joins_few_rows)
        self._stages.set_training_mode()
        self._statistics.begin_epoch()
        first_output: Any = None
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        scored = _Scored(self._score, order)
        for batch in rows.batches(order, sizes, self._dtype, self._device):
            if rates is not None:
                set_rate(net.optimizer_, next(rates))
            if self._callbacks.listen:
                self._callbacks.begin(batch)
            if self._statistics.young:
                self._statistics.before_update()
            loss, output = self._step(batch)
            if first_output is None:
                first_output = output
            self._averaging.after_update()
            total.add_(loss, alpha=len(output))
            scored.add(output)
            self._progress.advance()
            if self._callbacks.listen:
                self._callbacks.end(batch, loss, output)
        if not self._callbacks.listen:
            net.history.new_batch()  # skorch's Checkpoint fails without one
        return Pass(float(total) / len(rows), scored.score(), first_output)


class BatchCallbacks:
    """The skorch callbacks that listen to batches.

    Parameters
    ----------
    net : TrainingNet
    stages : Stages
    """

    def __init__(self, net: Any, stages: Stages):
        self._net, self._stages = net, stages
        self.listen = any(net.listeners("on_batch_begin", "on_batch_end"))
        self._of_gradients = net.listeners("on_grad_computed")

    def begin(self, batch: Batch) -> None:
        """Tell them that a training batch begins."""
        self._net.notify("on_batch_begin", batch=(batch.inputs, batch.targets), training=True)
        self._train_again()

    def end(self, batch: Batch, loss: torch.Tensor, output: torch.Tensor) -> None:
        """Tell them what a training batch gave."""
        net = self._net
        net.history.record_batch("train_loss", loss.item())
        net.history.record_batch("train_batch_size", len(output))
        net.notify("on_batch_end", batch=(batch.inputs, batch.targets), training=True, loss=loss, y_pred=output)
        self._train_again()

    def _train_again(self):
        """Set the network to training mode again, after callbacks that may have predicted by it."""
        if not self._net.module_.training:
            self._stages.set_training_mode()

    @property
    def tell_gradients(self) -> Callable[[Batch], None] | None:
        """A function to call when the gradients of a batch are known; None where no callback listens."""
        return self._computed if self._of_gradients else None

    def _computed(self, batch):
        named = list(self._net.module_.named_parameters())
        for callback in self._of_gradients:
            callback.on_grad_computed(
                self._net, named_parameters=named, batch=(batch.inputs, batch.targets), training=True
            )
        self._train_again()

    @property
    def tell_validation(self) -> Callable | None:
        """A function to call with each batch of validation rows; None where no callback listens."""
        return self._validated if self.listen else None

    def _validated(self, inputs, outputs, first):
        net, rows, part = self._net, self._stages.valid_rows, slice(first, first + len(outputs))
        targets = rows.targets[part].to(net.torch_device_)
        weights = None if rows.weights is None else rows.weights[part].to(net.torch_device_)
        loss = net.get_loss(outputs, targets, weights=weights)
        net.notify("on_batch_begin", batch=(inputs, targets), training=False)
        net.history.record_batch("valid_loss", float(loss))
        net.history.record_batch("valid_batch_size", len(outputs))
        net.notify("on_batch_end", batch=(inputs, targets), training=False, loss=loss, y_pred=outputs)


class _Scored:
    """Collects the outputs of an epoch's batches, and scores them a few thousand rows at a time."""

    def __init__(self, running, order):
        self._running, self._order = running, order
        self._outputs, self._n_waiting, self._n_scored = None, 0, 0

    def add(self, output):
        if self._running is None:
            return
        waiting = self._n_waiting + len(output)
        if self._outputs is None:
            # One tensor for all: many small ones that stay would fragment the memory that the next batch could use.
            n_rows = min(len(self._order), SCORED_ROWS + waiting)
            self._outputs = output.new_empty(n_rows, *output.shape[1:])
        elif waiting > len(self._outputs):
            self._score()
            waiting = len(output)
        self._outputs[self._n_waiting : waiting] = output
        self._n_waiting = waiting

    def _score(self):
        if self._n_waiting:
            done = self._n_scored + self._n_waiting
            self._running.add(self._outputs[: self._n_waiting], self._order[self._n_scored : done])
            self._n_waiting, self._n_scored = 0, done

    def score(self):
        self._score()
        return np.nan if self._running is None else self._running.take()
