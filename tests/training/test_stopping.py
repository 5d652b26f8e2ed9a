"""Laws of early stopping with patience="auto": which epoch it keeps, and when it ends training early."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.training.step import MAX_NORM
from sklcnn.training.stopping import TOLERANCE_OF_CLASSES, TOLERANCE_OF_VALUES, Judge

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(60, 8)
LABELS = np.array(["a", "b"])[(X[:, 0] > 0).astype(int)]
QUICK = {"filters": (3,), "dense_units": (4,), "precision": "float64", "random_state": 0, "early_stopping": True}


def kept(losses, scores=None, patience="auto", n_updates=100, of_loss=True):
    """List the epochs, from 1, that a judge keeps."""
    judge = Judge(patience, n_updates, of_loss)
    scores = np.zeros(len(losses)) if scores is None else scores
    pairs = zip(losses, scores, strict=True)
    return [epoch for epoch, pair in enumerate(pairs, start=1) if judge.keeps(*pair)]


def test_the_latest_epoch_within_the_tolerance_is_kept():
    assert kept([4, 2, 2.08, 2.2, 2.08, 3]) == [1, 2, 3, 5]


def test_of_values_the_tolerance_is_smaller():
    judge = Judge("auto", 100, of_loss=True, of_classes=False)
    assert [judge.keeps(loss) for loss in (4, 2, 2.01, 2.08)] == [True, True, True, False]


def test_the_tolerance_of_negative_losses_is_a_share_of_their_size():
    assert kept([-1, -2, -1.92, -1.8]) == [1, 2, 3]


def test_an_epoch_whose_score_is_the_best_so_far_is_kept_whatever_its_loss():
    assert kept([1, 2, 3, 4, 5], scores=[0.5, 0.5, 0.7, 0.7, 0.8]) == [1, 3, 5]


def test_where_an_epoch_is_a_few_updates_epochs_are_averaged():
    noise = [1, 0.9, 1, 0.9, 1, 0.9, 1, 0.9]  # of a loss that does not change
    assert kept(noise, n_updates=100) == [1, 2, 4, 6, 8]
    assert kept(noise, n_updates=10)[-2:] == [7, 8]


def test_an_epoch_whose_own_loss_has_risen_is_not_kept_though_the_average_has_not():
    assert kept([4, 3, 2, 1, 1, 1, 1, 1.09], n_updates=10)[-1] == 8
    assert kept([4, 3, 2, 1, 1, 1, 1, 1.15], n_updates=10)[-1] == 7  # the average is 1.04


@pytest.mark.parametrize("rows", ["training", "validation"])
@pytest.mark.parametrize("first, usual, jump", [(10.0, 1.0, 5.0), (100.0, -9.0, 25.0)])
def test_a_jump_is_not_kept_though_the_average_with_large_first_losses_is_the_least(rows, first, usual, jump):
    falls = [first] * 10 + [usual] * 32
    jumps = [*falls[:40], jump, usual]
    valid, train = (jumps, falls) if rows == "validation" else (falls, jumps)
    judge = Judge("auto", n_updates=1, of_loss=True)
    assert [judge.keeps(*losses) for losses in zip(valid, np.zeros(42), train, strict=True)][-3:] == [True, False, True]


def test_a_loss_that_is_not_a_number_is_never_kept():
    assert kept([1, np.nan, 0.9], scores=[0, np.nan, 0]) == [1, 3]


@pytest.mark.parametrize("n_updates", [1, 3, 50, 1000])
def test_the_wait_is_counted_in_updates_and_at_least_three_epochs(n_updates):
    judge = Judge("auto", n_updates, of_loss=True)
    n_epochs = 0
    judge.keeps(1.0, 1.0)
    while not judge.exhausted and n_epochs < 1000:
        judge.keeps(9.0, 0.0)
        n_epochs += 1
    assert n_epochs >= 3
    assert n_epochs * n_updates >= 100 or n_epochs > 100
    assert n_epochs == 3 or (n_epochs - 1) * n_updates < 100


def test_a_loss_that_rises_with_the_training_loss_is_no_reason_to_end():
    judge = Judge("auto", 100, of_loss=True)
    judge.keeps(1.0, 0.5, train_loss=1.0)
    for _ in range(50):
        assert not judge.keeps(9.0, 0.0, train_loss=8.0)
    assert not judge.exhausted
    for _ in range(3):
        judge.keeps(9.0, 0.0, train_loss=0.5)
    assert judge.exhausted


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_the_kept_epoch_is_within_the_tolerance_or_has_the_best_score(estimator):
    y = LABELS if estimator is CNNClassifier else X[:, 0] ** 2
    net = estimator(**QUICK, max_epochs=30, batch_size=1, learning_rate=0.02, validation_fraction=0.4).fit(X, y)
    history = net.history_
    row = history.iloc[net.best_epoch_ - 1]
    most = (1 + (TOLERANCE_OF_CLASSES if estimator is CNNClassifier else TOLERANCE_OF_VALUES)) * history[
        "val_loss"
    ].min()
    assert row["val_loss"] <= most or row["val_score"] == history["val_score"].max()
    later = history.iloc[net.best_epoch_ :]
    assert (later["val_loss"] > most).all()


def test_where_nothing_is_gained_the_end_is_brought_forward_and_the_rate_falls_to_nothing():
    # Labels of noise: the validation loss soon rises for good.
    labels = np.where(RANDOM.rand(60) > 0.5, "a", "b")
    net = CNNClassifier(**QUICK | {"dense_units": 64}, max_epochs=300, batch_size=2).fit(X, labels)
    rates = net.history_["learning_rate"]
    assert net.n_iter_ < 200
    summit = int(rates.argmax())
    assert (np.diff(rates[summit:]) < 0).all()
    assert rates.iloc[-1] < 1e-4 * rates.max()


def test_a_run_that_gains_to_its_end_trains_as_without_early_stopping():
    plain = CNNClassifier(**QUICK | {"early_stopping": False}, max_epochs=20).fit(X, LABELS)
    stopped = CNNClassifier(**QUICK, max_epochs=20).fit(X, LABELS, X_val=X, y_val=LABELS)
    assert stopped.best_epoch_ == 20
    for name, tensor in stopped.module_.state_dict().items():
        assert torch.equal(tensor, plain.module_.state_dict()[name]), name


@pytest.mark.slow
def test_refit_full_repeats_the_fall_that_was_brought_forward():
    labels = np.where(RANDOM.rand(60) > 0.5, "a", "b")
    params = QUICK | {"max_epochs": 400, "batch_size": 3, "dense_units": 64}

    class Rates(Callback):
        rates = []  # noqa: RUF012 - for the one class made here

        def on_epoch_end(self, net, **kwargs):
            self.rates.append(net.history[-1, "learning_rate"])

    net = CNNClassifier(**params, refit_full=True, callbacks=[Rates]).fit(X, labels)
    first, again = Rates.rates[: net.n_iter_], Rates.rates[net.n_iter_ :]
    assert net.n_iter_ < 400
    assert len(again) == net.best_epoch_
    np.testing.assert_allclose(again, first[: len(again)], rtol=0.05)  # an epoch of all rows has a few more updates


def test_small_spectra_are_learnt_with_early_stopping_as_well_as_without():
    random = np.random.default_rng(0)
    t, c = np.linspace(0, 1, 40), random.uniform(0, 50, 150)
    spectra = np.exp(-((t - 0.5) ** 2) / 0.01) * c[:, None] / 50 + random.normal(size=(150, 1))
    spectra += np.outer(random.normal(size=150), t) + 0.01 * random.normal(size=(150, 40))
    net = CNNRegressor(early_stopping=True, filters=(16, 16), random_state=0).fit(spectra[:120], c[:120])
    assert net.score(spectra[120:], c[120:]) > 0.98


def test_few_validation_rows_are_warned_of():
    with pytest.warns(UserWarning, match=r"CNNClassifier: early_stopping judges epochs by 6 validation rows, too few"):
        CNNClassifier(**QUICK, max_epochs=1).fit(X, LABELS)


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_a_network_that_dies_is_warned_of(estimator):
    class Kill(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                net.module_.dense1.linear.bias.data.fill_(-1e6)

    y = LABELS if estimator is CNNClassifier else X[:, 0]
    net = estimator(filters=(), dense_units=(8,), max_epochs=4, random_state=0, callbacks=[Kill])
    with pytest.warns(UserWarning, match=rf"{estimator.__name__}: the network has died"):
        net.fit(X, y)
    assert np.ptp(net.predict(X) if estimator is CNNRegressor else net.predict_proba(X)[:, 0]) < 1e-6


def test_a_network_whose_outputs_hardly_differ_any_more_is_warned_of():
    class Shrink(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                net.module_.output.weight.data.mul_(1e-5)

    net = CNNClassifier(filters=(), dense_units=(8,), max_epochs=4, lr_schedule=None, random_state=0)
    healthy = clone(net).set_params(learning_rate=1e-6).fit(X, LABELS)
    assert np.ptp(healthy.predict_proba(X)[:, 0]) > 1e-3
    with pytest.warns(UserWarning, match="CNNClassifier: the network has died"):
        net.set_params(learning_rate=1e-9, callbacks=[Shrink]).fit(X, LABELS)
    assert 1e-8 < np.ptp(net.predict_proba(X)[:, 0]) < 1e-4


def test_batch_norm_statistics_are_the_plain_average_of_the_first_batches():
    params = {"filters": (), "dense_units": (4,), "batch_norm": True, "max_epochs": 5, "learning_rate": 1e-300}
    net = CNNClassifier(**params, batch_size=60, random_state=0, precision="float64").fit(X, LABELS)
    with torch.no_grad():
        standardised = net.module_.standardize(torch.from_numpy(X)[:, None]).flatten(1)
        hidden = net.module_.dense1.linear(standardised)
    norm = net.module_.dense1.norm
    torch.testing.assert_close(norm.running_mean, hidden.mean(0))
    torch.testing.assert_close(norm.running_var, hidden.var(0))
    assert norm.momentum == 0.1


def gradient_norms(y, **params):
    """List the norms of the gradients that each update takes."""

    class Norms(Callback):
        norms = []  # noqa: RUF012 - for the one class made here

        def on_grad_computed(self, net, named_parameters, **kwargs):
            self.norms.append(float(torch.nn.utils.get_total_norm([p.grad for _, p in named_parameters])))

    CNNClassifier(max_epochs=3, random_state=0, callbacks=[Norms], **params).fit(X * 100, y)
    return np.array(Norms.norms)


def test_gradients_are_clipped_where_rows_weigh_more_than_ten_and_batches_lack_them():
    rare = np.where(np.arange(60) < 2, "rare", "common")
    batches = {"batch_size": 8, "standardize": False}
    most = MAX_NORM * (2 * 60 / 4 + 6 * 60 / 116) / 8  # with both rare rows in a batch
    assert gradient_norms(rare, class_weight="balanced", **batches).max() <= most + 1e-5
    assert gradient_norms(rare, **batches).max() > most
    assert gradient_norms(LABELS, class_weight="balanced", **batches).max() > most
    assert gradient_norms(rare, class_weight="balanced", standardize=False).max() > most  # a full batch lacks no row


@pytest.mark.parametrize("batch_size", [16, 32])
def test_heavy_rows_count_as_much_as_they_weigh_though_gradients_are_clipped(batch_size):
    """Where classes overlap, a network's probabilities average to the share of each, by weight: to a half."""
    random = np.random.RandomState(0)
    labels = (np.arange(1500) < 15).astype(int)
    samples = random.randn(1500, 12) + np.where(labels, 0.5, 0)[:, None] * (np.arange(12) // 3 == 1)
    params = {"filters": (), "dense_units": (8,), "max_epochs": 10, "batch_size": batch_size, "random_state": 0}
    net = CNNClassifier(**params, class_weight="balanced").fit(samples, labels)
    assert np.average(net.predict_proba(samples)[:, 1], weights=np.where(labels, 99, 1)) == pytest.approx(0.5, abs=0.07)


def test_of_epochs_with_the_best_score_the_one_of_the_least_loss_is_kept():
    scores, losses = [0.5, 0.9, 1, 1, 1, 0.9, 1], [3, 2, 1, 1.1, 0.5, 0.1, 0.7]

    def kept_by(patience):
        judge = Judge(patience, 100, of_loss=False)
        pairs = enumerate(zip(scores, losses, strict=True), start=1)
        return [epoch for epoch, (score, loss) in pairs if judge.keeps(-score, score, val_loss=loss)]

    assert kept_by("auto") == [1, 2, 3, 5]
    assert kept_by(3) == [1, 2, 3]  # a number is exact


def test_a_score_that_few_rows_saturate_keeps_no_untrained_epoch():
    random = np.random.RandomState(0)
    samples, labels = random.randn(60, 12), np.arange(60) % 2
    samples[labels == 1] += 2
    held_out = {"X_val": samples[:12], "y_val": labels[:12]}
    params = QUICK | {"scoring": "roc_auc", "learning_rate": 0.002, "batch_size": 8, "lr_schedule": None}
    by_number = CNNClassifier(**params, patience=400, max_epochs=170)
    with pytest.warns(UserWarning, match="early stopping kept epoch"):
        by_number.fit(samples[12:], labels[12:], **held_out)
    by_auto = CNNClassifier(**params, max_epochs=30).fit(samples[12:], labels[12:], **held_out)
    scores, losses = by_auto.history_["val_score"], by_auto.history_["val_loss"]
    assert by_number.best_epoch_ == by_number.history_["val_score"].argmax() + 1
    assert losses[by_auto.best_epoch_ - 1] == losses[scores == scores.max()].min()
    assert by_auto.best_epoch_ > scores.argmax() + 1
