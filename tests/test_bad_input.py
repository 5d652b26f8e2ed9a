"""X, y and weights that cannot be used are refused in plain words, before torch sees them, and change nothing."""

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

RNG = np.random.RandomState(0)
SIGNALS = RNG.randn(12, 6)
IMAGES = RNG.randn(12, 6, 5, 3)
LABELS = np.array(["a", "b", "c"] * 4)
VALUES = SIGNALS[:, 0]
ESTIMATORS = [CNNClassifier, CNNRegressor]
Y = {CNNClassifier: LABELS, CNNRegressor: VALUES}


def small(estimator_class, **parameters):
    settings = {"filters": 2, "dense_units": 2, "max_epochs": 1, "random_state": 0} | parameters
    return estimator_class(**settings)


def replaced(array, value, dtype=None):
    """Copy an array, with one entry replaced."""
    array = array.astype(dtype or array.dtype)
    array.flat[7] = value
    return array


REPEATED = "Expected unique column names, but several columns of {} are called 'a'. Give each its own name"
DAYS = [date(2020, 1, day) for day in range(1, 13)]
# Columns of dates that NumPy does not know as such.
DISGUISED = {
    "periods": (pd.Series(pd.period_range("2020", periods=12, freq="D")), r"dtype period\[D\]\. Convert dates"),
    "intervals": (pd.Series(pd.interval_range(0, 12)), r"dtype interval\[.*\]\. Convert intervals"),
    "date objects": (pd.Series(DAYS, dtype=object), r"values of type date\. Convert dates"),
    "date objects, one missing": (pd.Series([None, *DAYS[1:]], dtype=object), r"type date\. Convert dates"),
    "Arrow's dates": (pd.Series(DAYS, dtype="date32[pyarrow]"), r"dtype date32.*\. Convert dates"),
}


@pytest.mark.parametrize("dates, message", DISGUISED.values(), ids=DISGUISED)
def test_dates_that_numpy_does_not_know_as_such_are_refused_too(dates, message, refuses):
    regressor = small(CNNRegressor)
    with refuses(regressor, f"^CNNRegressor: X must hold numbers, but has .*{message} to numbers"):
        regressor.fit(pd.DataFrame({"a": VALUES, "b": dates}), VALUES)
    for y in (dates, list(dates)):
        with refuses(regressor, "^CNNRegressor: y must hold numbers, but has .*Convert"):
            regressor.fit(SIGNALS, y)
    with refuses(regressor, f"^CNNRegressor: sample_weight must hold numbers, but has .*{message}"):
        regressor.fit(SIGNALS, VALUES, sample_weight=dates)
    with refuses(regressor, "^CNNRegressor: X must hold numbers, but has values of type date"):
        regressor.fit([DAYS] * 12, VALUES)


# What is no array of finite numbers, as samples of six numbers.
NO_NUMBERS = {
    "numbers of another package": (
        np.zeros((12, 6), dtype="V2"),
        r"^CNN.*: X has dtype \|V2, which is no number format of NumPy's own\. .* X\.astype\(np\.float32\)\.$",
    ),
    "a missing number": (
        replaced(SIGNALS, np.nan),
        r"^CNN.*: Input X contains NaN\. Leave those samples out, or fill the values in, as \S+ does in a table\.$",
    ),
    "NaN": (replaced(SIGNALS, np.nan), "NaN.*Leave those samples out"),
    "infinity": (replaced(SIGNALS, np.inf), "infinity.*Leave those samples out"),
    "infinity in half precision": (replaced(SIGNALS, np.inf, np.float16), "infinity"),
    "minus infinity": (replaced(SIGNALS, -np.inf), "infinity"),
    "NaN in a DataFrame": (pd.DataFrame(replaced(SIGNALS, np.nan)), "NaN"),
    "missing in a DataFrame": (pd.DataFrame(SIGNALS).convert_dtypes().replace(SIGNALS[0, 0], pd.NA), "NaN"),
    "None among numbers": (replaced(SIGNALS, None, object), "NaN"),
    "NaN in a tensor": (torch.from_numpy(replaced(SIGNALS, np.nan)), "NaN"),
    "too large for float64": (replaced(SIGNALS, 10**400, object), "large"),
    "too large for float32": (
        replaced(SIGNALS, 1e300),
        r"1e\+300, too large.* float32.*Scale X",
    ),
    "sparse matrix": (sparse.csr_matrix(SIGNALS), "[Ss]parse"),
    "sparse array": (sparse.coo_array(SIGNALS), "[Ss]parse"),
    "a list of sparse matrices": (
        [sparse.csr_matrix(np.eye(3))] * 12,
        r"^CNN.*: X holds sparse matrices \(csr_matrix\)\. Pass .*\[sample\.toarray\(\) for sample in X\]\.$",
    ),
    "complex": (SIGNALS * 1j, "[Cc]omplex"),
    "complex tensor": (torch.from_numpy(SIGNALS * 1j), "[Cc]omplex"),
    "complex objects": ((SIGNALS * 1j).astype(object), "complex"),
    "strings": (SIGNALS.astype(str), r"written as text in column 0.*astype\(float\)"),
    "a text among objects": (replaced(SIGNALS, "1.0", object), r"written as text \('1\.0'\).*astype\(float\)"),
    "a text among a table's objects": (pd.DataFrame(replaced(SIGNALS, "1.0", object)), r"written as text \('1\.0'\)"),
    "strings in a DataFrame": (pd.DataFrame(SIGNALS).astype(str), r"written as text in column 0.*astype\(float\)"),
    "one column of strings": (pd.DataFrame({"a": SIGNALS[:, 0], "b": LABELS}), "'b'.*ColumnTransformer"),
    "dates": (pd.DataFrame({0: pd.date_range("2020", periods=12), 1: SIGNALS[:, 0]}), "datetime64.*[Dd]ates"),
    "dates in an array": (np.zeros((12, 6), dtype="datetime64[s]"), r"datetime64\[s\].*[Dd]ates"),
    "durations": (np.zeros((12, 6), dtype="timedelta64[s]"), r"timedelta64\[s\]"),
    "dicts": ([{"a": 1}] * 12, "dicts with the keys.*cell"),
    "records": (np.zeros(12, dtype=[("a", float), ("b", float)]), "1D array.*structured_to_unstructured"),
    "empty list": ([], "0 sample"),
    "no rows": (SIGNALS[:0], "0 sample"),
    "no columns": (SIGNALS[:, :0], "0 feature"),
    "an axis of length 0": (IMAGES[:, :, :0], "length 0"),
    "no rows in a tensor": (torch.zeros(0, 6), "0 sample"),
    "empty DataFrame": (pd.DataFrame(), "0 feature"),
    "a number": (3.5, "scalar.*3.5"),
    "None": (None, "None"),
    "one-dimensional": (SIGNALS[:, 0], "1D array"),
    "a scalar tensor": (torch.tensor(1.0), "scalar"),
    "a string": ("digits", "X must hold several images, but is one str"),
    "a set": ({1, 2}, "a set, whose samples have no order"),
    "a function": (np.mean, "2D array.*function mean"),
    "six axes": (np.zeros((12, 2, 2, 2, 2, 2)), "6 axes"),
    "signals of unequal length": ([SIGNALS[0], SIGNALS[1, :4], *SIGNALS[2:]], "lengths.* 4 to 6.*[Pp]ad"),
    "lists of unequal length": ([[1.0, 2], [1, 2, 3]] * 6, "lengths.* 2 to 3.*[Pp]ad"),
    "tensors of unequal length": ([torch.ones(3), torch.ones(4)] * 6, "lengths.* 3 to 4.*[Pp]ad"),
    "arrays of objects of unequal length": (
        np.array([np.ones(3), np.ones(4)] * 6, dtype=object),
        "lengths.* 3 to 4.*[Pp]ad",
    ),
    "a Series of arrays of unequal length": (pd.Series([np.ones(3), np.ones(4)] * 6), "lengths.* 3 to 4.*[Pp]ad"),
    "signals of several channels of unequal length": (
        [np.ones((3, 5)), np.ones((3, 7))] * 6,
        "one size.*3 x 5.*3 x 7",
    ),
}
# Arrays that could be read in two ways, or in none; and what in the message decides.
UNCLEAR = {
    "few rows, signals or grey images": (np.zeros((12, 3, 20)), {}, "spatial_dims=2.*spatial_dims=1"),
    "long rows, signals or grey images": (np.zeros((12, 6, 48)), {}, "spatial_dims=2.*spatial_dims=1"),
    "no axis of 1, 3 or 4 channels": (np.zeros((12, 6, 5, 7)), {}, "data_format"),
    "two axes of channels": (np.zeros((12, 3, 5, 3)), {}, "data_format"),
    "two axes of channels in a volume": (np.zeros((12, 4, 5, 5, 3)), {}, "data_format"),
    "no axis of channels in a volume": (np.zeros((12, 5, 5, 5, 5)), {}, "data_format"),
    "signals of several channels": (np.zeros((12, 9, 20)), {"spatial_dims": 1}, "data_format"),
    "images as volumes": (np.zeros((12, 6, 6)), {"spatial_dims": 3}, "spatial_dims=3"),
    "volumes as signals": (np.zeros((12, 6, 6, 6)), {"spatial_dims": 1}, "spatial_dims=1"),
    "volumes as images": (np.zeros((12, 6, 6, 6, 3)), {"spatial_dims": 2}, "spatial_dims=2"),
    "a table as images": (SIGNALS, {"spatial_dims": 2}, "spatial_dims=2.*input_shape"),
    "a table as volumes": (SIGNALS, {"spatial_dims": 3}, "spatial_dims=3.*input_shape"),
    "a table of other shape": (SIGNALS, {"input_shape": (2, 2)}, r"X has 6 features.*\(2, 2\) needs 4"),
    "images of other shape": (IMAGES, {"input_shape": (5, 6, 3)}, r"\(6, 5, 3\).*input_shape=\(5, 6, 3\)"),
    "samples of unclear shape": (np.zeros((12, 60)), {"input_shape": (3, 20)}, "spatial_dims"),
    "images of unclear channels": (np.zeros((12, 60)), {"input_shape": (2, 6, 5)}, "data_format"),
}


@pytest.fixture(params=ESTIMATORS)
def estimator_class(request):
    return request.param


@pytest.mark.parametrize("X, message", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_array_of_finite_numbers_is_refused(X, message, estimator_class, refuses):
    y = Y[estimator_class]
    estimator = small(estimator_class)
    with refuses(estimator, message):
        estimator.fit(X, y)
    with refuses(estimator, message):
        estimator.partial_fit(X, y)
    estimator.fit(SIGNALS, y)
    with refuses(estimator, message):
        estimator.fit(X, y)
    with refuses(estimator, "."):
        estimator.predict(X)


@pytest.mark.parametrize("X, parameters, message", UNCLEAR.values(), ids=UNCLEAR)
def test_an_array_that_cannot_be_read_in_just_one_way_is_refused(X, parameters, message, estimator_class, refuses):
    estimator = small(estimator_class, **parameters)
    with refuses(estimator, message):
        estimator.fit(X, Y[estimator_class])


def test_pixels_read_as_signals_give_a_warning_that_names_their_shape(estimator_class):
    with pytest.warns(UserWarning, match=r"input_shape=\(8, 8, 1\)"):
        small(estimator_class).fit(RNG.randint(0, 256, size=(12, 64)), Y[estimator_class])
    with pytest.warns(UserWarning, match=r"input_shape=\(5, 5, 3\)"):
        small(estimator_class).fit(RNG.randint(0, 256, size=(12, 75)).astype(float), Y[estimator_class])


@pytest.mark.parametrize("X", [RNG.randn(12, 64), RNG.randint(0, 300, size=(12, 64)), RNG.randint(0, 256, (12, 65))])
def test_signals_give_no_warning(X, estimator_class):
    small(estimator_class).fit(X, Y[estimator_class])


# Samples that differ from those of `fit`.
OTHER_SAMPLES = {
    "shorter rows": (SIGNALS, {}, SIGNALS[:, :5], "X has 5 features, but CNN.* is expecting 6"),
    "rows of another number of pixels": (np.ones((12, 30)), {"input_shape": (6, 5)}, np.ones((2, 25)), "25 features"),
    "flat rows instead of images": (IMAGES, {}, IMAGES.reshape(12, -1), r"\(12, 90\).*\(6, 5, 3\)"),
    "images instead of flat rows": (SIGNALS, {}, IMAGES, r"\(6, 5, 3\).*signals of shape \(1, 6\)"),
    "another channel count": (IMAGES, {}, IMAGES[..., :1], r"\(1, 6, 5\).*\(3, 6, 5\)"),
    "another height": (IMAGES, {}, IMAGES[:, :5], r"\(3, 5, 5\).*\(3, 6, 5\)"),
    "another width": (IMAGES, {}, IMAGES[:, :, :4], r"\(3, 6, 4\).*\(3, 6, 5\)"),
    "grey images": (IMAGES, {}, IMAGES[..., 0], r"\(1, 6, 5\).*\(3, 6, 5\)"),
    "longer signals": (SIGNALS[..., None], {}, np.ones((2, 8, 1)), r"\(1, 8\).*\(1, 6\)"),
    "signals of more channels": (
        np.ones((12, 9, 2)),
        {"spatial_dims": 1, "data_format": "channels_last"},
        np.ones((2, 9, 3)),
        r"\(3, 9\).*\(2, 9\)",
    ),
    "volumes": (IMAGES, {}, np.ones((2, 6, 5, 5, 3)), r"\(6, 5, 5, 3\).*images of shape \(3, 6, 5\)"),
    "one sample without its axis": (IMAGES, {}, IMAGES[0], r"one sample, of shape \(6, 5, 3\).*X\[None\]"),
    "one signal without its axis": (SIGNALS, {}, SIGNALS[0], "1D array"),
}


@pytest.mark.parametrize("X, parameters, X_new, message", OTHER_SAMPLES.values(), ids=OTHER_SAMPLES)
def test_samples_of_another_shape_than_in_fit_are_refused(X, parameters, X_new, message, estimator_class, refuses):
    y = Y[estimator_class]
    estimator = small(estimator_class, **parameters).fit(X, y)
    methods = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    for method in methods[: 4 if estimator_class is CNNClassifier else 1]:
        with refuses(estimator, message):
            getattr(estimator, method)(X_new)
    with refuses(estimator, message):
        estimator.partial_fit(X_new, y[: len(X_new)])
    with refuses(estimator, message):
        estimator.fit(X, y, X_val=X_new, y_val=y[: len(X_new)])
    estimator.set_params(warm_start=True)
    with refuses(estimator, message):
        estimator.fit(X_new, y[: len(X_new)])


def test_columns_of_other_names_are_refused(estimator_class, refuses):
    frame = pd.DataFrame(SIGNALS, columns=list("abcdef"))
    estimator = small(estimator_class).fit(frame, Y[estimator_class])
    with refuses(estimator, "feature names"):
        estimator.predict(frame.rename(columns={"a": "A"}))
    with refuses(estimator, "feature names"):
        estimator.predict(frame[list("fedcba")])


def test_a_table_whose_columns_have_one_name_is_refused(estimator_class, refuses):
    y, twice = Y[estimator_class], pd.DataFrame(SIGNALS, columns=list("aabcde"))
    message = f"^{estimator_class.__name__}: {REPEATED.format('X')}"
    estimator = small(estimator_class)
    for _ in range(2):
        with refuses(estimator, message):
            estimator.fit(twice, y)
        estimator.fit(pd.DataFrame(SIGNALS, columns=list("abcdef")), y)
    with refuses(estimator, message):
        estimator.predict(twice)
    with refuses(estimator, f"^Validation rows .*{REPEATED.format('X')}"):
        estimator.fit(SIGNALS, y, X_val=twice, y_val=y)
    features = CNNFeatures(backbone=torch.nn.Flatten())
    with pytest.raises(ValueError, match=f"^CNNFeatures: {REPEATED.format('X')}"):
        features.fit(twice)


def test_y_and_weights_of_another_length_are_refused_before_anything_is_predicted(
    estimator_class, refuses, monkeypatch
):
    y = Y[estimator_class]
    estimator = small(estimator_class).fit(SIGNALS, y)
    monkeypatch.setattr(estimator_class, "predict", None)
    message = f"inconsistent numbers of samples: {estimator_class.__name__} got 12 rows in X but 3 in"
    for X in (SIGNALS, list(SIGNALS), pd.DataFrame(SIGNALS), torch.tensor(SIGNALS)):
        for targets in (y[:3], list(y[:3]), pd.Series(y[:3])):
            with refuses(estimator, f"{message} y. Pass one target a row"):
                estimator.score(X, targets)
        with refuses(estimator, f"{message} sample_weight. Pass one weight a row"):
            estimator.score(X, y, np.ones(3))


def test_an_error_of_scikit_learns_score_names_the_estimator(refuses):
    regressor = small(CNNRegressor).fit(SIGNALS, VALUES)
    with refuses(regressor, "^CNNRegressor: y: y_true and y_pred have different number of output"):
        regressor.score(SIGNALS, np.column_stack([VALUES, VALUES]))
    with refuses(regressor, f"^CNNRegressor: {REPEATED.format('y')}"):
        regressor.score(SIGNALS, pd.DataFrame(SIGNALS[:, :2], columns=["a", "a"]))
    classifier = small(CNNClassifier).fit(SIGNALS, INDICATORS)
    with refuses(classifier, CELLS.format("Series", "y")):
        classifier.score(SIGNALS, pd.Series(list(INDICATORS)))


def test_nothing_is_predicted_before_fit(estimator_class, refuses):
    estimator = small(estimator_class)
    methods = ("predict", "score", "predict_proba", "predict_log_proba", "decision_function")
    for method in methods[: 5 if estimator_class is CNNClassifier else 2]:
        with refuses(estimator, "not fitted", kinds=(NotFittedError,)):
            getattr(estimator, method)(*(SIGNALS, Y[estimator_class])[: 2 if method == "score" else 1])
    with refuses(estimator, "not fitted", kinds=(NotFittedError,)):
        estimator.summary()
    for name in ("module_", "net_", "history_", "classes_", "n_iter_", "best_epoch_", "sample_shape_"):
        assert not hasattr(estimator, name)


# y for either estimator: nothing to learn from.
BAD_TARGETS = {
    "None": (None, "requires y"),
    "one row short": (LABELS[:-1], "12.*11"),
    "one row long": ([*LABELS, "a"], "12.*13"),
    "empty": ([], "12.*0|0 class"),
    "a number": (3, "y must hold one target a row.*3|y should be a 1d array"),
    "a string": ("labels", "y must hold one target a row.*'labels'|y should be a 1d array"),
    "a tensor that is no array": (torch.ones(12).to_sparse(), r"y is a torch tensor that is no array.*y\.to_dense"),
    "a masked array": (np.ma.masked_equal(np.arange(12) % 3, 0), r"y is a masked array.*y\.filled"),
}
INDICATORS = np.array([[0, 1, 1], [1, 0, 1]] * 6)
CELLS = r"^CNNClassifier: the values of y .{}. are arrays or lists\. .*n_labels.*np\.stack\({}\)\.$"


def in_cells(rows):
    """Put each row of an array in a cell of an array of objects."""
    cells = np.empty(len(rows), dtype=object)
    cells[:] = list(rows)
    return cells


MISSING_LABELS = "^CNNClassifier: Input y contains NaN or other missing labels"
BAD_LABELS = {
    "one class": (["a"] * 12, "1 class"),
    "continuous values": (VALUES, "continuous"),
    "NaN": ([np.nan, *range(11)], "y.*NaN"),
    "infinity": (np.array([np.inf, *range(11)]), "y.*infinity"),
    "None among labels": ([None, *LABELS[1:]], f"{MISSING_LABELS} .None.. Drop those rows"),
    "NaN among labels": (np.array([np.nan, *LABELS[1:]], dtype=object), f"{MISSING_LABELS} .nan.. Drop"),
    "NA among labels": (pd.Series([pd.NA, *LABELS[1:]], dtype="string"), f"{MISSING_LABELS} .<NA>.. Drop"),
    "NA among objects": (np.array([pd.NA, *LABELS[1:]], dtype=object), f"{MISSING_LABELS} .<NA>.. Drop"),
    "None in a list of numbers": ([None, 1, 2, 3] * 3, f"{MISSING_LABELS} .None.. Drop"),
    "labels of mixed types": (np.array(["a", 1] * 6, dtype=object), "labels in y cannot be sorted.*int.*str"),
    "no indicators": (np.array([[0, 2], [1, 0]] * 6), "y must be an indicator matrix of zeros and ones"),
    **{
        f"two columns of {kind}": (np.array([["a", "b"]] * 12, kind), "y must be an .*MultiLabelBinarizer")
        for kind in (
            "U",
            "object",
        )
    },
    "two columns of dates": (np.array([["2020-01-01"] * 2] * 12, "M8[D]"), "y must be an indicator matrix of zeros"),
    "a missing indicator": (np.array([[0, None], [1, 0]] * 6), "y must be an indicator matrix of zeros and ones"),
    "continuous indicators": (RNG.rand(12, 3), "y must be an indicator matrix of zeros and ones"),
    "indicators with NaN": (np.array([[0, np.nan], [1, 0]] * 6), "NaN"),
    "three axes": (
        np.zeros((12, 2, 2), dtype=int),
        r"^CNNClassifier: .*dim 3.*y has shape \(12, 2, 2\)\. Pass one label",
    ),
    "a Series of indicators": (pd.Series(list(INDICATORS)), CELLS.format("Series", r"y")),
    "a Series of lists of indicators": (pd.Series(INDICATORS.tolist()), CELLS.format("Series", "y")),
    "objects that are indicators": (in_cells(INDICATORS), CELLS.format("ndarray", "y")),
    "a column of indicators": (pd.DataFrame({"a": list(INDICATORS)}), CELLS.format("DataFrame", r"y\[column\]")),
    "polars' lists of indicators": (pl.Series(INDICATORS.tolist()), CELLS.format("Series", "y")),
    "polars' arrays of indicators": (
        pl.Series(INDICATORS.tolist(), dtype=pl.Array(pl.Int64, 3)),
        CELLS.format("Series", "y"),
    ),
    "polars' lists of labels": (pl.Series([["a"], ["a", "b"]] * 6), "lists or sets of labels.*MultiLabelBinarizer"),
    "lists of labels": ([["a"], ["a", "b"]] * 6, "lists or sets of labels.*MultiLabelBinarizer"),
    "lists of as many labels": ([["a", "b"], ["a", "c"]] * 6, "lists or sets of labels.*MultiLabelBinarizer"),
    "sets of labels": (np.array([{"a"}, {"a", "b"}] * 6), "lists or sets of labels.*MultiLabelBinarizer"),
    "missing dates": (np.array(["2020-01-01", "NaT"] * 6, dtype="datetime64[D]"), "y contains NaT"),
    "dicts": ([{"a": 1}] * 12, "labels in y cannot be sorted.*dict"),
    "complex": (np.array([1j, 2j] * 6), "[Cc]omplex"),
    "a list of complex labels": (
        [1j, 2j] * 6,
        r"^Complex data not supported: CNNClassifier: y has dtype complex\. Pass real labels\.$",
    ),
}
BAD_VALUES = {
    "NaN": (replaced(VALUES, np.nan), r"^CNNRegressor: Input y contains NaN\. Drop those rows\.$"),
    "NA": (replaced(VALUES, pd.NA, object), "^CNNRegressor: Input y contains NaN.*NA.*Drop those rows"),
    "infinity": (replaced(VALUES, np.inf), "^CNNRegressor: Input y contains infinity.*Drop those rows"),
    "beyond float64": (VALUES * np.longdouble("1e4000"), "^CNNRegressor: Input y contains infinity.*too large"),
    "None among values": (replaced(VALUES, None, object), "y.*NaN"),
    "missing in an array of pandas": (pd.array(replaced(VALUES, None, object), dtype="Float64"), "y.*NaN"),
    "strings": (LABELS, "convert string.*'a'"),
    "three axes": (np.zeros((12, 2, 2)), "y has shape"),
    "dates": (np.arange(12).astype("datetime64[D]"), "y must hold numbers.*datetime64"),
    "a list of durations": (list(np.arange(12).astype("timedelta64[D]")), "y must hold numbers.*timedelta64"),
    "complex": (VALUES * 1j, "[Cc]omplex"),
    "sparse": (sparse.csr_matrix(VALUES[:, None]), "[Ss]parse"),
    "lists of unequal length": ([[1.0], [1.0, 2.0]] * 6, "inhomogeneous"),
    "no columns": (np.zeros((12, 0)), "0 feature"),
    "a Series of arrays": (
        pd.Series(list(SIGNALS)),
        r"^CNNRegressor: the values of y .Series. are arrays .*np\.stack\(y\)\.$",
    ),
    "columns of one name": (pd.DataFrame(SIGNALS[:, :2], columns=["a", "a"]), f"^CNNRegressor: {REPEATED.format('y')}"),
    "a column of lists": (
        pd.DataFrame({"a": SIGNALS.tolist()}),
        r"the values of y .DataFrame. are .*np\.stack\(y\[column\]\)",
    ),
}
TARGETS = [
    pytest.param(estimator_class, *case, id=f"{estimator_class.__name__}-{name}")
    for estimator_class, cases in ((CNNClassifier, BAD_TARGETS | BAD_LABELS), (CNNRegressor, BAD_TARGETS | BAD_VALUES))
    for name, case in cases.items()
]


@pytest.mark.parametrize("estimator_class, y, message", TARGETS)
def test_targets_that_cannot_be_learnt_are_refused(estimator_class, y, message, refuses):
    estimator = small(estimator_class)
    for method in (estimator.fit, estimator.partial_fit):
        with refuses(estimator, message):
            method(SIGNALS, y)
    estimator.fit(SIGNALS, Y[estimator_class])
    with refuses(estimator, message):
        estimator.fit(SIGNALS, y)


def test_a_column_of_labels_gives_the_warning_of_scikit_learn():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        small(CNNClassifier).fit(SIGNALS, LABELS[:, None])


def test_a_classifier_needs_more_than_one_sample(refuses):
    classifier = small(CNNClassifier)
    with refuses(classifier, "1 class|1 sample"):
        classifier.fit(SIGNALS[:1], LABELS[:1])


def test_a_regressor_learns_one_sample():
    regressor = small(CNNRegressor).fit(SIGNALS[:1], [3.0])
    np.testing.assert_allclose(regressor.predict(SIGNALS[:1]), [3.0], atol=2)


BAD_WEIGHTS = {
    "negative": (replaced(np.ones(12), -1), "sample_weight.*negative.*-1"),
    "all zero": (np.zeros(12), "[Ss]ample.weights? .*zero"),
    "NaN": (replaced(np.ones(12), np.nan), "CNN.*: Input sample_weight contains NaN.*rows or give them weight 0"),
    "infinite": (replaced(np.ones(12), np.inf), "sample_weight.*infinity"),
    "one short": (np.ones(11), r"CNN.*: sample_weight.shape == \(11,\), expected \(12,\)\. Pass one weight a row\.$"),
    "two columns": (np.ones((12, 2)), "[Ss]ample weights must be 1D"),
    "strings": (LABELS, "convert string.*'a'"),
    "complex": (np.ones(12) * 1j, "[Cc]omplex"),
    "masked": (np.ma.masked_equal(np.arange(12), 3), "sample_weight is a masked array"),
}


@pytest.mark.parametrize("weights, message", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_invalid_sample_weights_are_refused(weights, message, estimator_class, refuses):
    y = Y[estimator_class]
    estimator = small(estimator_class)
    with refuses(estimator, message):
        estimator.fit(SIGNALS, y, sample_weight=weights)
    with refuses(estimator, message):
        estimator.partial_fit(SIGNALS, y, sample_weight=weights)
    with refuses(estimator, message):
        estimator.fit(SIGNALS, y, X_val=SIGNALS, y_val=y, sample_weight_val=weights)


def test_classes_left_by_weights_of_zero_count_alone(refuses):
    classifier = small(CNNClassifier)
    with refuses(classifier, "1 class"):
        classifier.fit(SIGNALS, LABELS, sample_weight=LABELS == "a")


BAD_CLASS_WEIGHTS = {
    "unknown label": ({"z": 2.0}, "class_weight={'z': 2.0}.*'a', 'b', 'c'"),
    "a known label and another": (
        {"a": 1.0, "z": 2.0},
        r"\['b', 'c'\], are not in class_weight, whose keys \['z'\] are no labels of y\. Write labels.*{'a': 1\.0, ",
    ),
    "negative": ({"a": -1.0}, "class_weight.*negative"),
    "infinite": ({"a": np.inf}, "class_weight.*infinite"),
    "NaN": ({"a": np.nan}, "class_weight.*nan"),
    "a string": ({"a": "much"}, "class_weight={'a': 'much'}"),
    "zero for every class": (dict.fromkeys("abc", 0), "class_weight.*weight 0"),
}


@pytest.mark.parametrize("class_weight, message", BAD_CLASS_WEIGHTS.values(), ids=BAD_CLASS_WEIGHTS)
def test_invalid_class_weights_are_refused(class_weight, message, refuses):
    classifier = small(CNNClassifier, class_weight=class_weight)
    with refuses(classifier, message):
        classifier.fit(SIGNALS, LABELS)


def test_class_weights_are_for_one_label_a_row(refuses):
    indicators = np.array([[0, 1], [1, 1]] * 6)
    for class_weight in ("balanced", {0: 2.0}):
        classifier = small(CNNClassifier, class_weight=class_weight)
        with refuses(classifier, "class_weight.*indicator.*sample_weight"):
            classifier.fit(SIGNALS, indicators)


def test_balanced_weights_are_not_for_partial_fit(refuses):
    classifier = small(CNNClassifier, class_weight="balanced")
    with refuses(classifier, 'class_weight="balanced".*partial_fit'):
        classifier.partial_fit(SIGNALS, LABELS)


def test_partial_fit_is_not_offered_with_early_stopping(estimator_class):
    estimator = small(estimator_class, early_stopping=True)
    assert not hasattr(estimator, "partial_fit")
    with pytest.raises(ValueError, match="Set early_stopping=False"):
        estimator.partial_fit(SIGNALS, Y[estimator_class])


# Later data that are not of the first call's kind.
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a", "b", "c"}, "classes must be a list or an array"),
        (np.array(["a", 1], dtype=object), "classes=.*cannot be sorted"),
        ([0, 1, np.nan], "classes=.*NaN"),
    ],
)
def test_classes_that_are_no_labels_are_refused(classes, message, refuses):
    classifier = small(CNNClassifier)
    for _ in range(2):
        with refuses(classifier, message):
            classifier.partial_fit(SIGNALS, LABELS, classes=classes)
        classifier.partial_fit(SIGNALS, LABELS)


def test_partial_fit_refuses_new_labels(refuses):
    classifier = small(CNNClassifier).partial_fit(SIGNALS, LABELS)
    with refuses(classifier, "'d'.*'a', 'b', 'c'"):
        classifier.partial_fit(SIGNALS, ["a", "d"] * 6)
    with refuses(classifier, r"classes=.*'d'.*first call"):
        classifier.partial_fit(SIGNALS, LABELS, classes=list("abcd"))
    with refuses(classifier, "7"):
        classifier.partial_fit(SIGNALS, [7] * 12)


def test_the_first_partial_fit_refuses_labels_that_are_not_among_its_classes(refuses):
    classifier = small(CNNClassifier)
    with refuses(classifier, r"\['c'\].*'a', 'b'"):
        classifier.partial_fit(SIGNALS, LABELS, classes=["a", "b"])
    with refuses(classifier, "1 class"):
        classifier.partial_fit(SIGNALS, ["a"] * 12)
    with refuses(classifier, "classes=.*indicator matrix of 2 columns"):
        classifier.partial_fit(SIGNALS, np.array([[0, 1], [1, 1]] * 6), classes=["a", "b"])
    classifier.partial_fit(SIGNALS, ["a"] * 12, classes=["a", "b"])
    assert classifier.classes_.tolist() == ["a", "b"]


def test_partial_fit_refuses_another_number_of_outputs(refuses):
    regressor = small(CNNRegressor).partial_fit(SIGNALS, VALUES)
    with refuses(regressor, "2 columns, but 1 is expected, as in the y that was fitted. Pass as many"):
        regressor.partial_fit(SIGNALS, np.column_stack([VALUES, VALUES]))
    classifier = small(CNNClassifier).partial_fit(SIGNALS, np.array([[0, 1], [1, 1]] * 6))
    with refuses(classifier, "3 columns.*2"):
        classifier.partial_fit(SIGNALS, np.array([[0, 1, 0], [1, 1, 0]] * 6))
    with refuses(classifier, "y must be an indicator matrix"):
        classifier.partial_fit(SIGNALS, LABELS)


def test_a_warm_start_refuses_other_classes(refuses):
    classifier = small(CNNClassifier, warm_start=True).fit(SIGNALS, LABELS)
    with refuses(classifier, "'d'"):
        classifier.fit(SIGNALS, ["a", "b", "d"] * 4)
    with refuses(
        classifier, r"classes of the last fit, .* \(each a class\), but y holds \[0, 1\] \(each a column of y\)"
    ):
        classifier.fit(SIGNALS, np.array([[0, 1], [1, 1]] * 6))
    with refuses(classifier, "class"):
        classifier.fit(SIGNALS, ["a", "b"] * 6)


def test_a_warm_start_refuses_another_number_of_outputs(refuses):
    regressor = small(CNNRegressor, warm_start=True).fit(SIGNALS, VALUES)
    with refuses(regressor, "2 columns.*1"):
        regressor.fit(SIGNALS, np.column_stack([VALUES, VALUES]))


# Validation rows.
BAD_VALIDATION = {
    "X_val without y_val": ({"X_val": SIGNALS}, "X_val needs y_val"),
    "y_val without X_val": ({"y_val": LABELS}, "X_val"),
    "weights without X_val": ({"sample_weight_val": np.ones(12)}, "X_val"),
    "mismatched lengths": ({"X_val": SIGNALS, "y_val": LABELS[:-1]}, "12.*11"),
    "unknown labels": ({"X_val": SIGNALS[:1], "y_val": ["z"]}, "'z'.*'a', 'b', 'c'"),
    "no rows": ({"X_val": SIGNALS[:0], "y_val": LABELS[:0]}, "0 sample"),
    "NaN": ({"X_val": replaced(SIGNALS, np.nan), "y_val": LABELS}, "NaN"),
    "arrays in cells": ({"X_val": SIGNALS, "y_val": in_cells(INDICATORS)}, r"Validation rows.*np\.stack\(y\)"),
    "weights of another length": (
        {"X_val": SIGNALS, "y_val": LABELS, "sample_weight_val": np.ones(3)},
        r"^Validation rows .*: CNNClassifier: sample_weight.shape == \(3,\), expected \(12,\)\. Pass one weight a row",
    ),
    "weights all zero": ({"X_val": SIGNALS, "y_val": LABELS, "sample_weight_val": np.zeros(12)}, "zero"),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("validation, message", BAD_VALIDATION.values(), ids=BAD_VALIDATION)
def test_validation_rows_that_cannot_be_used_are_refused(validation, message, early_stopping, refuses):
    classifier = small(CNNClassifier, early_stopping=early_stopping)
    with refuses(classifier, message):
        classifier.fit(SIGNALS, LABELS, **validation)


def test_validation_targets_of_another_width_are_refused(refuses):
    regressor = small(CNNRegressor)
    with refuses(regressor, "2 columns.*1"):
        regressor.fit(SIGNALS, VALUES, X_val=SIGNALS, y_val=np.column_stack([VALUES, VALUES]))


def test_refitting_needs_rows_that_were_held_out(estimator_class, refuses):
    y = Y[estimator_class]
    estimator = small(estimator_class, refit_full=True, early_stopping=True)
    with refuses(estimator, "refit_full.*X_val"):
        estimator.fit(SIGNALS, y, X_val=SIGNALS, y_val=y)


def test_early_stopping_needs_rows_to_hold_out(refuses):
    classifier = small(CNNClassifier, early_stopping=True)
    with refuses(classifier, "early_stopping.*X_val and y_val"):
        classifier.fit(SIGNALS[:3], LABELS[:3])
    with refuses(classifier, "early_stopping.*groups"):
        classifier.fit(SIGNALS, LABELS, groups=np.zeros(12))
    regressor = small(CNNRegressor, early_stopping=True)
    with refuses(regressor, "early_stopping.*1 sample"):
        regressor.fit(SIGNALS[:1], VALUES[:1])
    with refuses(regressor, "early_stopping.*groups"):
        regressor.fit(SIGNALS, VALUES, groups=["one"] * 12)


def test_a_class_of_one_row_is_named_where_rows_are_held_out():
    with pytest.warns(UserWarning, match=r"\['c'\].*one row"):
        small(CNNClassifier, early_stopping=True).fit(SIGNALS, ["a", "b"] * 5 + ["a", "c"])


@pytest.mark.parametrize(
    "groups, message",
    [
        (
            np.zeros(11),
            r"^CNN.*: groups: .*numbers of samples: \[12, 11\], of y and of groups. Pass the label of a group",
        ),
        (3, "at least 1 dimension|array-like"),
        (replaced(np.ones(12), np.nan), "^CNN.*: Input groups contains NaN.*Drop those rows"),
        (pd.Series([None, *LABELS[1:]], dtype="string"), "^CNN.*: Input groups contains NaN.*NA.*Drop those rows"),
    ],
    ids=["one short", "a number", "NaN", "NA"],
)
def test_groups_that_cannot_be_used_are_refused(groups, message, estimator_class, refuses):
    estimator = small(estimator_class, early_stopping=True)
    with refuses(estimator, message):
        estimator.fit(SIGNALS, Y[estimator_class], groups=groups)


def test_a_loss_that_is_not_finite_stops_training_with_remedies(estimator_class, refuses):
    estimator = small(estimator_class, learning_rate=1e30, lr_schedule=None, optimizer="sgd", max_epochs=5)
    with refuses(estimator, "epoch.*learning rate 1e.30.*learning_rate"):
        estimator.fit(SIGNALS, Y[estimator_class])


def test_broken_pictures_are_refused_by_name(tmp_path, estimator_class, refuses):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    estimator = small(estimator_class)
    with refuses(estimator, "broken.png", kinds=(ValueError,)):
        estimator.fit([str(broken)] * 12, Y[estimator_class])
    with refuses(estimator, "missing.png"):
        estimator.fit([str(tmp_path / "missing.png")] * 12, Y[estimator_class])


NAMED = {"backbone": "timm/test_efficientnet", "backbone_weights": None, "image_size": 32}


BAD_PIXELS = {
    "floats above 1": (RNG.rand(12, 6, 5, 3) * 255, "floats from 0 to 1.*255"),
    "floats below 0": (RNG.rand(12, 6, 5, 3) - 2, "floats from 0 to 1"),
    "integers above 255": (RNG.randint(200, 300, size=(12, 6, 5, 3)), "integers from 0 to 255"),
    "integers below 0": (RNG.randint(-9, 9, size=(12, 6, 5, 3)), "integers from 0 to 255"),
}


@pytest.mark.parametrize("X, message", BAD_PIXELS.values(), ids=BAD_PIXELS)
def test_a_named_backbone_refuses_values_that_are_no_pixels(X, message, estimator_class, refuses):
    estimator = small(estimator_class, **NAMED)
    with refuses(estimator, message):
        estimator.fit(X, Y[estimator_class])


def test_a_named_backbone_refuses_another_kind_of_pixels_than_in_fit(estimator_class, refuses):
    shares = RNG.rand(12, 6, 5, 3)
    bytes_ = (shares * 255).astype(np.uint8)
    y = Y[estimator_class]
    for fitted_on, other, message in (
        (shares, bytes_, "integers.*fitted on floats"),
        (bytes_, shares, "floats.*fitted"),
    ):
        estimator = small(estimator_class, **NAMED).fit(fitted_on, y)
        with refuses(estimator, message):
            estimator.predict(other)
        with refuses(estimator, message):
            estimator.partial_fit(other, y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("kind", ["frame", "array of unknown length"])
def test_what_dask_has_not_computed_yet_is_refused_before_it_is_counted(method, name, kind, refuses):
    frames, arrays = pytest.importorskip("dask.dataframe"), pytest.importorskip("dask.array")
    given = {"X": np.random.RandomState(0).rand(20, 8), "y": np.arange(20) % 2}
    if kind == "frame":
        lazy = frames.from_pandas(pd.DataFrame(given[name]), npartitions=2)
        given[name] = lazy if name == "X" else lazy[0]
    else:
        lazy = arrays.from_array(given[name], chunks=10)
        given[name] = lazy[(lazy if name == "y" else lazy[:, 0]) >= 0]
    cnn = CNNClassifier(filters=2, dense_units=(), max_epochs=1)
    with refuses(cnn, rf"^CNNClassifier: {name} is not computed yet .*Pass {name}.compute\(\)", kinds=(TypeError,)):
        getattr(cnn, method)(**given)
