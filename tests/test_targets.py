"""Laws of targets: what y may be, what of it comes back, and what sample and class weights may be."""

import warnings
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import DataConversionWarning

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.tasks.learn import learn_labels, learn_values

N = 12
RANDOM = np.random.RandomState(0)
X = RANDOM.randn(N, 8)
CODES = np.arange(N) % 3
INDICATORS = RANDOM.randint(0, 2, (N, 4))
VALUES = 100 + 30 * RANDOM.randn(N)
TABLE = np.stack([VALUES, -VALUES, VALUES**2], 1)
QUICK = {"filters": (2,), "dense_units": (), "max_epochs": 2, "random_state": 0, "precision": "float64"}


def classify(y, **params):
    return CNNClassifier(**QUICK, **params).fit(X, y)


def regress(y, **params):
    return CNNRegressor(**QUICK, **params).fit(X, y)


# Labels.

ARRAYS = {
    "int64": CODES,
    "negative": CODES - 5,
    "not consecutive": CODES * 10**12,
    "uint8": CODES.astype("uint8"),
    "big endian": CODES.astype(">i4"),
    "floats": CODES + 1.0,
    "float32": (CODES + 1).astype("float32"),
    "bool": CODES > 0,
    "strings": np.array(["cat", "dog", "a longer name"])[CODES],
    "objects": np.array(["cat", "dog", "a longer name"], dtype=object)[CODES],
    "objects that are numbers": np.array([3, 10, 2], dtype=object)[CODES],
    "objects that sort": np.array([Decimal(3), Decimal(10), Decimal(2)])[CODES],
    "StringDType": np.array(["cat", "dog", "a longer name"])[CODES].astype(np.dtypes.StringDType()),
    "dates": np.array(["2001-01-01", "1999-12-31", "2024-02-29"], dtype="datetime64[D]")[CODES],
    "column": CODES[:, None],
}


@pytest.mark.parametrize("kind", [name for name in ARRAYS if name != "column"])
def test_predicted_labels_are_labels_as_given(kind):
    y = ARRAYS[kind]
    net = classify(y, early_stopping=True)
    np.testing.assert_array_equal(net.classes_, np.unique(y))
    predicted = net.predict(X)
    assert predicted.dtype == net.classes_.dtype == y.dtype
    assert predicted.shape == (N,)
    assert np.isin(predicted, net.classes_).all()
    assert {type(label) for label in predicted.tolist()} <= {type(label) for label in y.tolist()}
    np.testing.assert_array_equal(predicted, net.classes_[net.predict_proba(X).argmax(1)])


@pytest.mark.parametrize(
    "labels", [[Decimal(1), Decimal(2)], [date(2020, 1, 1), date(2021, 1, 1)], [10**30, 10**31]], ids=str
)
def test_labels_of_any_type_that_sorts_are_scored(labels):
    y = np.array(labels, dtype=object)[np.arange(N) % 2]
    cnn, weights = classify(y), np.arange(N)
    assert cnn.score(X, cnn.predict(X)) == 1
    assert cnn.score(X, y, weights) == np.average(cnn.predict(X) == y, weights=weights)
    with pytest.raises(ValueError, match=rf"take no labels of type {type(labels[0]).__name__}: pass y as texts"):
        classify(y, early_stopping=True, validation_fraction=0.5, scoring="accuracy")


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(pd.period_range("2020", periods=2, freq="Y"))[CODES % 2],
        pd.Series(pd.interval_range(0, 2))[CODES % 2],
        pd.Series(pd.date_range("2020", periods=2, tz="UTC"))[CODES % 2],
        pd.Series(2**60 + CODES, dtype="Int64"),
        pd.DataFrame({"y": pd.Series(2**60 + CODES, dtype="UInt64")}),
        pd.Series(CODES > 0, dtype="category"),
        pd.Series(pd.Series(2**60 + CODES, dtype="Int64"), dtype="category"),
        torch.tensor(CODES),
    ],
    ids=["periods", "intervals", "dates with a zone", "large", "large, in a table", "bool categories",
         "large categories", "tensor"],
)  # fmt: skip
def test_labels_that_fit_takes_are_scored_as_they_are(y):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*column-vector y")
        cnn = classify(y)
    labels = y.iloc[:, 0] if isinstance(y, pd.DataFrame) else y
    right = [bool(one == other) for one, other in zip(cnn.predict(X).tolist(), labels.tolist(), strict=True)]
    assert 0 < np.mean(right) < 1
    assert cnn.score(X, y) == np.mean(right)
    weights = np.arange(N) + 1.0
    assert cnn.score(X, y, torch.tensor(weights)) == pytest.approx(np.average(right, weights=weights))


@pytest.mark.parametrize("kind", ["int64", "strings", "bool", "floats"])
def test_labels_that_are_arrays_of_no_axes_are_the_labels_in_an_array(kind):
    y = ARRAYS[kind]
    one_by_one = [np.array(label) for label in y]
    cnn = classify(one_by_one, early_stopping=True)
    np.testing.assert_array_equal(cnn.predict_proba(X), classify(y, early_stopping=True).predict_proba(X))
    assert cnn.classes_.tolist() == np.unique(y).tolist()
    assert cnn.score(X, one_by_one) == cnn.score(X, y)
    cnn = CNNClassifier(**QUICK).fit(X, y, X_val=X, y_val=one_by_one)
    assert cnn.history_["val_score"].iloc[-1] == cnn.score(X, y)


def test_truth_values_in_categories_stay_truth_values():
    assert classify(pd.Series(CODES > 0, dtype="category")).classes_.dtype == bool


def test_a_regressor_scores_tensors_that_have_gradients():
    y = torch.tensor(X.mean(1), requires_grad=True)
    cnn = regress(y)
    assert cnn.score(X, y) == cnn.score(X, X.mean(1))


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy has it from 2.0 on")
def test_labels_of_numpys_stringdtype_go_with_other_texts():
    names, texts = np.array(["0", "1", "2"])[CODES].astype(np.dtypes.StringDType()), CODES.astype(str)
    plain = classify(texts)
    cnn = classify(names)
    assert cnn.score(X, texts) == cnn.score(X, names) == plain.score(X, names) == plain.score(X, texts)
    weights = {"0": 1, "1": 2, "2": 3}
    for class_weight in (weights, "balanced"):
        one, other = (classify(y, class_weight=class_weight).predict_proba(X) for y in (names, texts))
        np.testing.assert_array_equal(one, other)
    assert classify(names, early_stopping=True).n_iter_ == classify(texts, early_stopping=True).n_iter_
    streams = [CNNClassifier(**QUICK).partial_fit(X, y, classes=list("012")) for y in (names, texts)]
    np.testing.assert_array_equal(*(stream.partial_fit(X, list(texts)).predict_proba(X) for stream in streams))
    with pytest.raises((TypeError, ValueError), match=r"no labels of NumPy's StringDType: pass y.astype\(object\)"):
        classify(names, early_stopping=True, scoring="balanced_accuracy")


@pytest.mark.parametrize("class_weight", [{"0": 3, "1": 2}, {"0": 1, "1": 2, "2": 3, "3": 4}])
def test_class_weights_of_texts_that_are_numbers_are_theirs(class_weight):
    """scikit-learn looks for the number 1 where a label is the text "1". Classes that are left out weigh 1."""
    texts = CODES.astype(str)
    weights = np.array([class_weight.get(label, 1) for label in texts], dtype=float)
    one, other = classify(texts, class_weight=class_weight), CNNClassifier(**QUICK).fit(X, texts, weights)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-5)


def test_class_weights_of_other_labels_are_refused():
    with pytest.raises(ValueError, match=r"class_weight=.* does not fit .*The classes, \['2'\], are not in"):
        classify(CODES.astype(str), class_weight={"0": 1, "1": 1, 2: 2})


@pytest.mark.parametrize("kind", [name for name in ARRAYS if name != "bool"])
def test_only_the_order_of_the_labels_matters(kind):
    y = ARRAYS[kind]
    codes = np.unique(y.ravel(), return_inverse=True)[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*column-vector y")
        net = classify(y)
    np.testing.assert_array_equal(net.predict_proba(X), classify(codes).predict_proba(X))
    np.testing.assert_array_equal(net.predict(X), net.classes_[classify(codes).predict(X)])


def test_a_column_of_labels_is_taken_with_scikit_learns_warning():
    with pytest.warns(match="column-vector y") as caught:
        net = classify(CODES[:, None])
    assert len(caught) == 1
    assert net.predict(X).shape == (N,)


NAMES = np.array(["cat", "dog", "emu"])[CODES]
TABLE_LABELS = {
    "Series": pd.Series(NAMES),
    "Series of objects": pd.Series(NAMES, dtype=object),
    "Series with another index": pd.Series(NAMES, index=np.arange(N)[::-1] + 100),
    "Categorical": pd.Categorical(NAMES),
    "Series of categories": pd.Series(NAMES, dtype="category"),
    "Series of categories in another order": pd.Series(pd.Categorical(NAMES, ["emu", "none", "cat", "dog"])),
    "Series of strings": pd.Series(NAMES, dtype="string"),
    "Series of pyarrow's strings": pd.Series(NAMES, dtype="string[pyarrow]"),
    "Index": pd.Index(NAMES),
    "list": NAMES.tolist(),
    "tuple": tuple(NAMES.tolist()),
    "polars": pl.Series("y", NAMES.tolist()),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", TABLE_LABELS)
def test_labels_in_pandas_and_lists_are_the_labels_in_an_array(kind, early_stopping):
    net = classify(TABLE_LABELS[kind], early_stopping=early_stopping)
    plain = classify(NAMES, early_stopping=early_stopping)
    assert list(net.classes_) == ["cat", "dog", "emu"]
    assert list(net.predict(X)) == list(plain.predict(X))
    np.testing.assert_array_equal(net.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "int64[pyarrow]", "Float64", "boolean", "bool[pyarrow]"])
def test_nullable_labels_are_the_labels_in_an_array(dtype):
    y = CODES > 0 if "bool" in dtype else CODES
    net, plain = classify(pd.Series(y).astype(dtype), early_stopping=True), classify(y, early_stopping=True)
    assert net.classes_.tolist() == plain.classes_.tolist()
    np.testing.assert_array_equal(net.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("dtype", ["Int64", "int64[pyarrow]"])
def test_large_integers_in_nullable_columns_stay_apart(dtype):
    large = 2**60 + CODES
    labels = pd.Series(large).astype(dtype)
    for y in (labels, labels.array):
        assert CNNClassifier(**QUICK).fit(X, y).classes_.tolist() == np.unique(large).tolist()
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = CNNClassifier(**QUICK).fit(X, labels.to_frame("y"))
    assert column.classes_.tolist() == np.unique(large).tolist()
    first = CNNClassifier(**QUICK).partial_fit(X, labels, classes=labels.drop_duplicates())
    assert first.classes_.tolist() == np.unique(large).tolist()
    groups = 2**60 + np.arange(N) // 2
    plain = CNNClassifier(**QUICK, early_stopping=True).fit(X, CODES, groups=groups)
    same = CNNClassifier(**QUICK, early_stopping=True).fit(X, CODES, groups=pd.Series(groups).astype(dtype))
    np.testing.assert_array_equal(same.predict_proba(X), plain.predict_proba(X))


def test_nullable_labels_come_back_as_integers_and_truth_values():
    assert classify(pd.Series(CODES).astype("Int16")).predict(X).dtype == np.int16
    assert classify(pd.Series(CODES > 0).astype("boolean")).predict(X).dtype == bool
    sets = pd.DataFrame({"a": CODES > 0, "b": CODES < 2}).astype("boolean")
    np.testing.assert_array_equal(
        CNNClassifier(**QUICK).fit(X, sets).predict_proba(X),
        CNNClassifier(**QUICK).fit(X, sets.to_numpy(bool)).predict_proba(X),
    )


@pytest.mark.parametrize(
    ("classes", "words"), [([0], "classes holds 1 class"), ([1, "a"], "labels in classes .* mix .*'int', 'str'")]
)
def test_faulty_classes_are_named(classes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        CNNClassifier(**QUICK).partial_fit(X, CODES, classes=classes)


def test_one_weight_for_all_rows_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="sample_weight contains NaN or infinity"):
        CNNClassifier(**QUICK).fit(X, CODES, sample_weight=np.nan)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32])
def test_labels_in_a_tensor_are_the_labels_in_an_array(dtype):
    y = torch.from_numpy(CODES).to(dtype)
    net, plain = classify(y, early_stopping=True), classify(y.numpy(), early_stopping=True)
    assert net.predict(X).dtype == y.numpy().dtype
    np.testing.assert_array_equal(net.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA], ids=str)
@pytest.mark.parametrize("dtype", [object, "Int64", "string", "category", "float64"])
def test_a_missing_label_is_an_error(dtype, missing):
    y = pd.Series(NAMES if dtype in (object, "string", "category") else CODES).astype(dtype)
    y.iloc[4] = np.nan if dtype == "float64" else missing
    net = CNNClassifier(**QUICK)
    with pytest.raises((ValueError, TypeError), match=r"(?i)nan|missing|sorted"):
        net.fit(X, y)
    assert not hasattr(net, "net_")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (VALUES, "continuous"),
        ([0] * N, "1 class"),
        (np.array([1, "a"] * 6, dtype=object), "mix .*'int', 'str'"),
        (VALUES.astype(object), "continuous"),
        (np.array([1, np.nan] * 6, dtype=object), "NaN"),
        (CODES[:-1], "11"),
        (None, "y"),
        (np.stack([CODES, CODES], 1), "zeros and ones"),
        (np.zeros((N, 2, 2), int), "dim 3|shape"),
        (INDICATORS.astype(float) + 0.5, "zeros and ones"),
        (np.where(INDICATORS == 1, np.nan, 0), "NaN"),
    ],
    ids=[
        "values",
        "one class",
        "mixed",
        "objects",
        "object NaN",
        "too few",
        "none",
        "two columns",
        "cube",
        "halves",
        "NaN",
    ],
)
def test_invalid_labels_are_an_error(y, words):
    net = CNNClassifier(**QUICK)
    with pytest.raises((ValueError, TypeError), match=words):
        net.fit(X, y)
    assert not hasattr(net, "net_")


def test_encoding_then_decoding_is_the_identity():
    for y in (ARRAYS["strings"], ARRAYS["floats"], ARRAYS["dates"]):
        encoding = learn_labels(y, "owner")
        codes = encoding.encode(y, "owner", torch.float64)
        assert codes.dtype == torch.int64
        np.testing.assert_array_equal(encoding.classes[codes.numpy()], y)
    for y in (VALUES, VALUES[:, None], TABLE):
        encoding = learn_values(y, "owner").trained_on(y, np.arange(N), np.ones(N), "owner")
        np.testing.assert_allclose(encoding.decode(encoding.encode(y, "owner", torch.float64).numpy()), y, rtol=1e-14)


# Several labels a row.

INDICATOR_FORMS = {
    "int": INDICATORS,
    "bool": INDICATORS == 1,
    "float": INDICATORS.astype(float),
    "Fortran order": np.asfortranarray(INDICATORS),
    "lists": INDICATORS.tolist(),
    "DataFrame": pd.DataFrame(INDICATORS, columns=list("abcd")),
    "DataFrame of truth values": pd.DataFrame(INDICATORS == 1).astype("boolean"),
    "polars": pl.DataFrame(INDICATORS),
    "tensor": torch.from_numpy(INDICATORS),
    "CSR": sparse.csr_array(INDICATORS),
    "CSC matrix": sparse.csc_matrix(INDICATORS),
    "COO": sparse.coo_array(INDICATORS),
    "LIL": sparse.lil_array(INDICATORS),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", INDICATOR_FORMS)
def test_indicators_in_every_form_train_the_same_network(kind, early_stopping):
    params = {"early_stopping": early_stopping}
    net, plain = classify(INDICATOR_FORMS[kind], **params), classify(INDICATORS, **params)
    np.testing.assert_array_equal(net.predict_proba(X), plain.predict_proba(X))
    assert net.classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", INDICATOR_FORMS)
def test_indicators_in_every_form_may_have_weights_that_drop_rows(kind):
    weights = np.arange(N) % 3
    net = CNNClassifier(**QUICK).fit(X, INDICATOR_FORMS[kind], weights)
    plain = CNNClassifier(**QUICK).fit(X[weights > 0], INDICATORS[weights > 0], weights[weights > 0])
    np.testing.assert_array_equal(net.predict_proba(X), plain.predict_proba(X))


ONE_HOT = np.eye(3, dtype=int)[CODES]
ONE_HOT_FORMS = {
    "int": (ONE_HOT, r"y\.argmax\(1\)"),
    "float": (ONE_HOT.astype("float32"), r"y\.argmax\(1\)"),
    "bool": (ONE_HOT == 1, r"y\.argmax\(1\)"),
    "two classes": (np.eye(2)[CODES % 2], r"y\.argmax\(1\)"),
    "tensor": (torch.from_numpy(ONE_HOT), r"y\.argmax\(1\)"),
    "CSR": (sparse.csr_array(ONE_HOT), r"y\.argmax\(1\)"),
    "lists": (ONE_HOT.tolist(), r"np\.asarray\(y\)\.argmax\(1\)"),
    "DataFrame": (pd.DataFrame(ONE_HOT, columns=list("abc")), r"y\.idxmax\(axis=1\)"),
    "get_dummies": (pd.get_dummies(NAMES), r"y\.idxmax\(axis=1\)"),
}


@pytest.mark.parametrize("kind", ONE_HOT_FORMS)
def test_one_hot_labels_are_taken_with_a_warning_that_names_what_gives_the_classes(kind):
    y, remedy = ONE_HOT_FORMS[kind]
    with pytest.warns(match=rf"CNNClassifier: y is an indicator matrix with just one 1 .*pass {remedy}\.") as caught:
        net = classify(y)
    assert len(caught) == 1
    assert net.predict_proba(X).shape == (N, 2 if kind == "two classes" else 3)
    labels = eval(remedy.replace("\\", ""), {"y": y, "np": np})
    assert classify(np.asarray(labels).ravel()).predict(X).shape == (N,)


def test_one_hot_labels_beside_a_row_of_weight_zero_that_is_none_are_noticed():
    y = np.vstack([ONE_HOT[:-1], [1, 1, 0]])
    with pytest.warns(match="just one 1"):
        CNNClassifier(**QUICK).fit(X, y, np.arange(N)[::-1] > 0)


def test_each_label_has_a_probability_of_its_own():
    net = classify(INDICATORS)
    logits, probabilities = net.decision_function(X), net.predict_proba(X)
    assert logits.shape == probabilities.shape == (N, 4)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-12)
    np.testing.assert_allclose(net.predict_log_proba(X), np.log(probabilities), rtol=1e-12)
    np.testing.assert_array_equal(net.predict(X), (probabilities > 0.5).astype(int))
    assert net.score(X, net.predict(X)) == 1


def test_labels_have_probabilities_that_sum_to_one():
    net = classify(CODES)
    logits, probabilities = net.decision_function(X), net.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(net.predict_log_proba(X), np.log(probabilities), rtol=1e-12)


def test_two_classes_have_one_decision_value_the_log_odds():
    net = classify(CODES > 0)
    probabilities = net.predict_proba(X)
    np.testing.assert_allclose(net.decision_function(X), np.log(probabilities[:, 1] / probabilities[:, 0]), rtol=1e-9)
    np.testing.assert_array_equal(net.predict(X), net.decision_function(X) > 0)


def test_log_probabilities_stay_finite_where_probabilities_vanish():
    net = classify(CODES)
    with torch.no_grad():
        net.module_.output.bias.copy_(torch.tensor([0.0, 5000, -5000]))
    assert np.isfinite(net.predict_log_proba(X)).all()
    assert (net.predict_proba(X)[:, 2] == 0).all()


# Values.

VALUE_FORMS = {
    "float32": VALUES.astype("float32"),
    "int": VALUES.astype(int),
    "uint8": VALUES.astype("uint8"),
    "bool": VALUES > 100,
    "list": VALUES.tolist(),
    "Series": pd.Series(VALUES, index=np.arange(N)[::-1]),
    "nullable": pd.Series(VALUES).astype("Float64"),
    "pyarrow": pd.Series(VALUES).astype("double[pyarrow]"),
    "polars": pl.Series(VALUES),
    "tensor": torch.from_numpy(VALUES),
    "tensor of float32": torch.from_numpy(VALUES).float(),
    "tensor that is trained": torch.from_numpy(VALUES).requires_grad_(),
    "every second": np.repeat(VALUES, 2)[::2],
    "big endian": VALUES.astype(">f8"),
    "objects": VALUES.astype(object),
    "columns": TABLE,
    "columns of a DataFrame": pd.DataFrame(TABLE),
    "columns of polars": pl.DataFrame(TABLE),
    "columns of a tensor": torch.from_numpy(TABLE),
    "one column": VALUES[:, None],
}


def as_floats(y):
    return (y.detach().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)).astype(float)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", VALUE_FORMS)
def test_values_in_every_form_train_the_same_network(kind, early_stopping):
    plain = as_floats(VALUE_FORMS[kind])
    net, other = (regress(y, early_stopping=early_stopping) for y in (VALUE_FORMS[kind], plain))
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    assert net.predict(X).shape == plain.shape
    assert net.predict(X).dtype == float


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.where(VALUES == VALUES.max(), np.nan, VALUES), "NaN"),
        (np.where(VALUES == VALUES.max(), np.inf, VALUES), "infinity"),
        (VALUES[:-1], "11"),
        (VALUES[:, None, None], "shape"),
        (VALUES + 1j, "(?i)complex"),
        (["a"] * N, "a"),
        (None, "y"),
    ],
    ids=["NaN", "infinity", "too few", "cube", "complex", "words", "none"],
)
def test_invalid_target_values_are_an_error(y, words):
    net = CNNRegressor(**QUICK)
    with pytest.raises((ValueError, TypeError), match=words):
        net.fit(X, y)
    assert not hasattr(net, "net_")


# Weights.


@pytest.mark.parametrize(
    "kind",
    [
        list, pd.Series, torch.from_numpy, pl.Series, lambda w: w.astype("float32"), lambda w: w.astype(int),
        lambda w: pd.Series(w).astype("Float64"),
    ],
    ids=["list", "Series", "tensor", "polars", "float32", "int", "nullable"],
)  # fmt: skip
def test_sample_weights_may_come_in_any_form(kind):
    weights = 1.0 + np.arange(N) % 3
    one, other = (CNNRegressor(**QUICK).fit(X, VALUES, w) for w in (weights, kind(weights)))
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-np.ones(N), "negative"),
        (np.zeros(N), "zero"),
        (np.full(N, np.nan), "NaN"),
        (np.full(N, np.inf), "infinity"),
        (np.ones(N - 1), "sample_weight"),
        (np.ones((N, 1)), "sample_weight|1D|shape"),
    ],
    ids=["negative", "zero", "NaN", "infinity", "too few", "column"],
)
@pytest.mark.parametrize(("estimator", "y"), [(CNNClassifier, CODES), (CNNRegressor, VALUES)])
def test_unusable_sample_weights_are_an_error(estimator, y, weights, words):
    net = estimator(**QUICK)
    with pytest.raises(ValueError, match=words):
        net.fit(X, y, weights)
    assert not hasattr(net, "net_")


@pytest.mark.parametrize(
    ("class_weight", "words"),
    [
        ({0: -1}, "negative"),
        ({0: np.inf}, "infinite"),
        ({0: 0, 1: 0, 2: 0}, "class_weight"),
        ({"no such label": 1}, "no such label|class"),
    ],
    ids=str,
)
def test_unusable_class_weights_are_an_error(class_weight, words):
    net = CNNClassifier(**QUICK, class_weight=class_weight)
    with pytest.raises(ValueError, match=words):
        net.fit(X, CODES)
    assert not hasattr(net, "net_")


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1, 1e9), (1e-3, 1e6), (1e100, 0), (1e-100, 0), (1e30, 1e37)])
@pytest.mark.parametrize("n_outputs", [None, 2])
def test_predictions_move_with_the_unit_and_the_zero_of_y(scale, shift, n_outputs):
    y = np.random.RandomState(1).randn(*((N,) if n_outputs is None else (N, n_outputs)))
    plain, moved = (CNNRegressor(**QUICK | {"precision": "float32"}).fit(X, each) for each in (y, scale * y + shift))
    back = (moved.predict(X).astype(np.float64) - shift) / scale
    np.testing.assert_allclose(back, plain.predict(X), rtol=0, atol=1e-3)


# A column of one value.

ONE_VALUE = (7.0, 7.1, 1e6 / 3, 1e-9, 0.0, -1e-300)
LOSSES = (
    {"loss": "squared_error"},
    {"loss": "absolute_error"},
    {"loss": "huber"},
    {"loss": "quantile", "quantile": 0.2},
)


def beside(column):
    """Return y of two columns, the second of which is given."""
    return np.column_stack([VALUES, np.broadcast_to(column, N)])


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["loss"])
@pytest.mark.parametrize("value", ONE_VALUE)
@pytest.mark.parametrize("alone", [False, True], ids=["beside another", "alone"])
def test_a_column_of_one_value_is_predicted_as_it_is(value, loss, alone):
    y = np.full(N, value) if alone else beside(value)
    weights = np.arange(N) % 4  # an average of equal values is not always that value
    net = CNNRegressor(**QUICK | {"precision": "float32"}, **loss).fit(X, y, weights)
    predicted = net.predict(X)
    np.testing.assert_array_equal(predicted.reshape(N, -1)[:, -1], value)
    assert predicted.dtype == (np.float32 if alone and float(np.float32(value)) == value else float)
    if alone:
        assert net.score(X, y) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"precision": "bfloat16"}, {"optimizer": "sgd"}, {"optimizer": "adamw"}, {"l1": 0.1, "l2": 0.1},
        {"weight_averaging": "ema"}, {"filters": ()}, {"early_stopping": True},
        {"early_stopping": True, "refit_full": True},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:CNNRegressor. early_stopping judges epochs by")
def test_a_column_of_one_value_stays_whatever_trains(params):
    net = CNNRegressor(**QUICK | params).fit(X, beside(7.1))
    np.testing.assert_array_equal(net.predict(X)[:, 1], 7.1)


def test_scores_of_epochs_count_a_column_of_one_value_as_perfect():
    net = CNNRegressor(**QUICK).fit(X, np.full(N, 7.1), X_val=X, y_val=np.full(N, 7.1))
    assert (net.history_[["train_score", "val_score"]] == 1).all(axis=None)
    assert (net.history_[["train_loss", "val_loss"]] == 0).all(axis=None)


def test_values_that_differ_by_rounding_are_one_value():
    y = np.where(np.arange(N) % 2, 0.1 + 0.2, 0.3)
    np.testing.assert_allclose(regress(beside(y)).predict(X)[:, 1], 0.3, rtol=1e-15)


@pytest.mark.parametrize("chunks", [False, True], ids=["warm_start", "partial_fit"])
def test_a_column_that_was_one_value_is_learnt_where_later_rows_differ(chunks):
    later = 7 + X[:, 3]
    net = CNNRegressor(**QUICK | {"max_epochs": 150, "dense_units": (8,), "learning_rate": 0.01}, warm_start=not chunks)
    if chunks:
        for y in [7.0] * 3 + [later] * 200:
            net.partial_fit(X, beside(y))
    else:
        net.fit(X, beside(7.0)).fit(X, beside(later))
    errors = net.predict(X)[:, 1] - later
    assert np.square(errors).mean() < 0.3 * later.var()


def test_class_weight_with_indicators_is_an_error_that_says_what_to_use():
    with pytest.raises(ValueError, match="sample_weight"):
        classify(INDICATORS, class_weight="balanced")


@pytest.mark.parametrize("kind", ["strings", "floats", "bool", "objects that are numbers"])
def test_class_weights_are_named_by_the_labels(kind):
    y = ARRAYS[kind]
    labels, codes = np.unique(y, return_inverse=True)
    by_label = {label: 1 + 2 * number for number, label in enumerate(labels)}
    net = classify(y, class_weight=by_label)
    plain = CNNClassifier(**QUICK).fit(X, y, 1 + 2 * codes)
    np.testing.assert_allclose(net.predict_proba(X), plain.predict_proba(X), rtol=1e-9)


FAR = np.append(RANDOM.randn(39), 1e39)
FAR_X = RANDOM.randn(40, 8)
TOO_FAR = r'CNNRegressor: y holds 1e\+39 in row 39, too far .*float32.* row out, .*weight 0, .*precision="float64"'


def test_a_value_beyond_float32_once_standardised_is_named_with_its_row(refuses):
    quick = QUICK | {"precision": "float32", "loss": "absolute_error"}
    net = CNNRegressor(**quick)
    with refuses(net, f"^{TOO_FAR}"):
        net.fit(FAR_X, FAR)
    weights = np.ones(40)
    weights[3] = 0  # rows are numbered as they are passed
    with refuses(net, f"^{TOO_FAR}"):
        net.fit(FAR_X, FAR, sample_weight=weights)
    near = np.where(FAR > 1e30, 0, FAR)
    with refuses(net, rf"^Validation rows.*: {TOO_FAR}"):
        net.fit(FAR_X, near, X_val=FAR_X, y_val=FAR)
    net.partial_fit(FAR_X, near)
    with refuses(net, f"^{TOO_FAR}"):
        net.partial_fit(FAR_X, FAR)
    CNNRegressor(**quick | {"precision": "float64"}).fit(FAR_X, FAR)
    without = FAR < 1e30
    net.partial_fit(FAR_X, FAR, sample_weight=without)
    net.fit(FAR_X, FAR, sample_weight=without, X_val=FAR_X, y_val=FAR, sample_weight_val=without)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_predictions_have_the_shape_of_the_last_y(method):
    net = CNNRegressor(**QUICK, warm_start=True)
    for y in (VALUES, VALUES[:, None], VALUES, VALUES[:, None].tolist(), pd.DataFrame({"a": VALUES}), list(VALUES)):
        assert getattr(net, method)(X, y).predict(X).shape == np.shape(y)


def test_the_refit_of_a_warm_start_predicts_in_the_shape_of_its_y():
    net = CNNRegressor(**QUICK, warm_start=True, early_stopping=True, refit_full=True).fit(X, VALUES)
    assert net.fit(X, VALUES[:, None]).predict(X).shape == (N, 1)
