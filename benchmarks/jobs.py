"""Several jobs, and busy machines.

A grid of twelve candidates for small networks on 1,797 digits of 8x8, three folds, five epochs, without the refit; the
workers have been started and have imported what they need. "x" is the time against one job. Then one small fit (500
digits, ten epochs, torch with two threads) beside processes that do nothing but count.
"""

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext

import torch
from joblib import parallel_config
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from benchmarks.timing import in_turn, ratio, seconds, spread, table
from sklcnn import CNNClassifier

GRID = {"dropout": [0.0, 0.2, 0.4], "l2": [0.0, 1e-4], "learning_rate": [2e-3, 5e-3]}


def measure(quick):
    """Time the search by each way of running jobs, and the fit beside busy processes; return two tables."""
    n_rounds = 1 if quick else 5
    with dask_cluster() as cluster:
        ways = {
            "one job": lambda: parallel_config("loky", n_jobs=1),
            "two jobs, processes (loky)": lambda: parallel_config("loky", n_jobs=2),
            "two jobs, threads": lambda: parallel_config("threading", n_jobs=2),
        }
        if cluster:
            ways["two jobs, dask"] = lambda: parallel_config("dask", n_jobs=2)
        rounds = in_turn(
            {name: lambda name=name, way=way: {name: search(way(), quick)} for name, way in ways.items()}, n_rounds
        )
    jobs = [[name, spread(rounds[name], 2), f"{ratio(rounds, name, 'one job'):.2f}"] for name in ways]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    beside = in_turn({f"{n}": lambda n=n: {f"{n}": fit_beside(n)} for n in (0, 2, 4)}, n_rounds)
    torch.set_num_threads(threads)
    busy = [[n, spread(beside[n], 2), f"{ratio(beside, n, '0'):.2f}"] for n in beside]
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f}."
    return "\n\n".join(
        (table(["", "seconds", "x"], jobs), table(["busy processes", "seconds of a small fit", "x"], busy), load)
    )


def search(backend, quick):
    """Time the grid search on a backend."""
    X, y = load_digits(return_X_y=True)
    n_rows, n_epochs = (150, 1) if quick else (None, 5)
    cnn = CNNClassifier(input_shape=(8, 8), filters=(16, 32), max_epochs=n_epochs, random_state=0)
    with backend:
        return seconds(GridSearchCV(cnn, GRID, cv=3, refit=False).fit, X[:n_rows], y[:n_rows])


@contextmanager
def dask_cluster():
    """Start two worker processes of one thread, where dask is installed."""
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        with nullcontext() as nothing:
            yield nothing
        return
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        yield client


def fit_beside(n_busy):
    """Time a small fit beside busy processes."""
    X, y = load_digits(return_X_y=True)
    cnn = CNNClassifier(input_shape=(8, 8), max_epochs=10, random_state=0)
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_busy)]
    try:
        return seconds(cnn.fit, X[:500], y[:500])
    finally:
        for process in processes:
            process.kill()
            process.wait()
