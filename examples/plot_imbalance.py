"""
One in a hundred
================

Where one class is rare, a network that never names it is right 99 times of 100. Three remedies are compared: weights
for the classes, a score that counts both classes alike to choose the epoch by, and another threshold. Not each of them
helps here.
"""

# %%
# Ninety-nine to one
# ------------------
# Thirty shirts among 2,970 T-shirts, from Fashion-MNIST, where Debian's package ``dataset-fashion-mnist`` is installed;
# else 14 eights among 1,386 other digits, from those that come with scikit-learn. For testing we take as many of
# either: recall, the share of a class that is found, does not depend on how many there are, and is the better known
# the more there are.

import gzip
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, recall_score
from sklearn.model_selection import TunedThresholdClassifierCV

from sklcnn import CNNClassifier
from sklcnn.inspection import TrainingCurveDisplay

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_idx(part):
    """Read the pictures of a part of Fashion-MNIST, (n, 28, 28), and their labels."""
    with gzip.open(FOLDER / f"{part}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FOLDER / f"{part}-labels-idx1-ubyte.gz") as file:
        return pictures, np.frombuffer(file.read(), np.uint8, offset=8)


def choose(pictures, is_rare, n_common, n_rare):
    """Choose the first pictures of both classes, and their names."""
    rows = np.concatenate([np.flatnonzero(~is_rare)[:n_common], np.flatnonzero(is_rare)[:n_rare]])
    return pictures[rows], np.where(is_rare[rows], rare, common)


if FOLDER.is_dir():
    common, rare = "T-shirt", "shirt"
    parts = []
    for part in ("train", "t10k"):
        pictures, labels = read_idx(part)
        chosen = (labels == 0) | (labels == 6)
        parts.append((pictures[chosen], labels[chosen] == 6))
    X, y = choose(*parts[0], 2970, 30)
    X_test, y_test = choose(*parts[1], 1000, 1000)
else:
    common, rare = "another", "eight"
    pictures, is_eight = load_digits().images, load_digits().target == 8
    X, y = choose(pictures, is_eight, 1386, 14)
    X_test, y_test = choose(pictures[::-1], is_eight[::-1], 160, 160)
pd.DataFrame({"training": pd.Series(y).value_counts(), "test": pd.Series(y_test).value_counts()})

# %%
# Four ways
# ---------
# The bare network; the same with ``class_weight="balanced"``, which makes a rare row count 99 times; with early
# stopping on top, which watches the balanced accuracy of rows held out, the mean of the recalls of both classes; and
# the bare network behind scikit-learn's ``TunedThresholdClassifierCV``, which asks how sure of the rare class the
# network has to be, and finds the answer by cross-validation.

bare = CNNClassifier(filters=(16, 32), max_epochs=10, random_state=0)
ways = {
    "bare network": bare,
    "class weights": CNNClassifier(filters=(16, 32), max_epochs=10, class_weight="balanced", random_state=0),
    "class weights, early stopping": CNNClassifier(
        filters=(16, 32),
        class_weight="balanced",
        early_stopping=True,
        scoring="balanced_accuracy",
        validation_fraction=0.3,
        max_epochs=20,
        random_state=0,
    ),
    "tuned threshold": TunedThresholdClassifierCV(bare, scoring="balanced_accuracy", cv=3),
}
for way in ways.values():
    way.fit(X, y)
tuned = ways["tuned threshold"]
print(f"The tuned threshold: {str(tuned.classes_[1])!r} from a probability of {tuned.best_threshold_:.3f} on.")

# %%
# What they find
# --------------
# The bare network is right most often where 99 of 100 are common, and finds hardly any of the others. Class weights and
# the tuned threshold find many more, and pay for it with common ones that they take for rare. What early stopping adds
# to the class weights is a matter of luck: it chooses the epoch by the nine rare rows that are held out (four of the
# digits), and learns from as many fewer.

recalls = pd.DataFrame(
    [
        {
            f"recall of {name}": recall_score(y_test, way.predict(X_test), labels=[name], average="macro")
            for name in (rare, common)
        }
        for way in ways.values()
    ],
    index=pd.Index(ways, name="way"),
)
recalls["balanced accuracy"] = recalls.mean(axis=1)
recalls["accuracy at 99 to 1"] = recalls.iloc[:, :2] @ [0.01, 0.99]
recalls.round(3)

# %%
# The same as pictures: a row is what a piece really is, and the numbers are shares of the row.

figure, panels = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
for panel, (name, way) in zip(panels.flat, ways.items(), strict=True):
    ConfusionMatrixDisplay.from_estimator(
        way,
        X_test,
        y_test,
        labels=[common, rare],
        normalize="true",
        values_format=".0%",
        cmap="Blues",
        im_kw={"vmin": 0, "vmax": 1},
        colorbar=False,
        ax=panel,
    )
    panel.set_title(f"{name}: balanced accuracy {recalls.loc[name, 'balanced accuracy']:.2f}", fontsize=10)
    panel.set(xlabel="predicted", ylabel="true")
plt.show()

# %%
# What early stopping watched
# ---------------------------
# Loss and score need not agree on the best epoch. With ``scoring="balanced_accuracy"`` it is the score that counts,
# though the few rows held out of the rare class make it a rough one: it jumps from epoch to epoch, and the best of them
# is the luckiest.

TrainingCurveDisplay.from_estimator(ways["class weights, early stopping"])
plt.show()
