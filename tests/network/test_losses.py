"""Laws of the losses: what is minimised, in whose units, and what a callable is given."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import HuberRegressor
from torch.nn import functional

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.network.losses import pinball

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(12, 10)
LABELS = np.arange(12) % 3
SEVERAL_LABELS = RANDOM.randint(0, 2, (12, 3))
VALUES = 100 + 30 * RANDOM.randn(12)
TABLE = VALUES[:, None] * [1, -2] + [0, 5]
QUICK = {"filters": (2,), "dense_units": (4,), "max_epochs": 2, "precision": "float64", "random_state": 0}
# A linear model, solved to the end.
LINEAR = {
    "filters": (), "dense_units": (), "standardize": False, "precision": "float64", "batch_size": 1000,
    "optimizer": torch.optim.LBFGS, "optimizer_params": {"line_search_fn": "strong_wolfe"}, "learning_rate": 1,
    "lr_schedule": None, "max_epochs": 20,
}  # fmt: skip


def losses_of(estimator, y, **params):
    """Fit, and give the loss of the final network on the training rows with its raw outputs and encoded targets."""
    net = estimator(**{**QUICK, **params}).fit(X, y, X_val=X, y_val=y)
    with torch.no_grad():
        outputs = net.module_(torch.from_numpy(X)[:, None])
    if estimator is CNNRegressor:
        targets = torch.from_numpy((y - y.mean(0)) / y.std(0)).reshape(len(y), -1)
    else:
        targets = torch.from_numpy(y)
    return net.history_["val_loss"].iloc[-1], outputs, targets


def test_cross_entropy_is_the_mean_negative_logarithm_of_the_right_class():
    found, outputs, targets = losses_of(CNNClassifier, LABELS)
    probabilities = torch.softmax(outputs, 1).numpy()
    assert found == pytest.approx(-np.log(probabilities[range(12), targets]).mean(), rel=1e-12)


def test_of_an_indicator_matrix_the_loss_is_the_mean_binary_cross_entropy():
    found, outputs, targets = losses_of(CNNClassifier, SEVERAL_LABELS)
    p = torch.sigmoid(outputs).numpy()
    assert found == pytest.approx(-np.log(np.where(targets == 1, p, 1 - p)).mean(), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.9])
def test_label_smoothing_is_torchs_own(smoothing):
    found, outputs, targets = losses_of(CNNClassifier, LABELS, label_smoothing=smoothing)
    expected = functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_label_smoothing_of_indicators_moves_them_towards_one_half():
    found, outputs, targets = losses_of(CNNClassifier, SEVERAL_LABELS, label_smoothing=0.2)
    expected = functional.binary_cross_entropy_with_logits(outputs, 0.8 * targets.double() + 0.1)
    assert found == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("y", [VALUES, TABLE], ids=["one", "two"])
@pytest.mark.parametrize(
    ("loss", "plain"),
    [
        ("squared_error", np.square),
        ("absolute_error", np.abs),
        ("huber", lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5)),
    ],
)
def test_a_regression_loss_is_a_mean_over_rows_and_outputs_of_standardised_errors(loss, plain, y):
    found, outputs, targets = losses_of(CNNRegressor, y, loss=loss)
    assert found == pytest.approx(plain((outputs - targets).numpy()).mean(), rel=1e-12)


@pytest.mark.slow
def test_the_absolute_error_aims_at_the_median_and_the_squared_error_at_the_mean():
    # Samples that are all alike leave a constant to be found.
    y = np.array([0.0, 0, 0, 1, 10])
    found = {
        loss: CNNRegressor(
            filters=(), dense_units=(), loss=loss, max_epochs=400, learning_rate=0.05, random_state=0
        ).fit(np.ones((5, 4)), y).predict(np.ones((1, 4)))[0]
        for loss in ("absolute_error", "squared_error", "huber")
    }  # fmt: skip
    assert found["absolute_error"] == pytest.approx(0, abs=0.1)
    assert found["squared_error"] == pytest.approx(y.mean(), abs=0.05)
    assert found["absolute_error"] < found["huber"] < found["squared_error"]


def test_huber_at_scikit_learns_threshold_is_its_huber_regressor():
    rng = np.random.RandomState(1)
    rows = rng.randn(60, 3)
    y = rows @ [1.0, -2, 3] + rng.standard_t(1.5, 60)
    y = (y - y.mean()) / y.std()
    plain = HuberRegressor(epsilon=1.5, alpha=0, tol=1e-10).fit(rows, y)  # which finds the scale of the noise too
    delta = plain.epsilon * plain.scale_
    net = CNNRegressor(
        **LINEAR, loss=lambda outputs, z: functional.huber_loss(outputs, z, reduction="none", delta=delta)[:, 0]
    ).fit(rows, y)
    np.testing.assert_allclose(net.predict(rows), plain.predict(rows), rtol=0, atol=1e-4)


# Regression in the user's units.


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.75])
def test_the_pinball_loss_is_least_where_the_quantile_is_predicted(quantile):
    y = np.random.RandomState(0).exponential(size=201)
    constants = np.sort(y)
    outputs = torch.from_numpy(np.repeat(constants[:, None], 201, axis=1))
    losses = pinball(outputs, torch.from_numpy(y)[None], quantile)
    assert constants[int(losses.argmin())] == pytest.approx(np.quantile(y, quantile), abs=1e-12)
    error = y - 1.0
    expected = np.where(error > 0, quantile * error, (quantile - 1) * error)
    found = pinball(torch.ones(201, 1), torch.from_numpy(y)[:, None], quantile)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
def test_quantiles_bound_the_share_of_values_that_they_say():
    random = np.random.RandomState(0)
    X = random.rand(600, 8)
    y = 100 * X.sum(1) + 50 * random.exponential(size=600)
    for quantile in (0.1, 0.9):
        net = CNNRegressor(loss="quantile", quantile=quantile, filters=8, max_epochs=60, random_state=0).fit(X, y)
        assert np.mean(y <= net.predict(X)) == pytest.approx(quantile, abs=0.06)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0), (-3, 7), (1e6, 1e7)])
@pytest.mark.parametrize("y", [VALUES, TABLE], ids=["one", "two"])
def test_predictions_follow_an_affine_change_of_the_targets(y, factor, shift, loss):
    one, other = (CNNRegressor(**QUICK, loss=loss).fit(X, values) for values in (y, factor * y + shift))
    if factor < 0:  # a mirrored target needs a mirrored network: only the signs of its output differ
        mirrored = CNNRegressor(**QUICK, loss=loss).fit(X, -factor * y - shift)
        np.testing.assert_allclose(mirrored.predict(X), -factor * one.predict(X) - shift, rtol=1e-6)
    else:
        np.testing.assert_allclose(other.predict(X), factor * one.predict(X) + shift, rtol=1e-6)


@pytest.mark.parametrize("y", [VALUES, VALUES[:, None], TABLE], ids=lambda y: str(y.shape))
def test_predictions_have_the_shape_of_the_targets(y):
    net = CNNRegressor(**QUICK).fit(X, y)
    assert net.predict(X[:5]).shape == (5, *y.shape[1:])
    assert net.n_outputs_ == (y.shape[1] if y.ndim == 2 else 1)


def test_a_constant_target_is_predicted():
    net = CNNRegressor(**{**QUICK, "max_epochs": 100}).fit(X, np.full(12, 7.0))
    np.testing.assert_allclose(net.predict(X), 7, atol=0.1)
    assert np.isfinite(net.history_["train_loss"]).all()


# Callables.


def focal_loss(outputs, targets):
    """Lin et al. (2017), with gamma = 2."""
    cross_entropy = functional.cross_entropy(outputs, targets, reduction="none")
    return (1 - torch.exp(-cross_entropy)) ** 2 * cross_entropy


def test_focal_loss_as_a_callable_trains():
    rows = np.random.RandomState(0).randn(80, 6)
    y = np.where(rows[:, :3].sum(1) > 0, "up", "down")
    net = CNNClassifier(loss=focal_loss, filters=(), learning_rate=0.02, max_epochs=40, random_state=0).fit(rows, y)
    assert net.score(rows, y) > 0.95
    assert net.history_["train_loss"].iloc[-1] < net.history_["train_loss"].iloc[0] / 2


@pytest.mark.parametrize(
    ("estimator", "y", "by_name", "callable_loss"),
    [
        (CNNClassifier, LABELS, "cross_entropy", lambda o, t: -(t * torch.log_softmax(o, 1)).sum(1)),
        (CNNClassifier, SEVERAL_LABELS, "cross_entropy",
         lambda o, t: functional.binary_cross_entropy_with_logits(o, t, reduction="none").mean(1)),
        (CNNRegressor, VALUES, "squared_error", lambda o, t: ((o - t) ** 2).mean(1)),
        (CNNRegressor, TABLE, "absolute_error", lambda o, t: (o - t).abs().mean(1)),
    ],
    ids=["labels", "indicators", "one value", "two values"],
)  # fmt: skip
def test_a_callable_that_says_what_a_name_says_trains_the_same_network(estimator, y, by_name, callable_loss):
    weights = 1 + np.arange(len(y)) % 4
    one, other = (estimator(**QUICK, loss=loss).fit(X, y, weights) for loss in (by_name, callable_loss))
    outputs = [net.predict(X) if estimator is CNNRegressor else net.predict_proba(X) for net in (one, other)]
    np.testing.assert_allclose(*outputs, rtol=1e-10)


class Recorder:
    """A loss that keeps the targets it is given."""

    def __init__(self):
        self.targets = []

    def __call__(self, outputs, targets):
        assert outputs.shape == targets.shape
        assert outputs.dtype == targets.dtype
        self.targets.append(targets)
        return (outputs - targets).square().sum(1)


def targets_given(estimator, y, **params):
    recorder = Recorder()
    estimator(**{**QUICK, "max_epochs": 1, "batch_size": 5, **params}, loss=recorder).fit(X, y)
    assert [len(targets) for targets in recorder.targets] == [5, 5, 2]
    return torch.cat(recorder.targets).numpy()


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_a_callable_is_given_class_probabilities(precision):
    targets = targets_given(CNNClassifier, np.array(["a", "b", "c"])[LABELS], precision=precision)
    assert np.isin(targets, (0, 1)).all()
    assert targets.sum(1).tolist() == [1] * 12
    assert targets.sum(0).tolist() == [4, 4, 4]


def test_a_callable_is_given_smoothed_class_probabilities():
    targets = targets_given(CNNClassifier, LABELS, label_smoothing=0.3)
    np.testing.assert_allclose(np.sort(targets, 1), np.tile([0.1, 0.1, 0.8], (12, 1)))


def test_a_callable_is_given_indicators():
    targets = targets_given(CNNClassifier, SEVERAL_LABELS)
    assert sorted(map(tuple, targets)) == sorted(map(tuple, SEVERAL_LABELS))


def test_a_callable_is_given_standardised_values():
    targets = targets_given(CNNRegressor, TABLE)
    np.testing.assert_allclose(targets.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(targets.std(0), 1, rtol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda o, t: (o - t).square().mean(),
        lambda o, t: (o - t).square(),
        lambda o, t: (o - t).square().mean(1, keepdim=True),
        lambda o, t: (o - t).square().mean(1)[1:],
        lambda o, t: (o - t).square().mean().item(),
        lambda o, t: (o - t).square().mean(1).detach().numpy(),
        lambda o, t: None,
    ],
    ids=["mean", "entries", "column", "rows missing", "number", "NumPy", "nothing"],
)
@pytest.mark.parametrize(("estimator", "y"), [(CNNClassifier, LABELS), (CNNRegressor, VALUES)])
def test_a_callable_that_does_not_give_one_loss_a_row_is_an_error(estimator, y, wrong):
    net = estimator(**QUICK, loss=wrong)
    with pytest.raises(ValueError, match=rf"{estimator.__name__}: loss must return one loss a row.*\(12,\)"):
        net.fit(X, y)
    assert not hasattr(net, "net_")


def test_a_callable_that_gives_complex_losses_is_an_error():
    with pytest.raises(TypeError, match="CNNRegressor: loss must return floats, but they are complex"):
        CNNRegressor(**QUICK, loss=lambda o, t: (o - t).square().mean(1) + 0j).fit(X, VALUES)


def test_a_callable_that_torch_cannot_differentiate_is_an_error():
    def with_numpy(outputs, targets):
        return torch.from_numpy(np.square(outputs.detach().numpy() - targets.numpy()).mean(1))

    with pytest.raises(ValueError, match=r"CNNRegressor: loss .*torch"):
        CNNRegressor(**QUICK, loss=with_numpy).fit(X, VALUES)


class Weighted(torch.nn.Module):
    """Cross-entropy times a weight of its own, which counts how often it is computed."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("n_calls", torch.zeros(1))

    def forward(self, outputs, targets):
        self.n_calls += 1
        return -(targets * outputs.log_softmax(1)).sum(1) * self.scale


def test_a_module_as_loss_is_copied_and_its_weights_are_said_not_to_train():
    loss, y = Weighted(), np.arange(12) % 3
    with pytest.warns(UserWarning, match=r"CNNClassifier: loss=Weighted\(...\) has weights of its own"):
        cnn = CNNClassifier(**QUICK, loss=loss).fit(X, y)
    assert loss.n_calls == 0 < cnn.net_.criterion_.loss.n_calls
    loss.requires_grad_(False)
    again = CNNClassifier(**QUICK, loss=loss).fit(X, y)  # without a warning, which would be an error here
    np.testing.assert_array_equal(again.predict_proba(X), cnn.predict_proba(X))
    np.testing.assert_array_equal(again.predict_proba(X), CNNClassifier(**QUICK).fit(X, y).predict_proba(X))
