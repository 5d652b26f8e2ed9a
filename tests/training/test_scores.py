"""Laws of the default scores: scikit-learn's own, whatever the parts in which rows come."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score

from sklcnn.training.scores import ACCURACY, LABEL_SET_ACCURACY, R2, RunningScore

RANDOM = np.random.RandomState(0)
N = 50
OUTPUTS = torch.from_numpy(RANDOM.randn(N, 3))
WEIGHTS = {"without weights": None, "with weights": torch.from_numpy(RANDOM.rand(N))}
CASES = {
    "classes": (ACCURACY, torch.from_numpy(RANDOM.randint(0, 3, N)), accuracy_score, OUTPUTS.argmax(1)),
    "label sets": (
        LABEL_SET_ACCURACY,
        (OUTPUTS + torch.from_numpy(RANDOM.randn(N, 3)) > 0).double(),
        accuracy_score,
        (OUTPUTS > 0).double(),
    ),
    "values": (R2, OUTPUTS + torch.from_numpy(RANDOM.randn(N, 3)), r2_score, OUTPUTS),
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("n_parts", [1, 4])
@pytest.mark.parametrize(("score", "targets", "metric", "predictions"), CASES.values(), ids=CASES)
def test_a_running_score_is_scikit_learns(score, targets, metric, predictions, n_parts, weights):
    running = RunningScore(score, targets, weights)
    for places in torch.randperm(N).chunk(n_parts):
        running.add(OUTPUTS[places], places)
    expected = metric(targets.numpy(), predictions.numpy(), sample_weight=None if weights is None else weights.numpy())
    assert running.take() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_a_constant_target_is_scikit_learns(error):
    targets = torch.full((5, 1), 0.1, dtype=torch.float64)
    outputs = targets + error
    assert RunningScore(R2, targets, None).of_all(outputs) == r2_score(targets.numpy(), outputs.numpy())


def test_r2_of_one_row_is_not_a_number():
    assert np.isnan(RunningScore(R2, torch.zeros(1, 1), None).of_all(torch.zeros(1, 1)))


def test_a_running_score_starts_again_after_it_was_taken():
    running = RunningScore(ACCURACY, torch.tensor([0, 1]), None)
    assert running.of_all(torch.eye(2)) == 1
    assert running.of_all(torch.eye(2).flip(0)) == 0
    assert np.isnan(running.take())
