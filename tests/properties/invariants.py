"""What holds of every example: the check, and the snapshots that it compares."""

import os
import pickle
import random
import re
import signal
import threading
import traceback
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import sklearn
import torch
from hyper_parameters import flat_backbone
from PIL import Image, ImageFile
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from strategies import ESTIMATORS

from sklcnn import CNNFeatures

# The process


def process_state():
    """Return all that a call must leave as it was, by name."""
    return {
        "random": random.getstate(),
        "NumPy's generator": str(np.random.get_state(legacy=False)),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "threads of torch": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "float errors": np.geterr(),
        "print options": str(np.get_printoptions()),
        "scikit-learn's configuration": sklearn.get_config(),
        "Pillow's limit": Image.MAX_IMAGE_PIXELS,
        "Pillow's truncated images": ImageFile.LOAD_TRUNCATED_IMAGES,
        "interrupts": signal.getsignal(signal.SIGINT),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "threads": sum(not thread.daemon for thread in threading.enumerate()),
        "filters of warnings": list(warnings.filters),
    }


def fingerprint(value):
    """Return what an input holds, as something that can be compared."""
    if sparse.issparse(value):
        return [fingerprint(part) for part in (value.data, value.indices, value.indptr)]
    if isinstance(value, np.ndarray):
        values = repr(value.tolist()) if value.dtype.hasobject else value.tobytes()
        return value.dtype.str, value.shape, value.strides, value.flags.writeable, values
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.requires_grad, repr(value.tolist()), value.grad is None
    if isinstance(value, (list, tuple)):
        return type(value), [fingerprint(entry) for entry in value]
    if isinstance(value, (pd.DataFrame, pd.Series)):
        cells = [fingerprint(cell) for cell in value.to_numpy(dtype=object).ravel()]
        return repr(value.index), repr(getattr(value, "columns", None)), repr(getattr(value, "dtypes", "")), cells
    if isinstance(value, (pl.DataFrame, pl.Series, pa.Table)):
        cells = value.rows() if isinstance(value, pl.DataFrame) else value.to_pandas().to_numpy().tolist()
        return repr(getattr(value, "schema", "")), repr(cells)
    if isinstance(value, Image.Image):
        return value.size, value.mode, value.tobytes()
    if hasattr(value, "array"):
        return fingerprint(value.array)
    return fingerprint(np.asarray(value)) if isinstance(value, memoryview) else repr(value)


def state_of(estimator):
    """Return an estimator's attributes, and the bits of its network."""
    module = getattr(estimator, "module_", getattr(estimator, "backbone_", None))
    weights = module.state_dict() if module is not None else {}
    return dict(vars(estimator)), {name: tensor.clone() for name, tensor in weights.items()}


def same_state(one, other):
    """Tell whether two states are the same objects and the same bits."""
    attributes, weights = one
    return (
        attributes.keys() == other[0].keys()
        and all(value is other[0][name] for name, value in attributes.items())
        and weights.keys() == other[1].keys()
        and all(same_bits(tensor, other[1][name]) for name, tensor in weights.items())
    )


def same_bits(one, other):
    """Compare values and types; byte orders may differ, since NumPy's own pickles forget them."""
    one, other = np.asarray(one), np.asarray(other)
    if native_type(one) != native_type(other) or one.shape != other.shape:
        return False
    return one.tobytes() == other.tobytes() or bool((one == other).all())


def native_type(array):
    return array.dtype.newbyteorder("=") if array.dtype.isbuiltin != 1 and array.dtype.kind in "iufcUM" else array.dtype


# Errors and warnings


def named_in(message, estimator):
    """Tell whether a message says what it is about."""
    arguments = ["X", "y", "sample_weight", "groups", "X_val", "y_val", "sample_weight_val"]
    names = [type(estimator).__name__, *estimator.get_params(deep=False), *arguments]
    return any(re.search(rf"(?<!\w){name}(?!\w)", message) for name in names)


def check_refusal(error, estimator):
    """Check that an error is one of this package or of scikit-learn, says what is wrong, and is no novel."""
    kind = type(error)
    known = kind in (TypeError, ValueError, MemoryError) or kind.__module__.startswith("sklcnn")
    assert known and isinstance(error, (TypeError, ValueError, MemoryError)), f"{kind}: {error}"
    file, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
    assert re.search(r"[/\\](sklcnn|sklearn)[/\\]", file), f"raised by {file}:{line}: {error}"
    message = str(error)
    assert named_in(message, estimator), f"names nothing: {message}"
    assert len(message) < 2500, f"{len(message)} characters: {message[:300]}"


def check_warnings(caught, estimator):
    """Check that all warnings are declared ones: this package's own, or scikit-learn's of columns and of scores."""
    for warning in caught:
        text = str(warning.message)
        if issubclass(warning.category, DataConversionWarning):
            assert "column-vector" in text
        elif re.search(
            r"sklearn[/\\](metrics|externals)[/\\]", warning.filename
        ):  # the scorer's that the example names
            assert estimator.scoring != "loss"
        else:
            assert warning.category is UserWarning, f"{warning.category.__name__}: {text} ({warning.filename})"
            assert named_in(text, estimator), f"names nothing: {text} ({warning.filename})"


# Predictions


def check_classifier(classifier, X, n):
    """Check what a classifier says of its n samples."""
    predicted, shares = classifier.predict(X), classifier.predict_proba(X)
    logarithms, decision = classifier.predict_log_proba(X), classifier.decision_function(X)
    k = len(classifier.classes_)
    assert shares.shape == (n, k) == logarithms.shape, shares.shape
    assert np.isfinite(shares).all() and (shares >= 0).all() and (shares <= 1).all(), "no probabilities"
    assert np.isfinite(decision).all()
    if predicted.ndim == 2:
        assert predicted.shape == (n, k)
        assert np.isin(predicted, (0, 1)).all()
        assert (predicted == (shares > 0.5)).all() or np.isclose(shares, 0.5, atol=1e-3).any()
    else:
        assert predicted.shape == (n,)
        assert predicted.dtype == classifier.classes_.dtype
        assert set(predicted.tolist()) <= set(classifier.classes_.tolist()), "labels that are no classes"
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
        most = np.take_along_axis(shares, np.searchsorted(classifier.classes_, predicted)[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(most, shares.max(axis=1), rtol=1e-5)
        assert decision.shape == ((n,) if k == 2 else (n, k))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(np.exp(logarithms), shares, atol=1e-5)


def check_regressor(regressor, X, n, y):
    """Check what a regressor says of its n samples."""
    predicted = regressor.predict(X)
    y = np.asarray(y)
    assert predicted.shape == (n, *y.shape[1:]), f"{predicted.shape} for y of {y.shape}"
    assert np.isfinite(predicted).all(), "predictions are not finite"
    assert predicted.dtype.kind == "f"


def check_features(transformer, X, n, is_seeded):
    """Check the features of n samples, and those of copies: by pickle, and by a clone where the seed is a number."""
    features = transformer.transform(X)
    assert features.shape == (n, len(transformer.get_feature_names_out()))
    assert features.dtype.kind == "f"
    assert np.isfinite(features).all(), "features are not finite"
    # Cached features were computed in other batches.
    copied = pickle.loads(pickle.dumps(transformer))
    clones = [clone(copied).fit_transform(X)] if is_seeded else []
    for again in (transformer.transform(X), copied.transform(X), *clones):
        assert again.dtype == features.dtype
        np.testing.assert_allclose(again, features, rtol=1e-5, atol=1e-6)


def check_fitted(estimator, X, n, y):
    """Check a fitted estimator by itself, and a copy of it made by pickle."""
    if hasattr(estimator, "predict_proba"):
        check_classifier(estimator, X, n)
    else:
        check_regressor(estimator, X, n, y)
    predicted = estimator.predict(X)
    assert same_bits(predicted, estimator.predict(X)), "a second prediction differs"
    assert same_bits(predicted, pickle.loads(pickle.dumps(estimator)).predict(X)), "a copy by pickle differs"
    assert 1 <= estimator.best_epoch_ <= estimator.n_iter_ == len(estimator.history_)
    assert np.isfinite(estimator.history_["train_loss"]).all()


# The whole


def attempt(estimator, call):
    """Call what may refuse; return whether it went well. An error must be a good one, and leave all as it was."""
    before = state_of(estimator)
    try:
        call()
    except (TypeError, ValueError, MemoryError, RuntimeError, LookupError, ArithmeticError, AttributeError) as error:
        check_refusal(error, estimator)
        assert same_state(before, state_of(estimator)), "an error left the estimator changed"
        return False
    return True


def fitted_already(case):
    """Return an estimator that was fitted on other data, with the example's hyper-parameters set then."""
    if case.estimator == "features":
        estimator = CNNFeatures(backbone=flat_backbone, random_state=0).fit(np.ones((6, 2, 2, 3)))
    else:
        estimator = ESTIMATORS[case.estimator](filters=1, dense_units=1, max_epochs=1, random_state=0)
        estimator.fit(np.arange(24.0).reshape(6, 4), [0, 1] * 3)
    return estimator.set_params(**case.hyper_parameters())


def check(case):
    """Check all that holds of one example."""
    np.random.seed(case.X.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what NumPy and pandas say of such inputs while they are made
        given = case.given()
    estimator = fitted_already(case) if case.fitted_before else case.make()
    draws = estimator.random_state is None or isinstance(estimator.random_state, np.random.RandomState)
    before, process = fingerprint(list(given.values())), process_state()
    parameters = estimator.get_params(deep=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = process | {"filters of warnings": list(warnings.filters)}
        went_well = attempt(estimator, lambda: estimator.fit(**given))
        if case.refused:
            assert not went_well, "a value that the declaration refuses was taken"
        if went_well and case.estimator == "features":
            check_features(estimator, given["X"], case.X.n, not draws)
        elif went_well and (case.weights is None or attempt(estimator, lambda: estimator.predict(given["X"]))):
            # Rows of weight 0 may hold what fit leaves out, and predict refuses.
            check_fitted(estimator, given["X"], case.X.n, given["y"])
            if not draws:
                check_again(case, given, estimator)
            continue_(case, given, estimator)
        after = process_state()
    if draws:
        after["NumPy's generator"] = inside["NumPy's generator"]
    changed = [name for name, value in inside.items() if after[name] != value]
    assert not changed, f"changed in the process: {changed}"
    assert list(warnings.filters) == process["filters of warnings"]
    assert fingerprint(list(given.values())) == before, "an input was changed"
    now = estimator.get_params(deep=False)
    assert all(now[name] is value for name, value in parameters.items()), "a hyper-parameter was changed"
    check_warnings(caught, estimator)
    return went_well


def check_again(case, given, estimator):
    """Check that a clone, fitted on the same, is the same; not where a fit goes on from the last one."""
    if case.fitted_before and estimator.warm_start:
        return
    again = clone(estimator).fit(**given)
    for name, tensor in estimator.module_.state_dict().items():
        assert same_bits(tensor, again.module_.state_dict()[name]), f"a clone's {name} differs"
    assert same_bits(estimator.predict(given["X"]), again.predict(given["X"])), "a clone predicts otherwise"


def continue_(case, given, estimator):
    """Train further, in the way that the example says."""
    if case.then == "partial_fit":
        more = {name: given[name] for name in ("X", "y", "sample_weight") if name in given}
        if attempt(estimator, lambda: estimator.partial_fit(**more)):
            check_fitted(estimator, given["X"], case.X.n, given["y"])
    elif case.then == "warm_start":
        other = clone(estimator).set_params(warm_start=True)
        if attempt(other, lambda: other.fit(**given)) and attempt(other, lambda: other.fit(**given)):
            check_fitted(other, given["X"], case.X.n, given["y"])
