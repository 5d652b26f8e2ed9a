"""The temperature by which the logits of the epoch that early stopping keeps are divided."""

import pickle

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss
from skorch.callbacks import Callback

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.data.batches import Rows
from sklcnn.network.losses import binary_cross_entropy, cross_entropy
from sklcnn.training.temperature import find_temperature

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(160, 12)).astype(np.float32)
# A fifth of the labels are noise. Of 100 rows early stopping keeps an epoch before that is learnt by heart; of 60 not.
TRUE = (X[:, :3] + 0.5 * RANDOM.normal(size=(160, 3))).argmax(1)
LABELS = np.array(["a", "b", "c"])[np.where(RANDOM.rand(160) < 0.2, RANDOM.randint(3, size=160), TRUE)]
X, X_VAL, LABELS, LABELS_VAL = X[:60], X[100:], LABELS[:60], LABELS[100:]
PARAMS = {
    "filters": (8,), "dense_units": (32,), "max_epochs": 40, "batch_size": 16, "learning_rate": 0.01,
    "random_state": 0, "early_stopping": True, "input_shape": (12,),
}  # fmt: skip
VALIDATED = {"X_val": X_VAL, "y_val": LABELS_VAL}


def rows_of(targets, weights=None):
    n = len(targets)
    weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    return Rows(None, torch.arange(n), torch.as_tensor(targets), weights)


def drawn(n_rows, seed=0):
    """Draw logits, and labels with the probabilities that they are of."""
    random = np.random.RandomState(seed)
    logits = random.normal(size=(n_rows, 4)) * 2
    labels = np.array([random.choice(4, p=row) for row in softmax(logits, axis=1)])
    return torch.from_numpy(logits), labels


@pytest.mark.parametrize("factor", [1.5, 4.0, 20.0])
def test_logits_that_are_too_large_are_divided_by_how_much(factor):
    logits, labels = drawn(4000)
    assert find_temperature(factor * logits, rows_of(labels), cross_entropy) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("factor", [0.2, 1.0])
def test_logits_that_are_right_or_too_small_stay(factor):
    logits, labels = drawn(4000)
    assert find_temperature(factor * logits, rows_of(labels), cross_entropy) == pytest.approx(1.0, abs=0.05)


def test_ten_thousand_rows_are_enough():
    logits, labels = (np.repeat(np.asarray(part), 30, axis=0) for part in drawn(1000))
    taken = []

    def loss(outputs, targets):
        taken.append(len(outputs))
        return cross_entropy(outputs, targets)

    assert find_temperature(torch.from_numpy(4 * logits), rows_of(labels), loss) == pytest.approx(4, rel=0.15)
    assert max(taken) == 10_000


def test_each_label_of_several_counts():
    logits = torch.from_numpy(RANDOM.normal(size=(4000, 3)) * 2)
    indicators = torch.from_numpy((RANDOM.rand(4000, 3) < torch.sigmoid(logits).numpy()).astype(float))
    assert find_temperature(3 * logits, rows_of(indicators), binary_cross_entropy) == pytest.approx(3, rel=0.1)


def test_a_few_rows_are_no_proof():
    logits, codes = torch.tensor([[2.0, 0.0], [0.0, 2.0]] * 2), np.array([0, 1, 0, 0])  # the last one is wrong
    assert find_temperature(logits, rows_of(codes), cross_entropy) == 1.0
    assert find_temperature(logits.repeat(100, 1), rows_of(np.tile(codes, 100)), cross_entropy) > 1.5


def test_rows_without_weight_are_as_if_absent_and_the_unit_of_weights_does_not_matter():
    logits, labels = drawn(200)
    weights = np.r_[np.full(150, 0.1), np.zeros(50)]
    part = find_temperature(5 * logits[:150], rows_of(labels[:150]), cross_entropy)
    assert find_temperature(5 * logits, rows_of(labels, weights), cross_entropy) == pytest.approx(part, rel=1e-6)


def test_no_temperature_where_training_rows_are_known_no_better():
    cnn = CNNClassifier(**PARAMS).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert cnn.temperature_ == 1.0


class Kept(Callback):
    """Keep the last layer's weights of each epoch."""

    def initialize(self):
        self.weights = []
        return self

    def on_epoch_end(self, net, **_):
        self.weights.append(net.module_.output.weight.detach().clone())


@pytest.fixture(scope="module")
def overfitted():
    return CNNClassifier(**PARAMS, callbacks=[("kept", Kept())]).fit(X, LABELS, **VALIDATED)


def test_the_weights_are_those_of_the_best_epoch_but_for_the_unit_of_the_last_layer(overfitted):
    assert overfitted.temperature_ > 1.2
    kept = dict(overfitted.net_.callbacks_)["kept"].weights[overfitted.best_epoch_ - 1]
    torch.testing.assert_close(overfitted.module_.output.weight * overfitted.temperature_, kept)


def test_the_loss_of_the_validation_rows_is_less_than_that_of_the_history(overfitted):
    before = overfitted.history_["val_loss"][overfitted.best_epoch_ - 1]
    assert log_loss(LABELS_VAL, overfitted.predict_proba(X_VAL)) < before - 1 / len(X_VAL)
    np.testing.assert_array_equal(
        overfitted.predict(X_VAL), overfitted.classes_[overfitted.decision_function(X_VAL).argmax(1)]
    )


def test_the_temperature_is_kept_in_files(overfitted):
    copy = pickle.loads(pickle.dumps(CNNClassifier(**PARAMS).fit(X, LABELS, **VALIDATED)))
    assert copy.temperature_ == overfitted.temperature_
    np.testing.assert_array_equal(copy.predict_proba(X), overfitted.predict_proba(X))


def test_a_refit_on_all_rows_is_divided_by_the_temperature_of_the_first_run():
    params = PARAMS | {"validation_fraction": 0.4}
    first, refitted = (CNNClassifier(**params, refit_full=again).fit(X, LABELS) for again in (False, True))
    assert refitted.temperature_ == first.temperature_ > 1.2
    sharp = refitted.decision_function(X) * refitted.temperature_
    assert log_loss(LABELS, refitted.predict_proba(X)) > log_loss(LABELS, softmax(sharp.astype(float), axis=1))


def own_loss(outputs, targets):
    return -(outputs.log_softmax(1) * targets).sum(1)


OTHERS = [{"patience": 100}, {"scoring": "neg_log_loss"}, {"loss": own_loss}, {"early_stopping": False}]


@pytest.mark.parametrize("params", OTHERS, ids=lambda params: next(iter(params)))
def test_the_best_epoch_is_kept_as_it_was_where_something_else_is_asked_for(params):
    cnn = CNNClassifier(**PARAMS | params, callbacks=[("kept", Kept())]).fit(X, LABELS, **VALIDATED)
    assert cnn.temperature_ == 1.0
    weights = dict(cnn.net_.callbacks_)["kept"].weights[cnn.best_epoch_ - 1]
    assert torch.equal(cnn.module_.output.weight, weights)


def test_values_have_no_temperature():
    cnn = CNNRegressor(**PARAMS | {"max_epochs": 2}).fit(X, X[:, 0])
    assert not hasattr(cnn, "temperature_")
