"""One step of the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sklcnn.data.batches import Batch
from sklcnn.data.targets import TORCH_FLOATS
from sklcnn.network.own_outputs import raised_in
from sklcnn.training.evaluation import autocast
from sklcnn.training.stages import Stages, clear_gradients
from sklcnn.training.turns import take_turn_back
from sklcnn.wording import errors_noted, short_cause, shortened

# Where a row weighs more than HEAVY average ones, as at 99:1 with class_weight, gradients are clipped to a norm: a
# batch with such a row moves the network many times as far as others do, and now and then its units die of it. The norm
# is for each unit of weight that a batch's rows have in the mean: a bound that is the same for all would let heavy
# rows count for less than they weigh. At 99:1 the weighted mean of probabilities, 0.5 by right, was 0.34 and 0.36 with
# a bound of 1, and is 0.41, 0.47, 0.49 with 1, 2, 5 for each unit; at six times the rate a network of pictures of
# 32x32 ends with an area under the curve of 0.67 with the bound of 1, 0.68 with 2 for each unit, 0.57 with 5, and
# 0.57 unclipped. A single batch of all rows is not clipped: weight 2 exactly equals the row twice there.
HEAVY, MAX_NORM = 10.0, 2.0


def has_heavy_rows(weights: torch.Tensor | None) -> bool:
    """Tell whether a row weighs so much that batches with it have far larger gradients than others."""
    return weights is not None and bool(weights.max() > HEAVY * weights.mean())


def _mixed_by_weight(augment, inputs, targets, weights):
    """Mix rows so that each counts by its weight: one of weight 2 as the row twice would, in the mean over draws.

    A mixture weighs what its parts weigh, in their shares, and so do their parts of its target.
    """
    weights = weights.to(targets.dtype)[:, None]
    inputs, mixed = augment(inputs, torch.cat([targets * weights, targets, weights], dim=1))
    k = targets.shape[1]
    totals, plain, weights = mixed[:, :k], mixed[:, k : 2 * k], mixed[:, -1:]
    return inputs, torch.where(weights > 0, totals / weights, plain), weights[:, 0]


class Step:
    """Train on a batch.

    Parameters
    ----------
    net : TrainingNet
    stages : Stages
    augment : callable of (inputs, targets), or None
    clips : bool
        Whether gradients are clipped.
    tell_gradients : callable of (batch), or None
        Called when gradients are known.
    """

    def __init__(self, net: Any, stages: Stages, augment: Any, clips: bool, tell_gradients: Any):
        self._net, self._stages, self._augment, self._clips = net, stages, augment, clips
        self._tell_gradients = tell_gradients
        self._optimizer, self._criterion = net.optimizer_, net.criterion_
        # The user's own may compute the loss several times, as L-BFGS does.
        self._takes_closure = not isinstance(net.spec.optimizer, str)
        self._estimator = net.spec.estimator_name
        self._name = f"{self._estimator}: optimizer={type(self._optimizer).__name__}"
        self._dtype, self._device = TORCH_FLOATS[net.spec.precision], net.torch_device_
        self._casts = net.spec.precision == "bfloat16"

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step; return the loss before it and the outputs."""
        inputs, targets, weights = batch
        if self._augment is not None:
            if self._augment.mixes:
                targets = self._criterion.task.soft_targets(targets, self._dtype)
            if self._augment.mixes and weights is not None:
                inputs, targets, weights = _mixed_by_weight(self._augment, inputs, targets, weights)
            else:
                inputs, targets = self._augment(inputs, targets)
            take_turn_back()
        if not self._takes_closure:
            computed = self._differentiate(inputs, targets, weights, batch)
            try:
                self._optimizer.step()
            except RuntimeError as error:
                self._refuse_sparse_gradients(error)
                raise
            return computed

        computed, is_inside = [], False

        def closure():
            nonlocal is_inside
            is_inside = True
            computed.append(self._differentiate(inputs, targets, weights, batch))
            is_inside = False
            loss = computed[-1][0]
            return loss + self._stages.penalty().to(loss) if self._stages.is_penalised else loss

        try:
            self._optimizer.step(closure)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            if is_inside:  # the network or the loss failed, not the optimiser
                raise
            self._refuse_sparse_gradients(error)
            raise ValueError(f"{self._name} failed in its step: {shortened(error)}.") from short_cause(error)
        if not computed:
            raise ValueError(f"{self._name} does not call the closure of its step, so that it has no gradients.")
        return computed[0]

    def _differentiate(self, inputs, targets, weights, batch):
        """Compute the loss and its gradients, and those of the penalties; return the loss and the outputs."""
        stages = self._stages
        clear_gradients(self._optimizer.param_groups)
        try:
            if self._casts:
                with autocast("bfloat16", self._device):
                    output = stages.forward(inputs).to(self._dtype)
            else:
                output = stages.forward(inputs)
        except Exception as error:
            self._explain(error, inputs)
            raise
        loss = self._net.get_loss(output, targets, weights=weights, training=True)
        take_turn_back()
        with errors_noted(lambda error: f"{self._estimator}: the gradients of network and loss raised this."):
            stages.penalised(loss).backward()
        if stages.is_penalised:
            stages.add_penalty_gradients()
        if self._clips:
            nn.utils.clip_grad_norm_(stages.trained, MAX_NORM * max(1.0, float(weights.mean())))
        if self._tell_gradients is not None:
            self._tell_gradients(batch)
        return loss.detach(), output.detach()

    def _explain(self, error, inputs):
        """Say of an error of the network's where it was raised; one that the size of a batch makes names that."""
        where = raised_in(error)
        if len(inputs) == 1 and "more than 1 value per channel" in str(error):
            size = self._net.spec.batch_size
            raise ValueError(
                f"{self._estimator}: batch_size={size} leaves a batch of one row, which the network cannot normalise"
                f"{where}. Choose one that leaves more, or use layers such as nn.BatchNorm2d: for these the last row "
                "joins the batch before it."
            ) from error
        error.add_note(f"{self._estimator}: the network raised this{where}, on a batch {tuple(inputs.shape)}.")

    def _refuse_sparse_gradients(self, error):
        """Refuse gradients that the optimiser does not take, as an `nn.Embedding` makes them."""
        for name, parameter in self._net.module_.named_parameters():
            if parameter.grad is not None and parameter.grad.layout is not torch.strided:
                raise ValueError(
                    f"{self._name} does not take sparse gradients, which {name} has. Set sparse=False in that layer "
                    "of your network, or pass an optimizer that takes them, such as torch.optim.Adagrad."
                ) from error
