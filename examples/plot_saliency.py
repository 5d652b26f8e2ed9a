"""
Where does a pretrained network look?
=====================================

EfficientNet-Lite0 has learnt from the million photographs of ImageNet what pictures consist of. We put a small head on
it, which tells five photographs apart by crops of them, and ask for whole photographs and a collage: what speaks for
this class, and what for that one?
"""

# %%
# Crops of five photographs
# -------------------------
# Two photographs come with scikit-learn, three with scikit-image. Thirty random squares of each are the training set;
# each shows a part of its photograph in another size.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from sklearn.datasets import load_sample_images

from sklcnn import CNNClassifier
from sklcnn.inspection import SaliencyDisplay

temple, flower = load_sample_images().images
photographs = {
    "temple": temple,
    "flower": flower,
    "cat": data.chelsea(),
    "coffee": data.coffee(),
    "astronaut": data.astronaut(),
}
random = np.random.RandomState(0)


def crop(photograph):
    """Cut a random square of 150 to 300 pixels out of a photograph."""
    side = random.randint(150, 300)
    top, left = (random.randint(size - side) for size in photograph.shape[:2])
    return photograph[top : top + side, left : left + side]


X = [crop(photograph) for photograph in photographs.values() for _ in range(30)]
y = np.repeat(list(photographs), 30)

# %%
# A head on frozen features
# -------------------------
# With the name of a ``backbone``, its weights are loaded and frozen; only the head learns. Images of any size are
# resized to what the backbone was trained on, 224 x 224 pixels. Without hidden layers, the head is a logistic
# regression on the backbone's 1280 features.

cnn = CNNClassifier(backbone="efficientnet_lite0", dense_units=(), l2=1e-3, max_epochs=20, random_state=0)
cnn.fit(X, y)
cnn.summary()

# %%
# Grad-CAM
# --------
# Grad-CAM stands on the last feature maps, here 1280 maps of 7 x 7 positions: it weighs each map by how much it raises
# the predicted class, and adds them up. The result is laid over the photograph in its own size and shape.

whole = [photographs["flower"], photographs["temple"]]
SaliencyDisplay.from_estimator(cnn, whole)
plt.show()

# %%
# Two classes in one picture
# --------------------------
# A collage of a cat and a cup of coffee. Asked for either class by its label, Grad-CAM points to its half.
# ``target`` is one label, or one for each sample: here we ask twice about the same picture.

height = 300
collage = np.concatenate([photographs["cat"][:height, :400], photographs["coffee"][50 : 50 + height, 100:500]], axis=1)
SaliencyDisplay.from_estimator(cnn, [collage, collage], target=["cat", "coffee"])
plt.show()

# %%
# Occlusion
# ---------
# Grad-CAM reads the network; occlusion asks it. A patch of 64 x 64 of the 224 x 224 pixels that the network sees is
# covered with the mean colour of ImageNet, again and again, and the fall of the probability is noted. Without the cup,
# the collage is taken for a cat.

display = SaliencyDisplay.from_estimator(cnn, [collage], target="coffee", method="occlusion", patch_size=64, stride=32)
print("Covered, the collage is taken for", ", ".join(np.unique(display.patch_predictions)))
plt.show()

# %%
# Integrated gradients
# --------------------
# This method goes down to single pixels. Their contributions add up to the difference between the score of the
# photograph and that of a picture that is nothing but ImageNet's mean colour. Neighbouring pixels often contradict each
# other, so that the picture shows their sums over small regions; ``smoothing=0`` would show each by itself.

SaliencyDisplay.from_estimator(cnn, whole[:1], method="integrated_gradients", n_steps=20)
plt.show()
