"""
What the layers see
===================

A convolutional network turns a picture into feature maps, and those into others, until a few numbers are left that tell
the classes apart. We train one on pieces of clothing, and look at how training went, at the filters, and at the maps
that they give.
"""

# %%
# Pieces of clothing
# ------------------
# Fashion-MNIST, where Debian's package ``dataset-fashion-mnist`` is installed; else the digits that come with
# scikit-learn. Either is a table with a picture in each row, which ``input_shape`` explains.

import gzip
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklcnn import CNNClassifier
from sklcnn.inspection import FeatureMapDisplay, MistakesDisplay, TrainingCurveDisplay

FOLDER = Path("/usr/share/datasets/fashion-mnist")
NAMES = np.array(["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"])


def load_pictures(n_rows=5000):
    """Read pixels (n, height * width), labels (n,) and the side of a picture."""
    if not FOLDER.is_dir():
        pixels, labels = load_digits(return_X_y=True)
        return pixels, labels, 8
    with gzip.open(FOLDER / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784 * n_rows), np.uint8, offset=16)
    with gzip.open(FOLDER / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + n_rows), np.uint8, offset=8)
    return pixels.reshape(n_rows, 784), NAMES[labels], 28


X, y, side = load_pictures()
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)

# %%
# Training
# --------
# Two blocks of convolution, ReLU and pooling, and a dense layer. ``early_stopping`` holds out a tenth of the rows and
# keeps the weights of the best epoch.

cnn = CNNClassifier(
    input_shape=(side, side),
    filters=(16, 32),
    dropout=0.3,
    early_stopping=True,
    patience=3,
    max_epochs=15,
    random_state=0,
)
cnn.fit(X_train, y_train)
print(f"Accuracy on {len(y_test)} other pictures: {cnn.score(X_test, y_test):.2f}")
cnn.summary()

# %%
# From the best epoch on, the training loss falls and the loss on the rows held out does not: more epochs would only
# have learnt the training rows by heart.

TrainingCurveDisplay.from_estimator(cnn)
plt.show()

# %%
# The first layer
# ---------------
# Each filter is a small picture of what it answers to: red where it adds, blue where it subtracts. Its map shows where
# in the sample it found that. Some filters answer to areas, others to edges of one direction. Each map is drawn on a
# scale of its own, up to the number over it, and before it is pooled, so that it has the sample's size.

chosen = [np.flatnonzero(y_test == label)[0] for label in np.unique(y_test)[[0, 6]]]
FeatureMapDisplay.from_estimator(cnn, X_test, layer="block1", samples=chosen, filters=True)
plt.show()

# %%
# Before the activation
# ---------------------
# The ReLU sets negative values to 0. Before it, a filter that answers to an edge from dark to bright shows the opposite
# edge in blue.

FeatureMapDisplay.from_estimator(cnn, X_test, layer="block1", samples=chosen[:1], after_activation=False)
plt.show()

# %%
# A deeper layer
# --------------
# The second block sees maps of half the size. Its maps are sparser: each answers to fewer places, and a map that is 0
# everywhere has nothing to say about these samples. The arrays are there without drawing, too: here the share of the
# values that the ReLU set to 0.

deeper = FeatureMapDisplay.from_estimator(cnn, X_test, layer="block2", samples=chosen)
plt.show()

for layer in ("block1", "block2"):
    maps = FeatureMapDisplay.from_estimator(cnn, X_test, layer=layer, samples=range(200), draw=False).maps
    print(f"{layer}: {np.mean(maps == 0):.0%} of the values of {maps.shape[1]} maps are 0")

# %%
# What it gets wrong
# ------------------
# The pictures with the largest loss: those that the network is sure of, and wrong. For some of them one would like to
# ask who wrote the label.

MistakesDisplay.from_estimator(cnn, X_test, y_test)
plt.show()
