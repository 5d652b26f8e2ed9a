"""
A folder of photographs
=======================

Pictures mostly lie in files, listed in a table. A column of paths is all that the network needs: it reads the files by
the batch, turns them to one size, and keeps what it has decoded for the next epoch. Here it learns to tell surfaces
apart: brick, grass, gravel, the moon, tissue under the microscope, and a sky full of galaxies.
"""

# %%
# Write the folder
# ----------------
# scikit-image comes with a photograph of each. We cut squares of 32 to 64 pixels out of them and save them as JPEG
# files, as if somebody had gone out and taken close-ups from near and far. All become grey, for colour alone would tell
# some of them apart. The left part of a photograph is for training and the right part for testing, so that no pixel
# is in both.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from skimage import data
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklcnn import CNNClassifier
from sklcnn.inspection import MistakesDisplay

PHOTOGRAPHS = {
    "brick": data.brick,
    "grass": data.grass,
    "gravel": data.gravel,
    "moon": data.moon,
    "tissue": data.immunohistochemistry,
    "galaxies": data.hubble_deep_field,
}
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
for surface, load in PHOTOGRAPHS.items():
    photograph = Image.fromarray(load()).convert("L").crop((0, 0, 512, 512))
    for part, (left, right), n_pieces in (("left", (0, 300), 50), ("right", (300, 512), 30)):
        for number in range(n_pieces):
            side = rng.integers(32, 65)
            x, y = rng.integers((left, 0), (right - side, 512 - side))
            piece = photograph.crop((x, y, x + side, y + side)).rotate(90 * rng.integers(4))
            piece.save(folder / f"{surface}-{part}-{number:02d}.jpg", quality=90)

# %%
# List it in a table
# ------------------
# From here on it is a table like any other. pandas splits it.

paths = sorted(folder.glob("*.jpg"))
files = pd.DataFrame([path.stem.split("-") for path in paths], columns=["surface", "part", "number"])
files["file"] = [str(path) for path in paths]
files["kilobytes"] = [path.stat().st_size / 1000 for path in paths]

train, test = files[files["part"] == "left"], files[files["part"] == "right"]
files.groupby(["surface", "part"])[["kilobytes"]].agg(["count", "mean"]).round(1)

# %%
# One file of each surface, and its size:

figure, panels = plt.subplots(1, 6, figsize=(8, 1.9), layout="compressed")
for panel, (surface, row) in zip(panels, train.groupby("surface").first().iterrows(), strict=True):
    picture = Image.open(row["file"])
    panel.imshow(picture, cmap="gray", vmin=0, vmax=255)
    panel.set_title(f"{surface}\n{picture.width} x {picture.height} pixels", fontsize=9)
    panel.set_axis_off()
plt.show()

# %%
# Fit
# ---
# X is the column of paths, as a Series or a DataFrame of one column. ``image_size`` is the size that all of them are
# resized to. A file that is missing or broken would be an error that names it, before training begins.

cnn = CNNClassifier(image_size=32, filters=(16, 32), max_epochs=40, random_state=0)
cnn.fit(train["file"], train["surface"])
print(f"Accuracy on {len(test)} files of the other part: {cnn.score(test['file'], test['surface']):.3f}")

# %%
# What it takes for what, true surfaces in rows:

pd.crosstab(test["surface"], pd.Series(cnn.predict(test["file"]), test.index, name="predicted"))

# %%
# The errors
# ----------
# The files with the largest loss, as they are on the disk. Nearly all of them are gravel taken for grass or grass taken
# for gravel, and the network is sure of it.

MistakesDisplay.from_estimator(cnn, test["file"], test["surface"])
plt.show()

# %%
# A network that suits surfaces
# -----------------------------
# A surface has no top and no left side, and may lie in the sun or in the shade: ``augmentation`` says so. And it does
# not matter where in the picture a texture is: averaging each feature map says that.

better = CNNClassifier(
    image_size=32,
    filters=(16, 32, 64),
    batch_norm=True,
    global_pooling="avg",
    augmentation=("flip", "vertical_flip", "color"),
    max_epochs=40,
    random_state=0,
)
better.fit(train["file"], train["surface"])
print(f"Accuracy on {len(test)} files of the other part: {better.score(test['file'], test['surface']):.3f}")

# %%
# Beside other columns, in a search
# ---------------------------------
# The network reads one column. Where there are others, a ColumnTransformer chooses it, and the table as a whole goes
# into ``fit``. What size do the pictures need? The folds share what is decoded, as long as the size is the same.

pipeline = Pipeline([("choose", ColumnTransformer([("file", "passthrough", ["file"])])), ("cnn", better)])
pipeline.set_params(cnn__max_epochs=15)
search = GridSearchCV(pipeline, {"cnn__image_size": [8, 16, 32]}, cv=3)
search.fit(train, train["surface"])
results = pd.DataFrame(search.cv_results_)[["param_cnn__image_size", "mean_test_score", "mean_fit_time"]]
results.set_axis(["image_size", "accuracy", "seconds a fit"], axis=1).round(3)
