"""Laws of rows of weight zero: whatever is in them, it is as if they were absent."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor

N = 16
RANDOM = np.random.RandomState(0)
PIXELS = RANDOM.randint(0, 256, (N, 5, 6, 1))
SHARES = PIXELS / 255
LABELS = np.arange(N) % 2
WEIGHTS = np.where(np.isin(np.arange(N), [0, 1, 7, N - 1]), 0.0, 1.0 + LABELS)
KEPT = np.flatnonzero(WEIGHTS)
QUICK = {"filters": 2, "dense_units": (), "max_epochs": 2, "random_state": 0}


def flatten(sample_shape):
    return nn.Flatten()


def with_rows(values, **others):
    """Replace rows, given as `row_0`, ..., in a copy of an array or a list."""
    changed = values.copy()
    for name, value in others.items():
        changed[int(name.removeprefix("row_"))] = value
    return changed


def pick(values):
    return [values[row] for row in KEPT] if isinstance(values, list) else values[KEPT]


def same_fit(X, y=LABELS, groups=None, estimator=CNNClassifier, X_kept=None, **params):
    """Fit on all rows by weight and on those of some weight alone; both must be the same network."""
    known = {} if groups is None else {"groups": groups}
    fit = estimator(**QUICK, **params).fit(X, y, WEIGHTS, **known)
    known = {} if groups is None else {"groups": pick(groups)}
    other = estimator(**QUICK, **params).fit(pick(X) if X_kept is None else X_kept, pick(y), WEIGHTS[KEPT], **known)
    ours, theirs = fit.module_.state_dict(), other.module_.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("backbone", [None, flatten], ids=["convolutions", "backbone"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "X",
    [
        with_rows(PIXELS, row_0=999),
        with_rows(SHARES, row_7=99.0),
        with_rows(SHARES, row_0=np.nan, row_15=np.inf),
        with_rows(SHARES.astype("float16"), row_1=np.nan),
        torch.from_numpy(with_rows(SHARES, row_7=np.nan)),
    ],
    ids=["integers beyond 255", "floats beyond 1", "NaN and infinity", "half precision", "tensor"],
)
def test_the_values_of_an_array(X, early_stopping, backbone):
    assert same_fit(X, early_stopping=early_stopping, backbone=backbone)


def test_what_a_callable_augmentation_is_given():
    largest = []

    def look(images):
        largest.append(float(images.max()))
        return images

    assert same_fit(with_rows(PIXELS, row_0=999), augmentation=look)
    assert max(largest) <= 1


FLAT = [row.tolist() for row in SHARES.reshape(N, -1)]
FRAME = pd.DataFrame(with_rows(SHARES.reshape(N, -1), row_0=np.nan, row_7=np.inf))
TABLES = {
    "DataFrame": (FRAME, FRAME.iloc[KEPT]),
    "polars": (pl.DataFrame(FRAME.to_numpy()), pl.DataFrame(FRAME.to_numpy()[KEPT])),
    "lists": (with_rows(FLAT, row_0=["a"] * 30, row_7=[1.0]), pick(FLAT)),
    "objects": (with_rows(np.array(FLAT, dtype=object), row_1=None, row_7="a"), np.array(pick(FLAT), dtype=object)),
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_values_of_a_table(kind):
    X, X_kept = TABLES[kind]
    assert same_fit(X, X_kept=X_kept, input_shape=(5, 6))


class RowsInOrder:
    """An array of which rows can be taken in increasing order alone, as of a data set of HDF5."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __len__(self):
        return len(self.array)

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __getitem__(self, rows):
        raise TypeError("Indexing elements must be in increasing order")


@pytest.mark.parametrize("form", [RowsInOrder, lambda X: dict(enumerate(X)).values()], ids=["in order", "of a dict"])
def test_the_values_of_what_gives_no_rows_in_any_order(form):
    assert same_fit(form(with_rows(SHARES, row_0=np.nan, row_15=np.inf)), X_kept=pick(SHARES))


PICTURES = [Image.fromarray(pixels[:, :, 0].astype(np.uint8)) for pixels in PIXELS]
ARRAYS = list(PIXELS.astype(np.uint8))
COLLECTIONS = {
    "pictures": with_rows(PICTURES, row_0=None, row_1="nowhere.png", row_7=b"no picture"),
    "arrays": with_rows(ARRAYS, row_0=np.ones((2, 9)), row_1=SHARES[1], row_7=None),
}


@pytest.mark.parametrize("form", [list, pd.Series, lambda values: pd.DataFrame({"picture": values})])
@pytest.mark.parametrize("kind", COLLECTIONS)
def test_pictures_of_rows_of_weight_zero_may_be_anything(kind, form):
    assert same_fit(form(COLLECTIONS[kind]), X_kept=form(pick(COLLECTIONS[kind])))


def test_columns_of_pictures_in_a_fit_that_goes_on():
    frame = pd.DataFrame({"picture": PICTURES})
    damaged = pd.DataFrame({"picture": COLLECTIONS["pictures"]})
    cnn = CNNClassifier(**QUICK, warm_start=True).fit(frame, LABELS)
    cnn.fit(damaged, LABELS, WEIGHTS, X_val=damaged, y_val=LABELS, sample_weight_val=WEIGHTS)
    cnn.partial_fit(damaged, LABELS, sample_weight=WEIGHTS)
    assert cnn.n_iter_ == 5


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (CNNClassifier, with_rows(LABELS.tolist(), row_0="no number")),
        (CNNClassifier, with_rows(LABELS.astype(float), row_7=np.nan)),
        (CNNClassifier, with_rows(np.column_stack([LABELS, 1 - LABELS, 0 * LABELS + 1]), row_0=7)),
        (CNNRegressor, with_rows(LABELS.astype(float), row_7=np.inf)),
    ],
    ids=["mixed labels", "NaN among labels", "indicators", "infinite value"],
)
def test_targets_of_rows_of_weight_zero_may_be_anything(estimator, y):
    assert same_fit(SHARES, y, estimator=estimator)


@pytest.mark.parametrize(
    "groups",
    [with_rows(np.arange(N) // 2.0, row_0=np.nan), with_rows([f"{row // 2}" for row in range(N)], row_0=None, row_1=3)],
    ids=["NaN", "mixed"],
)
def test_groups_of_rows_of_weight_zero_may_be_anything(groups):
    assert same_fit(SHARES, groups=groups, early_stopping=True)


def test_validation_rows_of_weight_zero_may_be_anything():
    X_val, y_val = with_rows(SHARES, row_0=np.nan), with_rows(LABELS, row_7=99)
    cnn = CNNClassifier(**QUICK)
    one = cnn.fit(SHARES, LABELS, X_val=X_val, y_val=y_val, sample_weight_val=WEIGHTS).history_
    other = cnn.fit(SHARES, LABELS, X_val=X_val[KEPT], y_val=y_val[KEPT], sample_weight_val=WEIGHTS[KEPT]).history_
    np.testing.assert_array_equal(one["val_loss"], other["val_loss"])
    np.testing.assert_array_equal(one["val_score"], other["val_score"])


def test_a_fault_in_a_row_that_counts_is_still_found():
    cnn = CNNClassifier(**QUICK)
    with pytest.raises(ValueError, match="NaN"):
        cnn.fit(with_rows(SHARES, row_3=np.nan), LABELS, WEIGHTS)
    with pytest.raises(ValueError, match="image of row 3"):
        cnn.fit(with_rows(PICTURES, row_3=None, row_0=None), LABELS, WEIGHTS)


class LikeZarr:
    """An array that is indexed by lists of rows as zarr's are: by an attribute of its own."""

    def __init__(self, values):
        self.values, self.oindex = values, values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)

    def __getitem__(self, rows):
        if isinstance(rows, tuple) or np.ndim(rows):
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return self.values[rows]


def test_arrays_of_zarr_are_indexed_as_they_allow():
    X, y = np.random.RandomState(0).rand(30, 8), np.arange(30) % 2
    weights = np.where(np.arange(30) == 3, 0.0, 1.0)

    def share_right(cnn, X, y):
        return float((cnn.predict(np.asarray(X)) == np.asarray(y)).mean())

    params = {"filters": 2, "dense_units": (), "max_epochs": 2, "random_state": 0, "early_stopping": True}
    one, other = (
        CNNClassifier(**params, scoring=share_right).fit(*data, sample_weight=weights)
        for data in ((X, y), (LikeZarr(X), LikeZarr(y)))
    )
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
