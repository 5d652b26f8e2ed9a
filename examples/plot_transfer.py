"""
Two hundred photographs: from scratch, frozen, fine-tuned
=========================================================

Is there a face in the picture? A network that has to learn from a few pictures what pictures consist of is compared
with one that has learnt it from the million photographs of ImageNet, and is only told what to look for.
"""

# %%
# The pictures
# ------------
# scikit-image comes with 100 faces of the "Labeled Faces in the Wild" and 100 pictures of something else, in grey and
# of 25 x 25 pixels. A backbone repeats grey to three channels; ``image_size`` enlarges the pictures to what suits it.

import time

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import lfw_subset
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit, cross_val_score, cross_validate

from sklcnn import CNNClassifier

X, y = lfw_subset(), np.repeat(["face", "no face"], 100)
figure, axes = plt.subplots(2, 8, figsize=(8, 2.1), layout="constrained")
for axis, picture in zip(axes.flat, np.concatenate([X[:8], X[100:108]]), strict=True):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()
plt.show()

# %%
# Three networks on one budget
# ----------------------------
# All train for ten epochs in batches of 16. The first is a network of two convolution blocks, from random weights. The
# second trains a head on the frozen backbone, whose features are computed once per picture, in the first fold. The
# third does the same for three epochs, and then trains the backbone as well, at a tenth of the learning rate. The log
# loss tells how far the probabilities are off, where accuracies hardly differ.

budget = {"max_epochs": 10, "batch_size": 16, "random_state": 0}
backbone = {"backbone": "efficientnet_lite0", "image_size": 96}
networks = {
    "from scratch": CNNClassifier(**budget),
    "frozen": CNNClassifier(**budget, **backbone),
    "fine-tuned": CNNClassifier(**budget, **backbone, freeze_epochs=3),
}
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores, seconds = {}, {}
for name, cnn in networks.items():
    began = time.perf_counter()
    results = cross_validate(cnn, X, y, cv=folds, scoring=["accuracy", "neg_log_loss"])
    seconds[name] = time.perf_counter() - began
    scores[name], log_loss = results["test_accuracy"], -results["test_neg_log_loss"].mean()
    print(f"{name:<13} accuracy {scores[name].mean():.3f}, log loss {log_loss:.3f} in {seconds[name]:5.1f} s")

# %%
# The second time, the frozen network takes even less: the features of all pictures are there.

began = time.perf_counter()
cross_val_score(networks["frozen"], X, y, cv=folds)
print(f"frozen, again: {time.perf_counter() - began:.1f} s")

# %%
# The fewer the pictures
# ----------------------
# Two hundred simple pictures are nearly enough to learn from scratch. How about twenty, or six? Each size is drawn five
# times, and the rest of the pictures is the test set. Fits on a frozen backbone cost next to nothing by now.

sizes = [6, 10, 20, 40, 80, 160]
curves = {name: [] for name in ("from scratch", "frozen")}
for size in sizes:
    splits = StratifiedShuffleSplit(5, train_size=size, random_state=0)
    for name, curve in curves.items():
        cnn = networks[name].set_params(max_epochs=20)
        curve.append(cross_val_score(cnn, X, y, cv=splits).mean())
    print(f"{size:>3} pictures: " + ", ".join(f"{name} {curve[-1]:.3f}" for name, curve in curves.items()))

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", width_ratios=[1, 1.2])
for place, folds_of_one in enumerate(scores.values()):
    beside = place + np.linspace(-0.2, 0.2, 5)  # since many folds are equally good
    left.plot(beside, folds_of_one, "o", color=f"C{place}", alpha=0.5, markeredgewidth=0)
    left.plot(place, folds_of_one.mean(), "_", color=f"C{place}", markersize=40, markeredgewidth=2.5)
left.set_xticks(range(3), [f"{name}\n{seconds[name]:.0f} s" for name in scores])
left.set_xlim(-0.6, 2.6)
left.set_ylabel("accuracy")
left.set_title("160 pictures, five folds side by side", fontsize=10)
for place, (name, curve) in enumerate(curves.items()):
    right.plot(sizes, curve, "o-", color=f"C{place}", label=name)
right.set_xscale("log")
right.set_xticks(sizes, sizes)
right.minorticks_off()
right.set_xlabel("pictures to learn from")
right.set_title("fewer of them", fontsize=10)
right.legend(frameon=False, loc="lower right")
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
plt.show()
