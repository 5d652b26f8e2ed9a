"""Laws of validation: what is held out, what is measured on it, when training stops, and what is kept."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.metrics import accuracy_score, check_scoring, get_scorer, log_loss, make_scorer, mean_squared_error
from skorch.callbacks import Callback
from torch.nn import functional

from sklcnn import CNNClassifier, CNNRegressor

RANDOM = np.random.RandomState(0)
X = RANDOM.randn(60, 8)
X[:, 0] = np.arange(60)  # a row's first value is its number
LABELS = np.array(["a", "b", "c"])[RANDOM.choice(3, 60, p=[0.6, 0.3, 0.1])]
CODES = np.unique(LABELS, return_inverse=True)[1]
SEVERAL_LABELS = RANDOM.randint(0, 2, (60, 3))
VALUES = RANDOM.randn(60)
WEIGHTS = 1.0 + RANDOM.randint(0, 4, 60)
QUICK = {"filters": (3,), "dense_units": (4,), "max_epochs": 8, "precision": "float64", "random_state": 0}
TASKS = [
    pytest.param(CNNClassifier, LABELS, id="labels"),
    pytest.param(CNNClassifier, SEVERAL_LABELS, id="indicators"),
    pytest.param(CNNRegressor, VALUES, id="values"),
]


def state(net):
    return {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


class Scorer:
    """A scorer that returns the scores of a list, one per epoch, and keeps what it is called with."""

    def __init__(self, *scores):
        self.scores, self.calls = scores, []

    def __call__(self, estimator, X, y):
        self.calls.append((X, y))
        return self.scores[min(len(self.calls), len(self.scores)) - 1]

    @property
    def rows(self):
        """The numbers of the rows that it was called with, the same in every epoch."""
        numbers = {tuple(np.asarray(X)[:, 0].astype(int)) for X, _ in self.calls}
        assert len(numbers) == 1
        return np.array(*numbers)


def held_out(y, estimator=CNNClassifier, groups=None, **params):
    """Find the numbers of the rows that a fit holds out."""
    scorer = Scorer(0.0)
    net = estimator(**{**QUICK, "max_epochs": 1, "early_stopping": True, **params}, scoring=scorer)
    net.fit(X[: len(y)], y, groups=groups)
    rows = scorer.rows
    np.testing.assert_array_equal(scorer.calls[0][1], np.asarray(y)[rows])
    assert len(set(rows)) == len(rows)
    return rows


# What is held out.


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_the_share_is_held_out_and_at_least_one_row(estimator, y, fraction):
    rows = held_out(y, estimator, validation_fraction=fraction)
    assert len(rows) == max(1, math.ceil(60 * fraction - 1e-9))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.6])
def test_each_class_gives_its_share(fraction, seed):
    rows = held_out(LABELS, validation_fraction=fraction, random_state=seed)
    for label in "abc":
        exact = np.mean(LABELS == label) * len(rows)
        assert abs(np.sum(LABELS[rows] == label) - exact) < 1


def test_the_hold_out_is_drawn_from_random_state():
    drawn = [tuple(held_out(LABELS, random_state=seed)) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("counts", [(1, 9), (1, 2, 9), (2, 2), (1, 1, 1, 2), (2, 1, 40)], ids=str)
@pytest.mark.parametrize("fraction", [0.1, 0.9])
@pytest.mark.filterwarnings("ignore:.*one row each")
def test_a_classs_last_row_always_trains(counts, fraction):
    y = np.repeat(list("dcba")[: len(counts)], counts)
    for seed in range(3):
        rows = held_out(y, validation_fraction=fraction, random_state=seed)
        assert 1 <= len(rows) <= max(1, math.ceil(fraction * len(y) - 1e-9))
        assert set(np.delete(y, rows)) == set(y)


def test_a_warning_names_the_classes_of_one_row():
    y = LABELS.astype("<U6").copy()
    y[3], y[5] = "rare", "rarer"
    with pytest.warns(UserWarning, match=r"CNNClassifier: .*\['rare', 'rarer'\]"):
        rows = held_out(y)
    assert not {3, 5} & set(rows)


GROUPS = np.repeat(np.arange(15), 4)[RANDOM.permutation(60)]


@pytest.mark.parametrize("kind", [np.array, np.ndarray.tolist, pd.Series, lambda groups: groups.astype(str)])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_groups_are_held_out_whole(estimator, y, kind):
    for seed, fraction in enumerate((0.01, 0.1, 0.4)):
        rows = held_out(y, estimator, groups=kind(GROUPS), random_state=seed, validation_fraction=fraction)
        out, rest = set(GROUPS[rows]), set(np.delete(GROUPS, rows))
        assert not out & rest
        assert abs(len(rows) - 60 * fraction) < 4 or len(out) == 1


def test_groups_of_very_different_sizes_still_leave_most_rows_to_train_on():
    groups = np.where(np.arange(60) < 50, 99, np.arange(60))
    for seed in range(10):
        rows = held_out(VALUES, CNNRegressor, groups=groups, random_state=seed)
        assert len(rows) <= 10


def test_a_group_with_the_last_rows_of_a_class_always_trains():
    y = np.where(np.arange(60) < 5, "rare", "common")
    groups = np.minimum(np.arange(60) // 5, 6)
    for seed in range(10):
        with pytest.warns(UserWarning, match=r"CNNClassifier: the classes \['rare'\] are in one group each"):
            rows = held_out(y, groups=groups, random_state=seed, validation_fraction=0.4)
        assert 0 not in groups[rows]


def test_the_last_row_with_a_label_always_trains_and_is_named():
    y = np.column_stack([np.arange(60) % 2, np.arange(60) == 7])
    for seed in range(10):
        with pytest.warns(UserWarning, match=r"CNNClassifier: the labels \[1\] have one row each"):
            rows = held_out(y, random_state=seed, validation_fraction=0.4)
        assert 7 not in rows
        assert len(rows) == 24


@pytest.mark.parametrize(
    ("estimator", "y", "groups"),
    [
        (CNNClassifier, ["a", "b"], None),
        (CNNClassifier, ["a", "b", "c"], None),
        (CNNClassifier, ["a", "b", "a", "b"], [1, 1, 1, 1]),
        (CNNClassifier, ["a", "a", "b", "b"], [1, 1, 2, 2]),
        (CNNRegressor, [0.5], None),
        (CNNRegressor, [0.5, 0.6, 0.7], [1, 1, 1]),
    ],
)
def test_where_nothing_can_be_held_out_the_error_says_what_to_do(estimator, y, groups):
    net = estimator(**QUICK, early_stopping=True)
    with pytest.raises(ValueError, match=rf"{estimator.__name__}: .*X_val.*early_stopping=False"):
        net.fit(X[: len(y)], y, groups=groups)
    net.fit(X[: len(y)], y, groups=groups, X_val=X[:2], y_val=y[:1] * 2)  # one of the remedies
    assert not math.isnan(net.history_["val_loss"].iloc[-1])


class Batches(Callback):
    """Keep the numbers of the rows that train, in a list of the class that a test makes."""

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.rows.extend(batch[0][:, 0, 0].int().tolist())


@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_rows_train_or_validate_but_not_both(estimator, y):
    batches, scorer = type("Recorded", (Batches,), {"rows": []}), Scorer(0.0)
    net = estimator(**QUICK | {"max_epochs": 2}, early_stopping=True, scoring=scorer, callbacks=[batches])
    net.fit(X, y)
    assert sorted([*batches.rows, *scorer.rows, *scorer.rows]) == sorted([*range(60), *range(60)])


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_inputs_and_targets_are_standardised_by_the_training_rows_alone(estimator, y, weights):
    scorer = Scorer(0.0)
    net = estimator(**QUICK, early_stopping=True, validation_fraction=0.5, scoring=scorer).fit(X, y, weights)
    train = np.delete(np.arange(60), scorer.rows)
    w = None if weights is None else weights[train]
    mean = np.average(X[train].mean(1), weights=w)
    deviation = math.sqrt(np.average(((X[train] - mean) ** 2).mean(1), weights=w))
    assert float(net.module_.standardize.mean) == pytest.approx(mean, rel=1e-9)
    assert float(net.module_.standardize.deviation) == pytest.approx(deviation, rel=1e-9)
    if estimator is CNNRegressor:
        torch.nn.init.zeros_(net.module_.output.weight)
        torch.nn.init.zeros_(net.module_.output.bias)
        np.testing.assert_allclose(net.predict(X), np.average(y[train], weights=w), rtol=1e-9)


# What is measured.


def losses_of(net, rows, y):
    """Compute the cross-entropy of each row, by torch."""
    with torch.no_grad():
        outputs = net.module_(torch.from_numpy(rows)[:, None])
    codes = torch.from_numpy(np.searchsorted(net.classes_, y))
    return functional.cross_entropy(outputs, codes, reduction="none").numpy()


def weighted_accuracy(estimator, X, y, sample_weight=None):
    return accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)


def timed(scorer):
    @functools.wraps(scorer)
    def call(*args, **kwargs):
        return scorer(*args, **kwargs)

    return call


class WeightedAccuracy:
    def __call__(self, estimator, X, y, *, sample_weight=None):
        return weighted_accuracy(estimator, X, y, sample_weight)


WEIGHTED_SCORERS = {
    "a name": "accuracy",
    "a function": weighted_accuracy,
    "a decorated function": timed(weighted_accuracy),
    "a partial function": functools.partial(weighted_accuracy),
    "a partial scorer": functools.partial(get_scorer("accuracy")),
    "an object": WeightedAccuracy(),
    "the estimator's own score": check_scoring(CNNClassifier()),
}
# By which accuracy differs from that of rows that count the same.
UNEQUAL = np.where(np.arange(60) % 4 == 0, 50.0, 0.1)


@pytest.mark.parametrize("scorer", WEIGHTED_SCORERS.values(), ids=WEIGHTED_SCORERS)
def test_a_scorer_that_names_weights_is_given_those_of_the_validation_rows(scorer):
    net = CNNClassifier(**QUICK, early_stopping=True, patience=8, scoring=scorer)
    net.fit(X, LABELS, X_val=-X, y_val=LABELS, sample_weight_val=UNEQUAL)
    best = net.history_["val_score"].max()
    assert best == pytest.approx(net.score(-X, LABELS, UNEQUAL))
    assert best != pytest.approx(net.score(-X, LABELS))


def takes_any(estimator, X, y, **others):
    assert not others
    return 0.0


def has_no_weights(estimator, X, y):
    return 0.0


@functools.wraps(weighted_accuracy)
def decorated_without_weights(estimator, X, y):
    return 0.0


def median_error(y, predicted):
    return 0.0


WITHOUT_WEIGHTS = {
    "a function": has_no_weights,
    "of any arguments": takes_any,
    "decorated": decorated_without_weights,
    "a scorer": make_scorer(median_error),
    "a partial scorer": functools.partial(make_scorer(median_error)),
}


@pytest.mark.parametrize("scorer", WITHOUT_WEIGHTS.values(), ids=WITHOUT_WEIGHTS)
def test_a_scorer_that_names_no_weights_is_called_without_them(scorer):
    net = CNNClassifier(**QUICK | {"max_epochs": 1}, early_stopping=True, scoring=scorer)
    assert net.fit(X, LABELS, WEIGHTS).history_["val_score"].tolist() == [0.0]


def test_weights_that_are_bound_in_a_scorer_stay():
    bound = functools.partial(weighted_accuracy, sample_weight=UNEQUAL)
    net = CNNClassifier(**QUICK | {"max_epochs": 1}, early_stopping=True, scoring=bound)
    net.fit(X, LABELS, X_val=-X, y_val=LABELS, sample_weight_val=WEIGHTS)
    assert net.history_["val_score"].max() == pytest.approx(net.score(-X, LABELS, UNEQUAL))


def test_without_weights_a_scorer_is_called_with_three_arguments():
    def scorer(*args, sample_weight="not given"):
        assert (len(args), sample_weight) == (3, "not given")
        return 0.0

    CNNClassifier(**QUICK | {"max_epochs": 1}, early_stopping=True, scoring=scorer).fit(X, LABELS)


METRICS = {
    accuracy_score: 'scoring="accuracy" or sklearn.metrics.make_scorer(accuracy_score)',
    mean_squared_error: 'scoring="neg_mean_squared_error" or sklearn.metrics.make_scorer(mean_squared_error, '
    "greater_is_better=False)",
    median_error: "sklearn.metrics.make_scorer(median_error)",
}


@pytest.mark.parametrize(("metric", "remedy"), METRICS.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_a_metric_that_is_no_scorer_is_refused_with_the_scorer_to_pass(metric, remedy):
    with pytest.raises(TypeError, match=r"^CNNClassifier: scoring=.* failed on the 6 validation rows: ") as caught:
        CNNClassifier(**QUICK, early_stopping=True, scoring=metric).fit(X, CODES)
    assert str(caught.value).endswith(f"A scorer is called with (estimator, X, y): pass {remedy}.")


@pytest.mark.parametrize("class_weight", [None, {"a": 1, "b": 5, "c": 0.5}, "balanced"], ids=str)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_the_held_out_loss_is_the_weighted_mean_of_the_rows_losses(weights, class_weight):
    scorer = Scorer(0.0)
    params = QUICK | {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 1}
    CNNClassifier(**params, scoring=scorer, class_weight=class_weight).fit(X, LABELS, weights)
    rows, train = scorer.rows, np.delete(np.arange(60), scorer.rows)
    net = CNNClassifier(**params, class_weight=class_weight).fit(X, LABELS, weights)
    w = np.ones(60) if weights is None else weights
    if class_weight == "balanced":  # by the training rows
        class_weight = {label: w[train].sum() / w[train][LABELS[train] == label].sum() for label in "abc"}
    w = w * [1 if class_weight is None else class_weight[label] for label in LABELS]
    losses = losses_of(net, X[rows], LABELS[rows])
    assert net.history_["val_loss"].iloc[-1] == pytest.approx(np.sum(w[rows] * losses) / np.sum(w[rows]), rel=1e-9)


@pytest.mark.parametrize("class_weight", [None, {"a": 1, "b": 5, "c": 0.5}, "balanced"], ids=str)
@pytest.mark.parametrize("weights", [None, WEIGHTS[:20], np.arange(20) % 3], ids=["unweighted", "weighted", "zeros"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_loss_of_the_users_validation_rows_is_their_weighted_mean(early_stopping, weights, class_weight):
    y_val = np.array(["a", "b"])[np.arange(20) % 2]  # no "c"
    net = CNNClassifier(**QUICK | {"max_epochs": 2}, early_stopping=early_stopping, class_weight=class_weight)
    net.fit(X, LABELS, X_val=X[:20], y_val=y_val, sample_weight_val=weights)
    w = np.ones(20) if weights is None else weights
    if class_weight == "balanced":
        class_weight = {label: 60 / np.sum(LABELS == label) for label in "abc"}
    w = w * [1 if class_weight is None else class_weight[label] for label in y_val]
    expected = np.sum(w * losses_of(net, X[:20], y_val)) / np.sum(w)
    assert net.history_["val_loss"].iloc[net.best_epoch_ - 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("weights", [None, WEIGHTS[:20], np.arange(20) % 3], ids=["unweighted", "weighted", "zeros"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_by_default_the_score_in_the_history_is_that_of_the_score_method(estimator, y, weights):
    net = estimator(**QUICK).fit(X, y, X_val=X[:20], y_val=y[:20], sample_weight_val=weights)
    assert net.history_["val_score"].iloc[-1] == pytest.approx(net.score(X[:20], y[:20], weights), rel=1e-12)


SCORINGS = [
    *((CNNClassifier, LABELS, name) for name in ("accuracy", "balanced_accuracy", "neg_log_loss", "f1_macro")),
    *((CNNClassifier, LABELS == "a", name) for name in ("roc_auc", "average_precision", "f1", "neg_brier_score")),
    *((CNNClassifier, SEVERAL_LABELS, name) for name in ("f1_micro", "roc_auc", "accuracy")),
    *((CNNRegressor, 7 + 9 * VALUES, name) for name in ("r2", "neg_mean_absolute_error", "neg_max_error")),
]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("estimator", "y", "name"), SCORINGS)
def test_a_scorer_gives_what_it_gives_for_the_fitted_estimator(estimator, y, name, weights):
    params = QUICK | {"early_stopping": True, "validation_fraction": 0.4}
    scorer = Scorer(0.0)
    estimator(**params, scoring=scorer).fit(X, y, weights)
    rows = scorer.rows
    plain = get_scorer(name)
    arguments = {} if weights is None or name == "neg_max_error" else {"sample_weight": weights[rows]}
    for scoring in (name, plain):
        net = estimator(**params, scoring=scoring).fit(X, y, weights)
        expected = plain(net, X[rows], y[rows], **arguments)
        assert net.history_["val_score"].iloc[net.best_epoch_ - 1] == pytest.approx(expected, rel=1e-12)
        assert net.history_["val_score"].max() == net.history_["val_score"].iloc[net.best_epoch_ - 1]
        assert net.history_["train_score"].isna().all()  # other units


@pytest.mark.parametrize("weights", [None, np.arange(60) % 3], ids=["unweighted", "zeros"])
@pytest.mark.parametrize(("estimator", "y", "name"), SCORINGS[::4])
def test_a_scorer_gives_what_it_gives_on_the_users_validation_rows(estimator, y, name, weights):
    net = estimator(**QUICK, scoring=name).fit(X[:30], y[:30], X_val=X, y_val=y, sample_weight_val=weights)
    expected = get_scorer(name)(net, X, y, sample_weight=weights)
    assert net.history_["val_score"].iloc[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weights", [None, np.arange(60) % 2], ids=["unweighted", "zeros"])
def test_a_callable_is_given_the_users_rows_and_targets_as_they_are(weights):
    frame = pd.DataFrame(X, columns=list("abcdefgh"), index=np.arange(60) + 1000)
    series = pd.Series(LABELS, index=frame.index)
    scorer = Scorer(0.0)
    kept = np.arange(60) if weights is None else np.flatnonzero(weights)
    CNNClassifier(**QUICK | {"max_epochs": 1}, early_stopping=True, scoring=scorer).fit(frame, series, weights)
    (X_val, y_val), rows = scorer.calls[0], scorer.rows
    pd.testing.assert_frame_equal(X_val, frame.iloc[rows])
    pd.testing.assert_series_equal(y_val, series.iloc[rows])
    assert set(rows) <= set(kept)
    scorer.calls.clear()
    CNNClassifier(**QUICK | {"max_epochs": 1}, scoring=scorer).fit(
        frame, series, X_val=frame, y_val=series, sample_weight_val=weights
    )
    pd.testing.assert_frame_equal(scorer.calls[0][0], frame.iloc[kept])
    pd.testing.assert_series_equal(scorer.calls[0][1], series.iloc[kept])


def test_a_callable_may_predict_whatever_it_likes():
    def scorer(estimator, X, y):
        halves = [estimator.predict(X[:3]), estimator.predict(X[3:].copy())]
        np.testing.assert_array_equal(np.concatenate(halves), estimator.predict(X))
        return np.mean(estimator.predict(X) == y)

    net = CNNClassifier(**QUICK, early_stopping=True, scoring=scorer).fit(X, LABELS)
    named = CNNClassifier(**QUICK, early_stopping=True, scoring="accuracy").fit(X, LABELS)
    assert net.history_["val_score"].tolist() == named.history_["val_score"].tolist()


@pytest.mark.parametrize("score", [np.nan, -np.inf])
def test_a_score_that_is_not_finite_is_an_error(score):
    with pytest.raises(ValueError, match=r"CNNClassifier: scoring=.* gave (nan|-inf) on the 6 validation rows"):
        CNNClassifier(**QUICK, early_stopping=True, scoring=Scorer(0.0, score)).fit(X, LABELS)


def test_a_scorer_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="no_such_score"):
        CNNClassifier(**QUICK, early_stopping=True, scoring="no_such_score").fit(X, LABELS)


# When it stops, and what is kept.


@pytest.mark.parametrize("patience", [1, 3, 10])
@pytest.mark.parametrize("score", [0.5, -0.5, 0.0])
def test_a_score_that_never_improves_stops_after_patience_and_one_epochs(score, patience):
    net = CNNClassifier(
        **QUICK | {"max_epochs": 50}, early_stopping=True, patience=patience, scoring=Scorer(score)
    ).fit(X, LABELS)  # fmt: skip
    assert net.n_iter_ == patience + 1
    assert net.best_epoch_ == 1


@pytest.mark.parametrize(
    ("scores", "best", "n_epochs"),
    [
        ((1, 2, 3, 4, 5, 6, 7, 8), 8, 8),
        ((5, 4, 4, 4, 4, 4, 4, 4), 1, 4),
        ((1, 2, 2, 2, 2, 2, 2, 2), 2, 5),
        ((1, 3, 2, 2, 4, 1, 1, 1), 5, 8),
        ((1, 3, 2, 3, 2, 2, 2, 2), 2, 5),
        ((-9, -9, -8, -8, -9, -8, -7, -7), 3, 6),
    ],
    ids=str,
)
def test_the_best_epoch_is_the_first_of_the_best_scores(scores, best, n_epochs):
    params = QUICK | {"early_stopping": True, "patience": 3}
    net = CNNRegressor(**params, scoring=Scorer(*scores)).fit(X, VALUES)
    assert (net.best_epoch_, net.n_iter_) == (best, n_epochs)
    assert net.history_["val_score"].tolist() == list(scores[:n_epochs])


@pytest.mark.parametrize("scoring", ["loss", "accuracy"])
def test_training_stops_patience_epochs_after_the_best(scoring):
    net = CNNClassifier(
        **QUICK | {"max_epochs": 100, "learning_rate": 0.1}, early_stopping=True, patience=4, scoring=scoring
    ).fit(X, LABELS)  # fmt: skip
    watched = net.history_["val_loss"] if scoring == "loss" else -net.history_["val_score"]
    assert net.best_epoch_ == 1 + watched.argmin()
    assert net.n_iter_ == net.best_epoch_ + 4 < 100


@pytest.mark.parametrize(("estimator", "y"), TASKS)
@pytest.mark.parametrize("best", [1, 3, 8])
@pytest.mark.parametrize("validation", ["held out", "given"])
def test_the_best_epochs_weights_and_batch_norm_statistics_are_restored(estimator, y, best, validation):
    params = QUICK | {
        "batch_norm": True, "dropout": 0.3, "conv_dropout": 0.1, "batch_size": 16, "lr_schedule": None,
        "early_stopping": True,
    }  # fmt: skip
    given = {} if validation == "held out" else {"X_val": X[:20] + 1, "y_val": y[:20]}
    scores = [float(epoch == best) for epoch in range(1, 9)]
    stopped = estimator(**params, scoring=Scorer(*scores)).fit(X, y, **given)
    assert (stopped.best_epoch_, stopped.n_iter_) == (best, 8)
    ended = estimator(**params | {"max_epochs": best}, scoring=Scorer(*scores)).fit(X, y, **given)
    assert ended.best_epoch_ == ended.n_iter_ == best
    assert_same_state(state(stopped), state(ended))
    one, other = (net.net_.optimizer_.state_dict() for net in (stopped, ended))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_the_kept_network_scores_what_the_history_says_of_its_epoch(estimator):
    y = LABELS if estimator is CNNClassifier else VALUES
    # A rate that stays this high goes up and down, so that the best epoch is not the last.
    params = QUICK | {"learning_rate": 0.1, "lr_schedule": None, "max_epochs": 30, "batch_norm": True}
    net = estimator(**params, early_stopping=True, patience=30)
    net.fit(X, y, X_val=X[:20], y_val=y[:20])
    assert net.best_epoch_ < net.n_iter_
    assert net.score(X[:20], y[:20]) == pytest.approx(net.history_["val_score"].iloc[net.best_epoch_ - 1], rel=1e-9)


def test_a_fit_that_goes_on_counts_epochs_over_both():
    net = CNNClassifier(**QUICK, early_stopping=True, patience=2, warm_start=True, scoring=Scorer(1, 2, 1, 1))
    assert net.fit(X, LABELS).best_epoch_ == 2
    net.set_params(scoring=Scorer(1, 3, 1, 1)).fit(X, LABELS)
    assert net.n_iter_ == len(net.history_) == 8
    assert net.best_epoch_ == 6


# The user's validation rows.


@pytest.mark.parametrize("scoring", ["loss", Scorer(0.0)], ids=["loss", "constant"])
@pytest.mark.parametrize(("estimator", "y"), TASKS)
def test_validation_rows_are_recorded_and_change_nothing_without_early_stopping(estimator, y, scoring):
    params = QUICK | {"batch_norm": True, "dropout": 0.3, "patience": 1, "batch_size": 16}
    plain = estimator(**params).fit(X, y)
    net = estimator(**params, scoring=scoring).fit(X, y, X_val=X[:20], y_val=y[:20])
    assert_same_state(state(plain), state(net))
    assert net.n_iter_ == net.best_epoch_ == 8
    assert net.history_[["val_loss", "val_score"]].notna().all(axis=None)
    assert plain.history_[["val_loss", "val_score"]].isna().all(axis=None)


def test_with_validation_rows_of_the_users_nothing_is_held_out():
    batches = type("Recorded", (Batches,), {"rows": []})
    net = CNNClassifier(**QUICK | {"max_epochs": 1}, early_stopping=True, callbacks=[batches])
    net.fit(X, LABELS, X_val=X, y_val=LABELS)
    assert sorted(batches.rows) == list(range(60))


@pytest.mark.parametrize("kind", [np.asarray, list, pd.DataFrame, torch.from_numpy], ids=lambda kind: kind.__name__)
def test_validation_rows_may_be_of_another_form_than_the_training_rows(kind):
    one, other = (
        CNNClassifier(**QUICK).fit(X, LABELS, X_val=rows, y_val=y)
        for rows, y in ((X[:20], LABELS[:20]), (kind(X[:20]), list(LABELS[:20])))
    )
    assert one.history_["val_loss"].tolist() == other.history_["val_loss"].tolist()


def test_validation_targets_may_be_a_sparse_indicator_matrix():
    one, other = (
        CNNClassifier(**QUICK, early_stopping=True, scoring="f1_micro").fit(X, y, X_val=X, y_val=y)
        for y in (SEVERAL_LABELS, sparse.coo_matrix(SEVERAL_LABELS))
    )
    assert one.history_["val_score"].tolist() == other.history_["val_score"].tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"X_val": X}, "y_val"),
        ({"y_val": LABELS}, "X_val"),
        ({"sample_weight_val": WEIGHTS}, "X_val"),
        ({"X_val": X, "y_val": LABELS[:50]}, "50"),
        ({"X_val": X[:, :7], "y_val": LABELS}, "7 features"),
        ({"X_val": X, "y_val": np.where(LABELS == "a", "z", LABELS)}, "'z'"),
        ({"X_val": X, "y_val": LABELS, "sample_weight_val": -WEIGHTS}, "negative"),
        ({"X_val": X, "y_val": LABELS, "sample_weight_val": 0 * WEIGHTS}, "zero"),
        ({"X_val": np.where(X == X.max(), np.nan, X), "y_val": LABELS}, "NaN"),
    ],
    ids=str,
)
def test_validation_rows_that_cannot_be_used_are_an_error(arguments, words):
    net = CNNClassifier(**QUICK)
    with pytest.raises(ValueError, match=words):
        net.fit(X, LABELS, **arguments)
    assert not hasattr(net, "net_")


def test_validation_rows_of_classes_without_weight_are_an_error():
    net = CNNClassifier(**QUICK, class_weight={"a": 0})
    with pytest.raises(ValueError, match="validation row"):
        net.fit(X, LABELS, X_val=X[:5], y_val=["a"] * 5)


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", make_scorer(log_loss, response_method="predict_proba")])
def test_a_scorer_of_methods_that_a_regressor_lacks_is_refused_before_it_trains(scoring):
    epochs = []

    class Note(Callback):
        def on_epoch_begin(self, net, **kwargs):
            epochs.append(net)

    net = CNNRegressor(filters=2, early_stopping=True, scoring=scoring, callbacks=[Note], random_state=0)
    with pytest.raises(
        ValueError, match=r"CNNRegressor: scoring=.* needs .*predict_proba, which CNNRegressor does not"
    ):
        net.fit(np.random.RandomState(0).rand(40, 8), np.arange(40.0))
    assert not epochs


def test_a_scorer_that_does_not_suit_y_is_not_said_to_lack_rows():
    net = CNNClassifier(filters=2, early_stopping=True, scoring="f1", max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=r"scoring='f1' failed on .* rows: Target is multiclass.*\. Check that it"):
        net.fit(np.random.RandomState(0).rand(60, 8), np.arange(60) % 3)
