"""
Photographs and columns in one model
====================================

A dealer buys what is advertised: a photograph, a price, a town. Whether he buys depends on what the thing
is, which only the photograph shows, and on the price, which only the table tells. ``CNNFeatures`` turns the photograph
into columns, so that a ``ColumnTransformer`` can put both in front of a gradient boosting.
"""

# %%
# Advertisements
# --------------
# The photographs are pieces of five pictures that come with scikit-image, written to files as a shop would have them.
# What things are worth is ours: each kind has a value of its own, people in the north pay a third more, and the dealer
# buys what costs less than it is worth to him.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from skimage import data
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from sklcnn import CNNFeatures

pictures = {
    "cup": (data.coffee(), 10),
    "cat": (data.chelsea(), 40),
    "space suit": (data.astronaut(), 90),
    "coins": (data.coins(), 160),
    "rocket": (data.rocket(), 250),
}
random = np.random.RandomState(0)
folder = Path(tempfile.mkdtemp())
adverts = []
for number in range(400):
    kind = random.choice(list(pictures))
    picture, value = pictures[kind]
    side = random.randint(140, 260)
    top, left = (random.randint(size - side) for size in picture.shape[:2])
    path = folder / f"advert_{number:03}.jpg"
    Image.fromarray(picture[top : top + side, left : left + side]).save(path)
    town = random.choice(["north", "east", "south"])
    price = round(random.choice([10, 40, 90, 160, 250]) * random.uniform(0.5, 1.5), 2)
    worth = value * (1.33 if town == "north" else 1.0)
    adverts.append({"path": str(path), "price": price, "town": town, "bought": price < worth})
adverts = pd.DataFrame(adverts)
X, y = adverts.drop(columns="bought"), np.where(adverts["bought"], "bought", "left")
adverts.head()

# %%
# The table has one row an advertisement; the photographs stay in their files.

figure, axes = plt.subplots(2, 6, figsize=(9, 3.6), layout="constrained")
for axis, (_, advert) in zip(axes.flat, adverts.iterrows(), strict=False):
    axis.imshow(Image.open(advert["path"]), cmap="gray")
    axis.set_title(f"{advert['price']:.2f}, {advert['town']}\n{'bought' if advert['bought'] else 'left'}", fontsize=8)
    axis.set_axis_off()
plt.show()

# %%
# Three models
# ------------
# The transformer is told its column by name, as always. An image is computed once and looked up afterwards, so that
# five folds of two models that use it cost one pass over the photographs.

photo = ("photo", CNNFeatures(image_size=96), ["path"])
town = ("town", OrdinalEncoder(), ["town"])
price = ("price", "passthrough", ["price"])
inputs = {
    "columns alone": ColumnTransformer([town, price]),
    "photograph alone": ColumnTransformer([photo]),
    "both": ColumnTransformer([photo, town, price]),
}
folds = StratifiedKFold(5, shuffle=True, random_state=0)
scores = {}
for name, columns in inputs.items():
    model = make_pipeline(columns, HistGradientBoostingClassifier(max_features=0.3, random_state=0))
    scores[name] = cross_val_score(model, X, y, cv=folds)
    print(f"{name:<17} accuracy {scores[name].mean():.3f} +- {scores[name].std():.3f}")

# %%
# The photograph alone does not tell what is asked for the thing, and the columns do not tell what it is.

figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.axvline(
    max(np.mean(y == "bought"), np.mean(y == "left")), color="0.6", linestyle=":", label="always the same answer"
)
for place, name in enumerate(scores):
    axis.plot(scores[name], np.full(5, place), "o", color="C0", alpha=0.4, markeredgewidth=0)
    axis.plot(scores[name].mean(), place, "|", color="C0", markersize=18, markeredgewidth=2.5)
axis.set_yticks(range(3), scores)
axis.set_ylim(-0.6, 2.6)
axis.set_xlabel("accuracy in five folds (bar: mean)")
axis.legend(loc="upper left", fontsize=8, frameon=False)
axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The features keep their names, so that it can be looked up what a model rests on. Every step has hyper-parameters
# that a search can vary: ``columntransformer__photo__image_size`` is one.

model = make_pipeline(inputs["both"], HistGradientBoostingClassifier(max_features=0.3, random_state=0))
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model.fit(X_train, y_train)
print(model[:-1].get_feature_names_out()[[0, 1, -2, -1]])
print(f"accuracy on {len(X_test)} new advertisements: {model.score(X_test, y_test):.3f}")
