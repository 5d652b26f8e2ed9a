"""
Which covered patch turns the decision?
=======================================

A network tells faces from other pictures. We cover one part of a face after another with grey and watch the predicted
probability: where it falls, the network had been looking.
"""

# %%
# Two hundred pictures
# --------------------
# scikit-image comes with 100 faces of the "Labeled Faces in the Wild" and 100 pictures of something else, in grey and
# of 25 x 25 pixels. A quarter of them is kept for testing.

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import lfw_subset
from sklearn.model_selection import train_test_split

from sklcnn import CNNClassifier
from sklcnn.inspection import SaliencyDisplay

labels = np.repeat(["face", "no face"], 100)
X_train, X_test, y_train, y_test = train_test_split(
    lfw_subset(), labels, test_size=0.25, stratify=labels, random_state=0
)
cnn = CNNClassifier(filters=(16, 32), dropout=0.4, l2=1e-3, max_epochs=40, random_state=0)
cnn.fit(X_train, y_train)
print(f"Accuracy on {len(y_test)} other pictures: {cnn.score(X_test, y_test):.2f}")

# %%
# Cover one patch after another
# -----------------------------
# ``method="occlusion"`` moves a patch over the sample, here of 12 x 12 pixels, a quarter of the area, and predicts anew
# wherever it stands. The patch has the grey that the training pictures have on average. ``draw=False`` only computes
# the arrays, so that we can look for the faces that suffer most.

faces = np.flatnonzero(y_test == "face")
display = SaliencyDisplay.from_estimator(
    cnn, X_test, target="face", method="occlusion", samples=faces, patch_size=12, stride=2, draw=False
)
lowest = display.probabilities.min(axis=(1, 2))
print(f"{np.sum(lowest < 0.5)} of {len(faces)} faces can be covered so that they are no longer recognised.")

# %%
# These four are the most easily turned. Red is what spoke for a face: it lowers the probability when it is covered.
# Blue spoke against it. A cross is the centre of a patch that turns the decision.

worst = faces[np.argsort(lowest)[:4]]
SaliencyDisplay.from_estimator(cnn, X_test, target="face", method="occlusion", samples=worst, patch_size=12, stride=2)
plt.show()

# %%
# What matters in all faces
# -------------------------
# ``attributions`` says for each pixel how much probability is lost when it is covered. Its mean over all faces shows
# what the network relies on in general; beside it the mean face.

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="compressed")
left.imshow(X_test[faces].mean(axis=0), cmap="gray", vmin=0, vmax=1)
left.set_title("mean of the test faces", fontsize=10)
lost = display.attributions.mean(axis=0)
image = right.imshow(lost, cmap="RdBu_r", vmin=-np.abs(lost).max(), vmax=np.abs(lost).max())
right.set_title("what covering costs on average", fontsize=10)
figure.colorbar(image, ax=(left, right), label="probability lost")
for panel in (left, right):
    panel.set_axis_off()
plt.show()

# %%
# Cover half of the face
# ----------------------
# Why is a face still recognised when half of it is covered? Because either half is enough for most of them. We cover
# each half with the same grey, and count.

grey = X_train.mean()
halves = {
    "nothing": np.s_[:, :0],
    "left half": np.s_[:, :, :12],
    "right half": np.s_[:, :, 13:],
    "upper half": np.s_[:, :12],
    "lower half": np.s_[:, 13:],
}
figure, panels = plt.subplots(1, len(halves), figsize=(8, 2.3), layout="compressed")
for panel, (name, part) in zip(panels, halves.items(), strict=True):
    covered = X_test[faces].copy()
    covered[part] = grey
    recognised = np.mean(cnn.predict(covered) == "face")
    panel.imshow(covered[0], cmap="gray", vmin=0, vmax=1)
    panel.set_title(f"{name} covered:\n{recognised:.0%} recognised", fontsize=9)
    panel.set_axis_off()
plt.show()
