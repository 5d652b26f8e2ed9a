"""scikit-learn's own machinery works on the estimators as on any other."""

import pickle
from functools import partial
from html import unescape

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, RegressorChain
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from skorch.callbacks import GradientNormClipping
from torch import nn

from sklcnn import CNNClassifier, CNNRegressor
from sklcnn.declarations import declared_parameters

small_classifier = partial(
    CNNClassifier, filters=4, dense_units=8, batch_size=16, max_epochs=8, learning_rate=0.02, random_state=0
)
small_regressor = partial(
    CNNRegressor, filters=4, dense_units=8, batch_size=16, max_epochs=8, learning_rate=0.02, random_state=0
)


since_1_8 = pytest.mark.skipif(
    sklearn.__version__.startswith("1.7"), reason="scikit-learn has temperatures and documents parameters from 1.8 on"
)


def first_pixels(sample_shape):
    """Build a backbone that only cuts out a part of the picture."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(sample_shape)), 3))


def darken(images):
    return images * 0.9


def sum_of_squares(outputs, targets):
    return (outputs - targets).square().sum(1)


# A list of values for each hyper-parameter, and what must go with it.
GRIDS = {
    "filters": [4, (4,), [3, 5], np.array([2, 2, 2]), ()],
    "kernel_size": [2, (5,), ((1, 3),)],
    "block": ["plain", "residual", "inception"],
    "convs_per_block": ["auto", 2, (1,)],
    "stride": [1, (2,), ((1, 2),)],
    "padding": ["same", "valid"],
    "pooling": ["max", "avg", None],
    "pool_size": [1, (3,), ((2, 1),)],
    "global_pooling": [None, "avg", "max"],
    "dense_units": [(), 8, (8, 4), [6]],
    "activation": ["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu", nn.Mish],
    "batch_norm": [False, True, np.True_],
    "dropout": [0, 0.5],
    "conv_dropout": [0.0, 0.2],
    "l1": [0, 1e-3],
    "l2": np.logspace(-5, -3, 2),
    "augmentation": [None, "shift", ("shift", "noise"), {"noise": 0.1}, darken],
    "backbone": [None, first_pixels],
    "backbone_weights": ["pretrained", None],
    "freeze_epochs": [None, 0, 1],
    "backbone_lr_factor": [0.1, 1],
    "image_size": [None, 6, (6, 10)],
    "feature_cache": ["memory", None],
    "input_shape": [(8, 8), [8, 8, 1], (64,)],
    "spatial_dims": [None, 2],
    "data_format": ["auto", "channels_last", "channels_first"],
    "standardize": [True, False],
    "label_smoothing": [0, 0.1],
    "class_weight": [None, "balanced", {0: 2.0}],
    "optimizer": ["adam", "adamw", "sgd", "rmsprop", torch.optim.NAdam],
    "learning_rate": np.array([1e-3, 1e-2], dtype=np.float32),
    "weight_decay": [0, 0.01],
    "momentum": [0, 0.9],
    "optimizer_params": [None, {"eps": 1e-7}],
    "weight_averaging": [None, "ema", "swa"],
    "lr_schedule": [None, "auto", "one_cycle", "cosine", "reduce_on_plateau"],
    "batch_size": np.array([16, 32]),
    "max_epochs": range(1, 3),
    "early_stopping": [False, True],
    "validation_fraction": [0.1, 0.5],
    "patience": [1, 2],
    "refit_full": [False, True],
    "warm_start": [False, True],
    "random_state": [None, 0, 1],
    "device": ["auto", "cpu"],
    "precision": ["float32", "float64", "bfloat16"],
    "n_jobs": [None, 1, -1],
    "verbose": [0, False, 2],
    "callbacks": [None, [GradientNormClipping(1.0)], [("clip", GradientNormClipping(1.0))]],
}
COMPANIONS = {
    "data_format": {"input_shape": [(8, 8, 1)]},
    "freeze_epochs": {"backbone": [first_pixels]},
    "backbone_lr_factor": {"backbone": [first_pixels]},
    "feature_cache": {"backbone": [first_pixels], "freeze_epochs": [1]},
    "validation_fraction": {"early_stopping": [True]},
    "patience": {"early_stopping": [True]},
    "refit_full": {"early_stopping": [True]},
    "scoring": {"early_stopping": [True], "validation_fraction": [0.4]},
}
OWN_GRIDS = {
    CNNClassifier: {"loss": ["cross_entropy", sum_of_squares], "scoring": ["loss", "accuracy", "neg_log_loss"]},
    CNNRegressor: {
        "loss": ["squared_error", "absolute_error", "huber", "quantile", sum_of_squares],
        "quantile": [0.1, 0.5],
        "scoring": ["loss", "r2", "neg_mean_absolute_error"],
    },
}


@pytest.mark.parametrize("estimator_class", [CNNClassifier, pytest.param(CNNRegressor, marks=pytest.mark.slow)])
def test_a_grid_search_varies_every_hyper_parameter(estimator_class, digits):
    declared = declared_parameters(estimator_class)
    grids = {name: values for name, values in (GRIDS | OWN_GRIDS[estimator_class]).items() if name in declared}
    assert grids.keys() == declared.keys()
    X, y = digits[0][:48] / 16, digits[1][:48]
    estimator = estimator_class(
        input_shape=(8, 8), filters=(2,), dense_units=(4,), max_epochs=1, batch_size=32, random_state=0
    )
    grid = [{name: values} | COMPANIONS.get(name, {}) for name, values in grids.items()]
    search = GridSearchCV(estimator, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) >= 2 * len(grid)


def test_a_grid_search_on_images_finds_the_better_network(digits):
    X, y = digits
    search = GridSearchCV(small_classifier(), {"max_epochs": [1, 15], "filters": [4, (4, 8)]}, cv=3)
    search.fit(X.reshape(-1, 8, 8), y)
    assert search.best_params_["max_epochs"] == 15
    assert search.score(X.reshape(-1, 8, 8), y) > 0.95


def test_a_randomized_search_draws_candidates(digits):
    search = RandomizedSearchCV(
        small_classifier(input_shape=(8, 8)),
        {"learning_rate": [1e-3, 1e-2], "filters": [2, (2, 4)], "dropout": [0, 0.3]},
        n_iter=3,
        cv=2,
        random_state=0,
    )
    search.fit(*digits)
    assert len(search.cv_results_["params"]) == 3
    assert search.best_estimator_.get_params().items() >= search.best_params_.items()


@pytest.mark.parametrize("small", [small_classifier, small_regressor])
def test_libraries_that_look_for_an_attribute_see_a_fit(small, digits):
    # MAPIE's, of which classes_ is a classifier's, and n_features_in_ that of a table.
    indicators = {"n_features_in_", "classes_", "coef_", "feature_names_in_", "tree_", "estimators_", "fitted_"}
    estimator = small(max_epochs=1)
    assert not any(hasattr(estimator, name) for name in indicators)
    estimator.fit(digits[0].reshape(-1, 8, 8), digits[1])
    assert estimator.fitted_
    assert not hasattr(estimator, "n_features_in_")


# Which compute in the number format of decision_function: a temperature softens logits of float64 alone closely enough.
TEMPERATURES = [
    pytest.param(
        partial(CalibratedClassifierCV, method="temperature", cv=2, **more), "float64", id=name, marks=since_1_8
    )
    for name, more in {"temperature": {}, "one temperature": {"ensemble": False}}.items()
]


@pytest.mark.parametrize(
    ("combine", "precision"),
    [
        pytest.param(combine, precision, id=f"{name} {precision}")
        for precision in ("float32", "float64", "bfloat16")
        for name, combine in {
            "alone": lambda cnn: cnn,
            "bagging": lambda cnn: BaggingClassifier(cnn, 2),
            "voting": lambda cnn: VotingClassifier([("one", cnn), ("other", cnn)], voting="soft"),
            "sigmoid": partial(CalibratedClassifierCV, method="sigmoid", cv=2),
            "one vs. rest": OneVsRestClassifier,
        }.items()
    ]
    + TEMPERATURES,
)
def test_probabilities_are_such_for_scikit_learns_metrics(combine, precision, digits):
    X, y = digits
    model = combine(small_classifier(input_shape=(8, 8), max_epochs=1, precision=precision)).fit(X, y)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert np.isfinite(log_loss(y, probabilities))  # which warns of probabilities that do not sum to one


def test_cross_validated_probabilities_sum_to_one(digits):
    X, y = digits
    probabilities = cross_val_predict(small_classifier(input_shape=(8, 8)), X, y, cv=3, method="predict_proba")
    assert probabilities.shape == (120, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert np.mean(probabilities.argmax(axis=1) == y) > 0.8


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", pytest.param("temperature", marks=since_1_8)])
def test_calibration_gives_probabilities(method, digits):
    X, y = digits
    calibrated = CalibratedClassifierCV(small_classifier(input_shape=(8, 8)), method=method, cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    assert calibrated.score(X, y) > 0.8


def test_boosting_passes_its_weights_on(signals):
    X, _, y = signals
    boosted = AdaBoostClassifier(small_classifier(max_epochs=2), n_estimators=4, random_state=0).fit(X, y)
    assert len(boosted.estimators_) > 1
    assert boosted.score(X, y) >= boosted.estimators_[0].score(X, y)


def test_bagging_trains_on_bootstrap_samples(digits):
    X, y = digits
    bagged = BaggingClassifier(
        small_classifier(input_shape=(8, 8)), n_estimators=3, oob_score=False, random_state=0
    ).fit(X, y)
    assert bagged.score(X, y) > 0.8
    seeds = {estimator.random_state for estimator in bagged.estimators_}
    assert len(seeds) == 3


def test_stacking_learns_from_probabilities(digits):
    X, y = digits
    stack = StackingClassifier([("cnn", small_classifier(input_shape=(8, 8))), ("linear", LogisticRegression())], cv=2)
    assert stack.fit(X / 16, y).transform(X / 16).shape == (120, 8)
    assert stack.score(X / 16, y) > 0.9


def test_stacking_learns_from_values(signals):
    X, y, _ = signals
    stack = StackingRegressor([("a", small_regressor()), ("b", small_regressor(filters=2))], cv=2).fit(X, y)
    assert stack.transform(X).shape == (60, 2)


def test_several_classifications_are_fitted_column_by_column(digits):
    X, y = digits
    columns = np.column_stack([y, y % 2])
    classifier = MultiOutputClassifier(small_classifier(input_shape=(8, 8))).fit(X, columns)
    assert [len(each.classes_) for each in classifier.estimators_] == [4, 2]
    np.testing.assert_array_equal(
        classifier.predict(X)[:, 1], small_classifier(input_shape=(8, 8)).fit(X, y % 2).predict(X)
    )


def test_a_chain_hands_predictions_on(signals):
    X, y, _ = signals
    chain = RegressorChain(small_regressor()).fit(X, np.column_stack([y, 2 * y]))
    assert chain.predict(X).shape == (60, 2)


def test_one_against_the_rest_is_fitted_class_by_class(digits):
    X, y = digits
    classifier = OneVsRestClassifier(small_classifier(input_shape=(8, 8))).fit(X, y)
    assert len(classifier.estimators_) == 4
    assert classifier.score(X, y) > 0.8


def test_a_threshold_is_tuned(signals):
    X, _, y = signals
    tuned = TunedThresholdClassifierCV(small_classifier(), scoring="balanced_accuracy", cv=2).fit(X, y)
    assert 0 <= tuned.best_threshold_ <= 1
    positive = tuned.predict_proba(X)[:, 1] >= tuned.best_threshold_
    np.testing.assert_array_equal(tuned.predict(X), np.where(positive, "up", "down"))


def test_a_transformed_target_comes_back_in_its_units(signals):
    X, y, _ = signals
    regressor = TransformedTargetRegressor(small_regressor(), func=np.log, inverse_func=np.exp).fit(X, np.exp(y))
    np.testing.assert_array_equal(regressor.predict(X), np.exp(small_regressor().fit(X, y).predict(X)))


def test_permutation_finds_the_positions_that_matter(signals):
    X, y, _ = signals
    regressor = small_regressor(max_epochs=40).fit(X, y)
    importances = permutation_importance(regressor, X, y, n_repeats=3, random_state=0).importances_mean
    assert set(np.argsort(importances)[-4:]) == {3, 4, 5, 6}


def test_a_learning_curve_is_computed(digits):
    sizes, _, test_scores = learning_curve(
        small_classifier(input_shape=(8, 8)), *digits, train_sizes=[0.3, 1.0], cv=2, shuffle=True, random_state=0
    )
    assert sizes.tolist() == [18, 60]
    assert test_scores.mean(axis=1)[1] > test_scores.mean(axis=1)[0]


def test_a_column_transformer_may_stand_in_front(signals):
    X, _, y = signals
    frame = pd.DataFrame(X, columns=[f"t{i}" for i in range(12)]).assign(name="a")
    columns = ColumnTransformer([("signal", StandardScaler(), [f"t{i}" for i in range(12)])])
    pipeline = make_pipeline(columns, small_classifier()).fit(frame, y)
    assert pipeline[-1].n_features_in_ == 12
    assert pipeline.score(frame, y) > 0.8


def test_a_feature_union_may_stand_in_front(signals):
    X, _, y = signals
    union = FeatureUnion([("signal", "passthrough"), ("changes", FunctionTransformer(partial(np.diff, axis=1)))])
    pipeline = make_pipeline(union, small_classifier()).fit(X, y)
    assert pipeline[-1].sample_shape_ == (1, 23)


def test_set_output_gives_the_network_named_columns(signals):
    X, _, y = signals
    frame = pd.DataFrame(X, columns=[f"t{i}" for i in range(12)])
    pipeline = make_pipeline(MinMaxScaler(), small_classifier()).set_output(transform="pandas").fit(frame, y)
    assert pipeline[-1].feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        pipeline[-1].predict(pipeline[0].transform(frame)[frame.columns[::-1]])


def test_weights_are_routed_through_a_pipeline_in_a_search(signals):
    X, _, y = signals
    weights = np.where(np.arange(60) < 20, 0, np.arange(60) / 30)
    with config_context(enable_metadata_routing=True):
        classifier = small_classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = Pipeline([("scale", FunctionTransformer()), ("cnn", classifier)])
        pipeline.set_score_request(sample_weight=True)  # which it asks for by itself from scikit-learn 1.8 on
        search = GridSearchCV(pipeline, {"cnn__dropout": [0, 0.3]}, cv=2).fit(X, y, sample_weight=weights)
    direct = small_classifier(dropout=search.best_params_["cnn__dropout"]).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(search.predict_proba(X), direct.predict_proba(X))
    unweighted = clone(direct).fit(X, y)
    assert not np.array_equal(search.predict_proba(X), unweighted.predict_proba(X))


def test_groups_are_routed_to_the_hold_out(signals):
    X, y, _ = signals
    groups = np.arange(60) // 10
    with config_context(enable_metadata_routing=True):
        regressor = small_regressor(early_stopping=True, validation_fraction=0.3).set_fit_request(groups=True)
        search = GridSearchCV(regressor, {"patience": [2]}, cv=GroupKFold(2)).fit(X, y, groups=groups)
    direct = small_regressor(early_stopping=True, validation_fraction=0.3, patience=2).fit(X, y, groups=groups)
    np.testing.assert_array_equal(search.predict(X), direct.predict(X))


@since_1_8
@pytest.mark.parametrize("estimator_class", [CNNClassifier, CNNRegressor])
def test_the_html_repr_documents_every_parameter(estimator_class):
    html = unescape(estimator_class(dropout=0.4)._repr_html_())
    for name, field in declared_parameters(estimator_class).items():
        first_words = " ".join(field.metadata["doc"].split()[:3])
        assert name in html
        assert first_words in html, name


def test_a_repr_shows_what_was_changed():
    assert repr(CNNClassifier(dropout=0.4, filters=(8,))) == "CNNClassifier(dropout=0.4, filters=(8,))"


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_pickled_estimator_predicts_the_same_bits(protocol, digits):
    X, y = digits
    classifier = small_classifier(input_shape=(8, 8), batch_norm=True).fit(X, y)
    copied = pickle.loads(pickle.dumps(classifier, protocol))
    np.testing.assert_array_equal(copied.predict_proba(X), classifier.predict_proba(X))
    pd.testing.assert_frame_equal(copied.history_, classifier.history_)


def test_training_goes_on_after_unpickling(digits):
    X, y = digits
    classifier = small_classifier(input_shape=(8, 8)).partial_fit(X, y).partial_fit(X, y)
    copied = pickle.loads(pickle.dumps(classifier))
    for each in (classifier, copied):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(copied.predict_proba(X), classifier.predict_proba(X))
    assert copied.n_iter_ == 3


def test_a_search_can_be_pickled(digits):
    search = GridSearchCV(small_classifier(input_shape=(8, 8), max_epochs=1), {"l2": [0, 0.1]}, cv=2).fit(*digits)
    copied = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(copied.predict_proba(digits[0]), search.predict_proba(digits[0]))


def test_a_clone_is_unfitted_and_equal_in_its_hyper_parameters(digits):
    callback = GradientNormClipping(1.0)
    classifier = small_classifier(input_shape=[8, 8], callbacks=[callback], class_weight={0: 2.0}).fit(*digits)
    copied = clone(classifier)
    assert not hasattr(copied, "net_")
    assert copied.get_params().keys() == classifier.get_params().keys()
    assert copied.input_shape == [8, 8]
    assert copied.class_weight == {0: 2.0}


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_fits_equal_sequential_ones(backend, digits):
    X, y = digits
    estimators = [small_classifier(input_shape=(8, 8), max_epochs=2, random_state=seed) for seed in range(3)]
    expected = [clone(estimator).fit(X, y).predict_proba(X) for estimator in estimators]
    threads = {"inner_max_num_threads": torch.get_num_threads()} if backend == "loky" else {}
    with parallel_config(backend=backend, n_jobs=2, **threads):
        fitted = Parallel()(delayed(estimator.fit)(X, y) for estimator in estimators)
    for estimator, probabilities in zip(fitted, expected, strict=True):
        np.testing.assert_array_equal(estimator.predict_proba(X), probabilities)
