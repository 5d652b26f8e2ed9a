"""Laws of the hold-out, on many random draws; `test_early_stopping.py` tests them through the estimators."""

import math
import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from sklcnn.data.split import split_rows

RANDOM = np.random.RandomState(0)


def split(n, fraction=0.1, seed=0, *, codes=None, groups=None):
    """Divide the numbers from 100 on; give the places that train and validate."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(one row|one group) each")
        train, valid = split_rows(
            100 + np.arange(n), fraction=fraction, codes=codes, groups=groups, seed=seed, estimator_name="owner"
        )
    return train - 100, valid - 100


def drawings(kind):
    """Draw sizes, shares, classes and groups."""
    for seed in range(60):
        rng = np.random.RandomState(seed)
        n, fraction = rng.randint(2, 200), rng.uniform(0.01, 0.99)
        codes = rng.choice(rng.randint(1, 8), n, p=None)
        groups = rng.choice(rng.randint(2, 30), n)
        indicators = rng.rand(n, 4) < rng.uniform(0, 1, 4) ** 2
        yield (
            n,
            fraction,
            seed,
            {
                "plain": {},
                "classes": {"codes": codes},
                "groups": {"groups": groups},
                "classes and groups": {"codes": codes, "groups": groups},
                "labels": {"codes": indicators},
                "labels and groups": {"codes": indicators, "groups": groups},
            }[kind],
        )


KINDS = ["plain", "classes", "groups", "classes and groups", "labels", "labels and groups"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_are_the_whole_in_order(kind):
    for n, fraction, seed, known in drawings(kind):
        try:
            train, valid = split(n, fraction, seed, **known)
        except ValueError:
            continue  # nothing can be held out; below
        assert len(train) and len(valid)
        np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), np.arange(n))
        assert (np.diff(train) > 0).all()
        assert (np.diff(valid) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_parts_and_another_seed_others(kind):
    codes = np.arange(100) % 3
    known = {
        "codes": codes if "classes" in kind else np.eye(3)[codes] if "labels" in kind else None,
        "groups": np.arange(100) // 4 if "groups" in kind else None,
    }
    parts = [tuple(split(100, 0.2, seed, **known)[1]) for seed in (0, 0, 1, 2)]
    assert parts[0] == parts[1]
    assert len(set(parts)) == 3


def test_every_row_is_held_out_as_often_as_another():
    counts = np.bincount(np.concatenate([split(20, 0.3, seed)[1] for seed in range(500)]), minlength=20)
    assert np.abs(counts / 500 - 0.3).max() < 0.1
    codes = np.arange(20) % 2
    for known in ({"codes": codes}, {"codes": np.eye(2)[codes]}, {"codes": codes, "groups": np.arange(20)}):
        counts = np.bincount(np.concatenate([split(20, 0.3, seed, **known)[1] for seed in range(200)]), minlength=20)
        assert np.abs(counts / 200 - 0.3).max() < 0.15


def test_without_classes_and_groups_the_size_is_exact():
    for n, fraction, seed, _ in drawings("plain"):
        valid = split(n, fraction, seed)[1]
        assert len(valid) == min(max(1, math.ceil(fraction * n - 1e-9)), n - 1)


def test_a_share_that_is_whole_but_for_rounding_is_whole():
    assert len(split(10, 0.1)[1]) == 1
    assert len(split(100, 0.29)[1]) == 29  # 0.29 * 100 is 28.999999999999996
    assert len(split(1000, 0.007)[1]) == 7  # 0.007 * 1000 is 7.000000000000001


def test_classes_give_their_share_and_keep_a_row():
    for n, fraction, seed, known in drawings("classes"):
        codes = known["codes"]
        train, valid = split(n, fraction, seed, **known) if len(set(codes)) < n else (None, None)
        if valid is None:
            continue
        assert set(codes[train]) == set(codes)
        total = min(math.ceil(fraction * n - 1e-9), n - len(set(codes)))
        assert len(valid) == max(1, total)
        for code in set(codes):
            count = np.sum(codes == code)
            exact = count * math.ceil(fraction * n - 1e-9) / n
            if exact <= count - 1:  # others may take over what a class cannot give
                assert np.sum(codes[valid] == code) > exact - 1


def test_groups_stay_whole_and_come_near_the_share():
    for n, fraction, seed, known in drawings("groups"):
        groups = known["groups"]
        if len(set(groups)) == 1:
            continue
        train, valid = split(n, fraction, seed, **known)
        assert not set(groups[train]) & set(groups[valid])
        sizes = np.bincount(groups)
        assert abs(len(valid) - fraction * n) <= sizes.max() + 1


@pytest.mark.parametrize("with_classes", [False, True])
@pytest.mark.parametrize("sizes", [[270, *[6] * 5], [900, *[10] * 9], [200, 200, *[10] * 8]])
def test_small_groups_do_not_make_up_for_a_large_one(sizes, with_classes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    codes = np.arange(len(groups)) % 2 if with_classes else None
    for seed in range(20):
        train, valid = split(len(groups), codes=codes, groups=groups, seed=seed)
        assert 1 <= len(set(groups[valid])) <= 2
        assert len(train) + len(valid) == len(groups)


def test_groups_leave_every_class_to_train_on():
    for n, fraction, seed, known in drawings("classes and groups"):
        codes, groups = known["codes"], known["groups"]
        try:
            train, valid = split(n, fraction, seed, **known)
        except ValueError:
            # No group can leave: each has all rows of some class.
            assert all(set(codes) - set(codes[groups != group]) for group in set(groups))
            continue
        assert set(codes[train]) == set(codes)
        assert not set(groups[train]) & set(groups[valid])


def test_labels_leave_a_row_with_each_and_one_without_to_train_on():
    for kind in ("labels", "labels and groups"):
        for n, fraction, seed, known in drawings(kind):
            indicators, groups = known["codes"], known.get("groups", np.arange(n))
            try:
                train, valid = split(n, fraction, seed, **known)
            except ValueError:
                # No group can leave: each has all rows with some label, or all without.
                assert all(
                    any(set(label) - set(label[groups != group]) for label in indicators.T) for group in set(groups)
                )
                continue
            assert not set(groups[train]) & set(groups[valid])
            for label in range(4):
                assert set(indicators[train, label]) == set(indicators[:, label])


def test_labels_are_held_out_by_their_shares_in_as_many_rows_as_asked_for():
    for seed in range(20):
        indicators = np.random.RandomState(seed).rand(400, 4) < [0.02, 0.05, 0.3, 0.6]
        valid = split(400, 0.2, seed, codes=indicators)[1]
        assert len(valid) == 80
        expected = 0.2 * indicators.sum(0)
        assert (np.abs(indicators[valid].sum(0) - expected) <= np.maximum(1, 0.25 * expected)).all()


RARE = {
    "rows of patients": (np.random.RandomState(1).permutation(400) < 10, np.repeat(np.arange(40), 10)),
    "patients": (np.arange(400) < 30, np.repeat(np.arange(40), 10)),
    "patients of all sizes": (np.arange(400) % 20 == 0, np.minimum(np.arange(400) % 50, 30)),
    "rows": (np.arange(400) < 3, None),
    "rows with a rare label": (np.stack([np.arange(400) < 3, np.arange(400) % 2], 1), None),
}


@pytest.mark.parametrize("kind", RARE)
def test_some_of_a_rare_class_is_always_held_out(kind):
    codes, groups = RARE[kind]
    rare = (codes[:, 0] if codes.ndim == 2 else codes) > 0
    for seed in range(30):
        train, valid = split(400, 0.1, seed, codes=codes.astype(int), groups=groups)
        assert rare[valid].any() and rare[train].any()
        assert 30 <= len(valid) <= 60


def test_groups_are_stratified_no_worse_than_by_scikit_learn():
    ours, theirs = [], []
    for seed in range(20):
        rng = np.random.RandomState(seed)
        codes, groups = rng.choice(4, 500, p=[0.55, 0.3, 0.1, 0.05]), rng.choice(50, 500)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(codes, codes, groups)
        for errors, valid in ((ours, split(500, 0.2, seed, codes=codes, groups=groups)[1]), (theirs, next(folds)[1])):
            shares = np.bincount(codes[valid], minlength=4) / np.bincount(codes)
            errors.append(np.abs(shares - 0.2).mean())
    assert np.mean(ours) < 1.2 * np.mean(theirs)


@pytest.mark.parametrize(
    ("codes", "groups", "message"),
    [
        ([0, 0, 0, 1, 1, 2], None, r"the classes \['c'\] have one row each"),
        ([0, 0, 0, 1, 1, 2], [1, 1, 2, 3, 3, 2], r"the classes \['b', 'c'\] are in one group each"),
        ([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 1]], None, r"the labels \['b'\] have one row each"),
        ([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 1]], [0, 1, 2, 2], r"the labels \['b'\] are in one group each"),
    ],
    ids=["classes", "classes and groups", "labels", "labels and groups"],
)
def test_a_warning_names_the_classes_that_cannot_be_held_out(codes, groups, message):
    codes = np.array(codes)
    with pytest.warns(UserWarning, match=rf"owner: {message}, which trains; the validation rows hold none of them"):
        train, valid = split_rows(
            np.arange(len(codes)), fraction=0.3, codes=codes, groups=groups, labels=np.array(list("abc")), seed=0,
            estimator_name="owner",
        )  # fmt: skip
    assert len(train) and len(valid)


def test_twenty_thousand_groups_of_a_thousand_classes_are_divided():
    n = 20_000
    codes, groups = np.random.RandomState(1).randint(0, 1000, n), np.arange(n)
    train, valid = split(n, 0.1, codes=codes, groups=groups)
    assert len(valid) == 2000
    assert set(codes[train]) == set(codes)


@pytest.mark.parametrize(
    "known",
    [
        {"codes": np.arange(5)},
        {"groups": np.zeros(5, int)},
        {"codes": np.array([0, 0, 1, 1, 1]), "groups": np.array([0, 0, 1, 1, 1])},
    ],
    ids=["classes of one row", "one group", "a class a group"],
)
def test_where_no_row_can_be_held_out_it_is_an_error(known):
    with pytest.raises(ValueError, match=r"owner: early_stopping .*none of the 5 can be held out"):
        split(5, **known)


def test_a_hundred_thousand_classes_are_divided_at_once(monkeypatch):
    """Sorting them for each row that is held out took minutes."""
    sorts, sort = [], np.lexsort
    monkeypatch.setattr(np, "lexsort", lambda keys: sorts.append(1) or sort(keys))
    _, valid = split(200_000, codes=np.random.RandomState(0).randint(0, 100_000, 200_000))
    assert len(valid) == 20_000
    assert len(sorts) <= 3
