"""Fit and predict for hours in one process: prints a line of what the process holds, now and then.

python tests/faults/soak.py [number of fits] [predicts a fit]
"""

import ctypes
import gc
import json
import os
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(60, 8, 8).astype(np.float32)
LABELS, VALUES = np.arange(60) % 3, X.mean((1, 2))
QUICK = {"filters": (4,), "dense_units": (8,), "max_epochs": 3, "batch_size": 16}


def small_backbone(sample_shape):
    return nn.Sequential(nn.Conv2d(sample_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())


def save_pictures(folder):
    paths = []
    for number, pixels in enumerate(RANDOM.randint(0, 256, (24, 20, 20, 3)).astype(np.uint8)):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


def kinds_of_fit(folder):
    """List what is fitted in turn: functions of a seed that return something fitted and an X that it predicts."""
    paths, labels = save_pictures(folder), np.arange(24) % 2

    def fitted(estimator, X, y, **params):
        return lambda seed: (estimator(**QUICK | params, random_state=seed).fit(X, y), X)

    def features(seed):
        cnn = CNNFeatures(
            backbone_weights=None, image_size=32, feature_cache=str(folder / "cache"), random_state=seed % 3
        )
        return cnn.fit(paths[:4]), paths[:4]

    early = {"early_stopping": True, "patience": 2, "max_epochs": 8}
    kinds = [
        fitted(CNNClassifier, X, LABELS, dropout=0.3, batch_norm=True),
        fitted(CNNRegressor, X, VALUES, **early, augmentation="shift"),
        fitted(CNNClassifier, paths, labels, image_size=16, augmentation=("flip", "erase"), n_jobs=2),
        fitted(CNNClassifier, paths, labels, image_size=16, backbone=small_backbone, freeze_epochs=1, n_jobs=2),
        fitted(CNNClassifier, X, LABELS, **early, scoring="accuracy", refit_full=True, class_weight="balanced"),
        fitted(CNNRegressor, X, VALUES, weight_averaging="ema", block="residual", optimizer="sgd"),
        fitted(CNNClassifier, paths, labels, image_size=16, backbone=small_backbone, freeze_epochs=9, **early),
        fitted(CNNClassifier, X, LABELS, precision="bfloat16", augmentation="mixup"),
    ]
    return kinds, features


def holdings(folder):
    """Count what a process can leak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return {
        "resident_mb": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": threading.active_count(),
        "system_threads": len(os.listdir("/proc/self/task")),
        "children": len(task.read_text().split()) if task.exists() else 0,
        "files": len(os.listdir("/proc/self/fd")),
        "shared_memory": Path("/proc/self/maps").read_text().count("/dev/shm/"),
        "temporary_files": len(os.listdir(folder)),
    }


def main(n_fits=500, n_predicts=20):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = str(Path(folder) / "temporary")
        os.mkdir(tempfile.tempdir)
        kinds, features = kinds_of_fit(Path(folder))
        for number in range(1, n_fits + 1):
            cnn, given = features(number) if number % 25 == 0 else kinds[number % len(kinds)](number)
            predict = cnn.transform if hasattr(cnn, "transform") else cnn.predict
            for time in range(n_predicts):
                predict(given[:1] if time % 4 else given)
            if number % max(1, n_fits // 20) == 0:
                print(json.dumps({"fits": number} | holdings(tempfile.tempdir)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
