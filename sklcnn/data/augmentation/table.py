"""The names of the `augmentation` hyper-parameter, in the order in which they are applied."""

from collections.abc import Callable
from dataclasses import dataclass

from sklcnn.data.augmentation.geometry import crop_back, flip_sides, flip_vertically, move_rotate_zoom
from sklcnn.data.augmentation.mixing import mix_samples
from sklcnn.data.augmentation.trivial import trivial_augment
from sklcnn.data.augmentation.values import add_noise, change_color, erase_box, scale_values


@dataclass(frozen=True)
class Technique:
    """One name of the `augmentation` hyper-parameter.

    Parameters
    ----------
    step : callable
        What it does to images; neighbours in the table that share a step are applied in one.
    default, maximum : float
        Strength where only the name is given, and the largest one. The least is 0: no change.
    unit : str
        What a strength is.
    doc : str
        What is done, in a sentence.
    spatial_dims : tuple of int
        Where it can be used: 1 signals, 2 images, 3 volumes.
    by_deviation : bool
        Whether the step is given each channel's deviation over the training rows, as `deviation`: batches have others,
        by their size.
    """

    step: Callable
    default: float
    maximum: float
    unit: str
    doc: str
    spatial_dims: tuple[int, ...]
    by_deviation: bool = False


AUGMENTATIONS = {
    "flip": Technique(flip_sides, 0.5, 1, "probability", "Mirror left and right.", (2, 3)),
    "vertical_flip": Technique(flip_vertically, 0.5, 1, "probability", "Mirror top and bottom.", (2, 3)),
    "crop": Technique(
        crop_back,
        0.125,
        0.5,
        "padding, as a share of the side",
        "Pad every side by reflection and crop back at random, by whole pixels.",
        (2, 3),
    ),
    "shift": Technique(
        move_rotate_zoom,
        0.1,
        0.5,
        "greatest share of the side",
        "Move along each axis by whole pixels; the edge is repeated.",
        (1, 2, 3),
    ),
    "rotate": Technique(
        move_rotate_zoom,
        15,
        180,
        "greatest angle, in degrees",
        "Turn about the centre, either way; the edge is repeated.",
        (2,),
    ),
    "zoom": Technique(
        move_rotate_zoom,
        0.1,
        1,
        "greatest relative change of size",
        "Grow or shrink about the centre by a factor from 1 / (1 + strength) to 1 + strength; the edge is repeated.",
        (2,),
    ),
    "color": Technique(
        change_color,
        0.2,
        1,
        "greatest relative change",
        "Change brightness (in units of the sample's standard deviation), contrast and, where there are "
        "three channels, saturation and hue (by up to a quarter of a turn at strength 1).",
        (2,),
    ),
    "trivial_augment": Technique(
        trivial_augment,
        1,
        1,
        "factor on every amount",
        "TrivialAugment: one change a sample, drawn with its amount from none, shift, shear (either axis, "
        "up to 0.3), rotation (30 degrees), brightness, contrast, saturation, sharpness (0.9), posterize "
        "(16 levels) and solarize.",
        (2,),
    ),
    "scale": Technique(
        scale_values,
        0.1,
        1,
        "greatest relative change",
        "Multiply a sample by one factor from 1 - strength to 1 + strength.",
        (1, 2, 3),
    ),
    "noise": Technique(
        add_noise,
        0.1,
        10,
        "standard deviation, as a share of the channel's over the training rows",
        "Add Gaussian noise to every value.",
        (1, 2, 3),
        by_deviation=True,
    ),
    "erase": Technique(
        erase_box,
        0.25,
        1,
        "probability",
        "Replace a box of about 2 to 25 per cent of the area by the sample's mean (random erasing).",
        (2, 3),
    ),
    "mixup": Technique(
        mix_samples,
        0.2,
        100,
        "alpha of Beta(alpha, alpha)",
        "Average each sample and its target with another's; its own share is the greater.",
        (1, 2, 3),
    ),
    "cutmix": Technique(
        mix_samples,
        1,
        100,
        "alpha of Beta(alpha, alpha)",
        "Paste a box of another sample, at most half the area, and mix the targets by area.",
        (1, 2, 3),
    ),
}
