"""
What each augmentation does, and whether it helps
=================================================

Few training images become many by changing them a little: a cat moved by a hand's breadth is a cat. First we look at
every change that has a name, then we measure which of them help a network that has seen twenty pictures only.
"""

# %%
# Look through the network's eyes
# -------------------------------
# Changes happen inside ``fit``, to training batches only. To see them we pass a ``backbone`` of our own that keeps
# what it is given. One epoch of one batch is enough; what the network learns from it does not matter here.

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skimage import data
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from torch import nn

from sklcnn import CNNClassifier

seen = []


class Eyes(nn.Module):
    """Keep what the network is shown."""

    def forward(self, images):
        if self.training:
            seen.append(images.movedim(1, -1).numpy())  # (n, h, w, c)
        return images.mean((2, 3))


def show(photographs, augmentation):
    """Give the photographs as a network sees them in one epoch."""
    seen.clear()
    labels = np.arange(len(photographs)) % 2
    CNNClassifier(backbone=Eyes(), augmentation=augmentation, max_epochs=1, random_state=0).fit(photographs, labels)
    return seen[0].clip(0, 1)


def square(photograph, side=96):
    """Cut the middle square out of a photograph, and shrink it."""
    cut = min(photograph.shape[:2])
    top, left = ((size - cut) // 2 for size in photograph.shape[:2])
    return np.asarray(Image.fromarray(photograph[top : top + cut, left : left + cut]).resize((side, side)))


cat, coffee = square(data.chelsea()), square(data.coffee())

# %%
# Every name at its default strength
# ----------------------------------
# Each of the six pictures in a row has a draw of its own. The last two mix images, so that a cup of coffee has to help
# out; their targets are mixed in the same shares.

names = {
    "flip": [cat],
    "vertical_flip": [cat],
    "crop": [cat],
    "shift": [cat],
    "rotate": [cat],
    "zoom": [cat],
    "color": [cat],
    "trivial_augment": [cat],
    "scale": [cat],
    "noise": [cat],
    "erase": [cat],
    "mixup": [cat, coffee],
    "cutmix": [cat, coffee],
}


def contact_sheet(rows):
    """Draw a row of six pictures for each augmentation, after the picture as it is."""
    figure, axes = plt.subplots(len(rows), 7, figsize=(7.4, 1.06 * len(rows)), layout="constrained")
    for line, (label, augmentation, photographs) in zip(axes, rows, strict=True):
        shown = show(np.stack(photographs * (6 // len(photographs))), augmentation)
        for axis, picture in zip(line, [photographs[0], *shown], strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    axes[0, 0].set_title("as it is", fontsize=9)
    axes[0, 3].set_title("as the network sees it", fontsize=9)


contact_sheet([(name, name, photographs) for name, photographs in names.items()])
plt.show()

# %%
# Strengths
# ---------
# ``{name: strength}`` sets the strength, so that a search can vary it.

contact_sheet(
    [
        (f"{name}: {strength}", {name: strength}, names[name])
        for name, strengths in {"rotate": [5, 45], "color": [0.1, 0.8], "noise": [0.1, 0.5], "mixup": [0.2, 5]}.items()
        for strength in strengths
    ]
)
plt.show()

# %%
# Which of them help?
# -------------------
# That depends on what the pictures mean, and on how few there are. scikit-image comes with 100 faces and 100 other
# pictures. Twenty of them are the training set, the other 180 tell how good the network is. Splits differ much more
# than augmentations do, so that each is compared with no augmentation on the same split.

X, y = data.lfw_subset(), np.repeat(["face", "no face"], 100)
splits = StratifiedShuffleSplit(8, train_size=20, random_state=0)


def accuracies(augmentation):
    """Train and test on each split."""
    cnn = CNNClassifier(dropout=0.4, augmentation=augmentation, max_epochs=40, random_state=0)
    return cross_val_score(cnn, X, y, cv=splits)


plain = accuracies(None)
candidates = ["flip", "vertical_flip", "shift", "rotate", "zoom", "color", "noise", "erase", "mixup", "trivial_augment"]
gains = {name: 100 * (accuracies(name) - plain) for name in candidates}
print(f"accuracy without augmentation: {plain.mean():.1%}")
for name, gain in gains.items():
    print(f"{name:<16} {gain.mean():+.1f} points on average, better in {np.sum(gain > 0)} of {len(gain)} splits")

# %%

ranked = sorted(gains, key=lambda name: gains[name].mean())
figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
axis.axvline(0, color="0.6", linestyle=":")
for place, name in enumerate(ranked):
    axis.plot(gains[name], np.full(len(plain), place), "o", color="C0", alpha=0.35, markeredgewidth=0)
    axis.plot(gains[name].mean(), place, "|", color="C0", markersize=13, markeredgewidth=2.5)
axis.set_yticks(range(len(ranked)), ranked)
axis.set_xlabel("points of accuracy gained over no augmentation (eight splits; bar: mean)")
axis.spines[["top", "right"]].set_visible(False)
plt.show()
