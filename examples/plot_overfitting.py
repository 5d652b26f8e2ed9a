"""
Overfitting, and what helps
===========================

A network with hundreds of thousands of weights learns 600 pictures by heart, and does worse on others than it could.
Every cure of the textbooks is a hyper-parameter. Here each of them is tried by itself, and then several together.
"""

# %%
# Too few pictures
# ----------------
# Pieces of clothing from Fashion-MNIST, where Debian's package ``dataset-fashion-mnist`` is installed; else the digits
# that come with scikit-learn. 600 pictures train, others are for validation and for testing.

import gzip
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from sklcnn import CNNClassifier

FOLDER = Path("/usr/share/datasets/fashion-mnist")
N_TRAIN = 600


def read_idx(part, n_rows):
    """Read the first pictures of a part of Fashion-MNIST, (n, 28, 28), and their labels."""
    with gzip.open(FOLDER / f"{part}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(16 + 784 * n_rows), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FOLDER / f"{part}-labels-idx1-ubyte.gz") as file:
        return pictures, np.frombuffer(file.read(8 + n_rows), np.uint8, offset=8)


if FOLDER.is_dir():
    (X, y), (X_test, y_test) = read_idx("train", N_TRAIN + 1000), read_idx("t10k", 4000)
else:
    digits = load_digits()
    X, y = digits.images[:1000], digits.target[:1000]
    X_test, y_test = digits.images[1000:], digits.target[1000:]
X_train, y_train, X_val, y_val = X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]
print(f"{len(X_train)} pictures to train on, {len(X_val)} to validate on, {len(X_test)} to test on")

# %%
# The cures
# ---------
# ``X_val`` and ``y_val`` only record how a network does on other pictures, unless ``early_stopping`` is on: then
# training stops once that no longer improves, and the weights of the best epoch are kept.

bare = CNNClassifier(
    filters=(16, 32), dense_units=256, batch_size=50, max_epochs=30, lr_schedule="one_cycle", random_state=0
)
cures = {
    "bare network": {},
    "dropout": {"dropout": 0.5, "conv_dropout": 0.2},
    "batch normalisation": {"batch_norm": True},
    "L1 penalty": {"l1": 2e-4},
    "L2 penalty": {"l2": 3e-3},
    "early stopping": {"early_stopping": True, "patience": 5, "lr_schedule": None},
    "fewer filters": {"filters": (4, 8), "dense_units": 32},
    "augmentation": {"augmentation": {"shift": 0.065, "mixup": 0.4}},
    "several together": {
        "dropout": 0.3,
        "batch_norm": True,
        "l2": 1e-4,
        "augmentation": {"shift": 0.065, "mixup": 0.4},
    },
}
fitted = {
    name: CNNClassifier(**bare.get_params() | changes).fit(X_train, y_train, X_val=X_val, y_val=y_val)
    for name, changes in cures.items()
}
print(f"The bare network has {sum(p.numel() for p in fitted['bare network'].module_.parameters()):,} weights.")

# %%
# How training went
# -----------------
# After twenty epochs the bare network gets nearly every training picture right. Its training loss falls to nothing,
# while its validation loss rises from its lowest point, after ten epochs: the network grows surer of its mistakes. With
# the cures that rise is smaller, or gone. Training values are measured while training, with dropout and augmentation at
# work, which is why they can be worse than those of validation. The dot is the epoch whose weights are kept.

figure, panels = plt.subplots(6, 3, figsize=(8, 10.5), sharex=True, sharey="row", layout="constrained")
for number, (name, cnn) in enumerate(fitted.items()):
    history = cnn.history_.set_index("epoch")
    upper, lower = panels[number // 3 * 2 : number // 3 * 2 + 2, number % 3]
    for panel, what in ((upper, "loss"), (lower, "score")):
        panel.plot(history[f"train_{what}"], "C0--", label="training")
        panel.plot(history[f"val_{what}"], "C1", label="validation")
        panel.plot(cnn.best_epoch_, history.loc[cnn.best_epoch_, f"val_{what}"], "C1o", markersize=5)
        panel.grid(alpha=0.3)
    upper.set_title(name, fontsize=10)
    upper.set_ylim(0, 1.3)
    lower.set_ylim(0.5, 1.02)
for row, label in enumerate(("loss", "accuracy") * 3):
    panels[row, 0].set_ylabel(label)
for panel in panels[-1]:
    panel.set_xlabel("epoch")
figure.legend(*panels[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
figure.suptitle(f"{N_TRAIN} training pictures: losses and accuracies of training and validation", fontsize=11)
plt.show()

# %%
# On pictures never seen
# ----------------------
# Accuracy counts what is right; the loss also counts how sure the network is of what is wrong.

table = pd.DataFrame(
    {
        "weights": [sum(p.numel() for p in cnn.module_.parameters()) for cnn in fitted.values()],
        "epochs": [cnn.best_epoch_ for cnn in fitted.values()],
        "training accuracy": [cnn.score(X_train, y_train) for cnn in fitted.values()],
        "validation loss": [cnn.history_["val_loss"][cnn.best_epoch_ - 1] for cnn in fitted.values()],
        "test accuracy": [cnn.score(X_test, y_test) for cnn in fitted.values()],
    },
    index=pd.Index(fitted, name="cure"),
)
table.round(3)

# %%
# By themselves penalties, early stopping or a smaller network make it less sure, not more often right. Several cures
# together do both, and the difference is more than chance: the standard error of an accuracy is the last number here.

gained = table.loc["several together", "test accuracy"] - table.loc["bare network", "test accuracy"]
error = np.sqrt(table["test accuracy"].mean() * (1 - table["test accuracy"].mean()) / len(y_test))
print(f"Several cures together gain {gained:.1%} of accuracy (standard error {error:.1%}).")

# %%
# Which cures, and how strong? That is what ``GridSearchCV`` and ``RandomizedSearchCV`` are for: all of them are
# hyper-parameters.
