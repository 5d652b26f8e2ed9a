"""Laws of the learning-rate schedules."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.training.schedules import PLATEAU_FACTOR, PLATEAU_FLOOR, PLATEAU_GAIN, SCHEDULES, plateau_wait

X = np.random.RandomState(0).randn(20, 6)
VALUES = np.random.RandomState(1).randn(20)
QUICK = {"filters": (), "dense_units": (), "batch_size": 6, "max_epochs": 5, "random_state": 0}  # 4 updates per epoch
PEAK = 0.01


def torchs_rates(name, n_updates):
    """Compute the rate of each update by torch's own schedulers, stepped after each update."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([parameter], lr=PEAK)
    scheduler = {
        "one_cycle": lambda: OneCycleLR(optimizer, PEAK, total_steps=n_updates, cycle_momentum=False),
        "cosine": lambda: CosineAnnealingLR(optimizer, n_updates),
    }[name]()
    rates = []
    for update in range(n_updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if update < n_updates - 1:
            scheduler.step()
    return np.array(rates)


def recorder():
    """Make a callback class that keeps the rate of each update."""

    class Rates(Callback):
        rates = []  # noqa: RUF012 - for the one class made here

        def on_batch_end(self, net, **kwargs):
            self.rates.append(net.optimizer_.param_groups[0]["lr"])

    return Rates


@pytest.mark.parametrize("n_updates", [*range(2, 51), 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_torchs_own(name, n_updates):
    np.testing.assert_allclose(
        PEAK * SCHEDULES[name](np.arange(n_updates), n_updates), torchs_rates(name, n_updates), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_update_takes_the_whole_rate(name):
    assert SCHEDULES[name](np.arange(1), 1).tolist() == [1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_moves_with_every_update(name):
    recorded = recorder()
    net = CNNRegressor(**QUICK, lr_schedule=name, learning_rate=PEAK, callbacks=[recorded]).fit(X, VALUES)
    np.testing.assert_allclose(recorded.rates, torchs_rates(name, 20), rtol=0, atol=1e-12)
    assert net.history_["learning_rate"].tolist() == recorded.rates[3::4]


def test_without_a_schedule_the_rate_stays():
    net = CNNRegressor(**QUICK, lr_schedule=None, learning_rate=PEAK).fit(X, VALUES)
    assert net.history_["learning_rate"].tolist() == [PEAK] * 5


def test_auto_is_one_cycle():
    one, other = (CNNRegressor(**QUICK, lr_schedule=name).fit(X, VALUES) for name in ("auto", "one_cycle"))
    np.testing.assert_array_equal(one.history_["learning_rate"], other.history_["learning_rate"])
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


def test_auto_is_one_cycle_with_early_stopping_too():
    params = QUICK | {"early_stopping": True}
    one, other = (CNNRegressor(**params, lr_schedule=name).fit(X, VALUES) for name in ("auto", "one_cycle"))
    np.testing.assert_array_equal(one.history_["learning_rate"], other.history_["learning_rate"])
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


# One update per row: epochs are long enough for a few of them to show a plateau.
PLATEAU = QUICK | {"batch_size": 1, "max_epochs": 60, "learning_rate": 0.1, "lr_schedule": "reduce_on_plateau"}


def test_auto_reduces_on_a_plateau_where_early_stopping_waits_for_so_many_epochs():
    params = PLATEAU | {"early_stopping": True, "patience": 60}
    one, other = (
        CNNRegressor(**params | {"lr_schedule": name}).fit(X, VALUES) for name in ("auto", "reduce_on_plateau")
    )
    assert one.history_["learning_rate"].nunique() > 1
    np.testing.assert_array_equal(one.history_["learning_rate"], other.history_["learning_rate"])
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


def rates_by_hand(watched, peak, n_updates, gain=PLATEAU_GAIN):
    """Compute the rate of each epoch that torch's ReduceLROnPlateau makes of the watched values."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = ReduceLROnPlateau(
        optimizer, factor=PLATEAU_FACTOR, patience=plateau_wait(n_updates), threshold=gain, min_lr=PLATEAU_FLOOR * peak
    )
    rates = []
    for value in watched:
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step(value)
    return rates


@pytest.mark.parametrize(
    ("params", "watched", "sign"),
    [
        ({}, "train_loss", 1),
        ({"early_stopping": True, "patience": 60}, "val_loss", 1),
        ({"early_stopping": True, "patience": 60, "scoring": "r2"}, "val_score", -1),
        ({"early_stopping": True, "patience": 60, "scoring": "neg_mean_absolute_error"}, "val_score", -1),
    ],
    ids=str,
)
def test_a_plateau_is_that_of_the_watched_column(params, watched, sign):
    history = CNNRegressor(**PLATEAU | params).fit(X, VALUES).history_
    assert history["learning_rate"].nunique() > 1
    gain = 0 if watched == "val_score" else PLATEAU_GAIN  # of a score any gain counts
    n_updates = 18 if "early_stopping" in params else 20
    assert history["learning_rate"].tolist() == rates_by_hand(sign * history[watched], 0.1, n_updates, gain)


def test_a_plateau_of_the_users_validation_rows_is_watched_without_early_stopping():
    history = CNNRegressor(**PLATEAU).fit(X, VALUES, X_val=X[::-1] + 1, y_val=VALUES).history_
    assert history["learning_rate"].tolist() == rates_by_hand(history["val_loss"], 0.1, 20)


def test_on_a_plateau_that_lasts_the_rate_falls_to_a_hundredth():
    net = CNNClassifier(**PLATEAU | {"max_epochs": 100}, early_stopping=True, patience=100, scoring=lambda *_: 0.5)
    rates = net.fit(X, VALUES > 0).history_["learning_rate"]
    assert rates.is_monotonic_decreasing
    assert rates.min() == pytest.approx(PLATEAU_FLOOR * net.learning_rate)


@pytest.mark.parametrize("score", [0.7, 0.0, -0.7])
def test_the_rate_falls_within_a_patience_of_ten_epochs(score):
    net = CNNClassifier(
        **PLATEAU | {"max_epochs": 100}, early_stopping=True, patience=10, scoring=lambda net, X, y: score
    )
    rates = net.fit(X, VALUES > 0).history_["learning_rate"]
    assert len(rates) == 1 + net.patience
    # Early enough for the lower rate to show what it is worth before training stops.
    n_lower = (rates < rates[0]).sum()
    assert 4 <= n_lower < net.patience
    assert rates.is_monotonic_decreasing


def test_an_improving_score_leaves_the_rate_alone():
    scores = iter(np.linspace(-1, 1, 60))
    net = CNNClassifier(
        **PLATEAU, early_stopping=True, patience=10, scoring=lambda net, X, y: float(next(scores))
    ).fit(X, VALUES > 0)  # fmt: skip
    assert net.history_["learning_rate"].nunique() == 1


def test_a_fit_that_goes_on_begins_its_schedule_anew():
    net = CNNRegressor(**QUICK, warm_start=True).fit(X, VALUES).fit(X, VALUES)
    rates = net.history_["learning_rate"].tolist()
    assert rates[:5] == rates[5:]


@pytest.mark.parametrize("n_updates", [1, 10, 24, 25, 26, 99, 100, 101, 250, 499, 500, 10_000])
def test_a_plateau_lasts_100_updates_and_where_epochs_are_long_500_or_five_epochs(n_updates):
    n_epochs = plateau_wait(n_updates) + 1
    assert n_epochs * n_updates >= 100
    if n_epochs > 5:
        assert (n_epochs - 1) * n_updates < 100
    elif n_epochs < 5:
        assert (n_epochs - 1) * n_updates < 500 <= n_epochs * n_updates


class Backbone(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.conv(images).mean((2, 3))


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_stage_of_a_backbone_has_a_cycle_of_its_own(name):
    pictures = np.random.RandomState(0).rand(20, 6, 6, 3)
    recorded = recorder()
    CNNRegressor(
        backbone=Backbone(), freeze_epochs=3, dense_units=(), batch_size=6, max_epochs=5, lr_schedule=name,
        learning_rate=PEAK, random_state=0, callbacks=[recorded],
    ).fit(pictures, VALUES)  # fmt: skip
    expected = np.concatenate([torchs_rates(name, 4 * 3), torchs_rates(name, 4 * 2)])
    np.testing.assert_allclose(recorded.rates, expected, rtol=0, atol=1e-12)
