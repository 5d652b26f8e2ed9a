"""Searches: halving by epochs."""

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from sklcnn import CNNClassifier

SMALL = {"input_shape": (8, 8), "filters": (2,), "dense_units": (), "random_state": 0}
RATES = [1e-5, 1e-3, 1e-2, 3e-2]


def count_epochs(estimator, X, y):
    return estimator.n_iter_ if isinstance(estimator, CNNClassifier) else estimator[-1].n_iter_


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize(
    ("halving", "options"), [(HalvingGridSearchCV, {}), (HalvingRandomSearchCV, {"n_candidates": 4, "random_state": 0})]
)
def test_a_halving_search_trains_its_candidates_for_the_epochs_of_their_round(halving, options, in_pipeline, digits):
    cnn, prefix = CNNClassifier(**SMALL), ""
    if in_pipeline:
        cnn, prefix = Pipeline([("scale", MinMaxScaler()), ("cnn", cnn)]), "cnn__"
    search = halving(
        cnn, {f"{prefix}learning_rate": RATES}, resource=f"{prefix}max_epochs", max_resources=4, factor=2, cv=2,
        scoring=count_epochs, error_score="raise", **options,
    ).fit(*digits)  # fmt: skip
    assert search.n_resources_ == [1, 2, 4]
    assert search.n_candidates_ == [4, 2, 1]
    assert search.cv_results_["mean_test_score"].tolist() == search.cv_results_["n_resources"].tolist()
    assert count_epochs(search.best_estimator_, *digits) == 4


def test_a_halving_search_ends_with_the_better_candidates(digits):
    search = HalvingGridSearchCV(
        CNNClassifier(**SMALL), {"learning_rate": RATES}, resource="max_epochs", max_resources=4, factor=2, cv=2
    ).fit(*digits)
    results = search.cv_results_
    for number in range(2):
        scores, rates = (results[key][results["iter"] == number] for key in ("mean_test_score", "param_learning_rate"))
        goes_on = [rate in results["param_learning_rate"][results["iter"] == number + 1] for rate in rates]
        assert min(scores[goes_on]) >= max(scores[~np.array(goes_on)])


def test_a_halving_search_by_epochs_asks_for_the_most_of_them(digits):
    search = HalvingGridSearchCV(CNNClassifier(**SMALL), {"learning_rate": RATES}, resource="max_epochs", cv=2)
    with pytest.raises(ValueError, match="max_resources='auto'"):
        search.fit(*digits)
