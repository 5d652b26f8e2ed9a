"""Searches: halving by epochs; processes, threads and clusters; a worker that dies."""

import os
import signal

import numpy as np
import pytest
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, StratifiedKFold
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


@pytest.fixture(scope="module")
def cluster():
    """Start two worker processes with one thread each, and a client for them."""
    import distributed

    options = {"dashboard_address": ":0", "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as running,
        distributed.Client(running) as client,
    ):
        yield client


def search_by(digits, backend, scoring="neg_log_loss", cv=2, **options):
    search = GridSearchCV(
        CNNClassifier(**SMALL, max_epochs=2), {"learning_rate": RATES[1:3], "dropout": [0.0, 0.3]}, cv=cv,
        scoring=scoring, return_train_score=True, error_score="raise",
    )  # fmt: skip
    with parallel_config(backend, n_jobs=2, **options):
        return search.fit(*digits)


def scores_of(search):
    return {name: values for name, values in search.cv_results_.items() if name.endswith("_score")}


def assert_same_scores(search, other):
    one, two = scores_of(search), scores_of(other)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def by_processes(digits):
    return search_by(digits, "loky", inner_max_num_threads=1)


def test_threads_find_what_processes_find(by_processes, digits):
    assert_same_scores(search_by(digits, "threading"), by_processes)


def test_a_dask_cluster_finds_what_processes_find(by_processes, cluster, digits):
    assert_same_scores(search_by(digits, "dask"), by_processes)


@pytest.mark.slow
def test_ray_finds_what_processes_find(by_processes, digits):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert_same_scores(search_by(digits, "ray"), by_processes)
    finally:
        ray.shutdown()


class LargeFiles:
    """Scores by how many files of a size or more lie in a folder."""

    def __init__(self, folder, size):
        self.folder, self.size = folder, size

    def __call__(self, estimator, X, y):
        return sum(file.stat().st_size >= self.size for file in self.folder.rglob("*.pkl"))


@pytest.mark.slow
def test_a_large_X_is_written_once_for_all_tasks_of_all_workers(tmp_path):
    X, y = np.random.RandomState(0).randint(0, 256, (2000, 32, 32, 1), np.uint8), np.arange(2000) % 2
    scoring = LargeFiles(tmp_path, X.nbytes)
    cnn = CNNClassifier(filters=(2,), kernel_size=8, stride=8, dense_units=(), max_epochs=1, random_state=0)
    get_reusable_executor().shutdown(wait=True)  # workers of an earlier test keep that one's folder
    with parallel_config("loky", n_jobs=2, inner_max_num_threads=1, temp_folder=str(tmp_path)):
        search = GridSearchCV(cnn, {"dropout": [0.0, 0.4]}, cv=2, scoring=scoring, refit=False).fit(X, y)
    assert [search.cv_results_[f"split{fold}_test_score"].tolist() for fold in range(2)] == [[1, 1], [1, 1]]


class DyingScorer:
    """Scores by log loss; the first process that calls it in a worker dies."""

    def __init__(self, folder):
        self.flag, self.survivor = str(folder / "died"), os.getpid()

    def __call__(self, estimator, X, y):
        from sklearn.metrics import get_scorer

        if os.getpid() != self.survivor:
            try:
                os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return get_scorer("neg_log_loss")(estimator, X, y)


@pytest.mark.slow
def test_a_search_survives_a_worker_that_is_killed(cluster, tmp_path):
    X, y = load_digits(n_class=4, return_X_y=True)
    folds = list(StratifiedKFold(2).split(X, y))
    everywhere = [X, y, *(rows for fold in folds for rows in fold)]
    undisturbed = search_by((X, y), "loky", cv=folds, inner_max_num_threads=1)
    search = search_by((X, y), "dask", scoring=DyingScorer(tmp_path), cv=folds, scatter=everywhere)
    assert (tmp_path / "died").exists()
    assert_same_scores(search, undisturbed)
