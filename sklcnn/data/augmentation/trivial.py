"""TrivialAugment: one change a sample, drawn with its amount."""

from functools import partial

import torch
from torch.nn import functional

from sklcnn.data.augmentation.draws import draw_uniform, per_sample
from sklcnn.data.augmentation.geometry import rotations, warp
from sklcnn.data.augmentation.values import recolor, relight


def trivial_augment(images, trivial_augment):
    """Change each sample in one way, drawn with its amount.

    References
    ----------
    Müller and Hutter, *TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation* (2021).
    """
    names = [name for name in _CHANGES if name != "saturation" or images.shape[-1] == 3]
    amounts = draw_uniform(len(images), -trivial_augment, trivial_augment, images)
    picks = torch.randint(len(names) + 1, (len(images),))  # the last: no change
    changed = images.clone()
    for pick, name in enumerate(names):
        rows = (picks == pick).nonzero().squeeze(1).to(images.device)
        if len(rows):
            changed[rows] = _CHANGES[name](images[rows], amounts[rows])
    return changed


def _shift_one_axis(images, amounts, axis):
    sides = images.new_tensor([images.shape[2], images.shape[1]])
    shifts = torch.zeros(len(images), 2).to(images)
    shifts[:, axis] = (0.3 * amounts * sides[axis]).round()
    return warp(images, torch.eye(2).to(images).expand(len(images), 2, 2), shifts)


def _shear_one_axis(images, amounts, axis):
    matrices = torch.eye(2).to(images).repeat(len(images), 1, 1)
    matrices[:, axis, 1 - axis] = 0.3 * amounts
    return warp(images, matrices, torch.zeros(len(images), 2).to(images))


def _rotate_by(images, amounts):
    return warp(images, rotations(30 * amounts), torch.zeros(len(images), 2).to(images))


def _brighten(images, amounts):
    return relight(images, 0.9 * amounts, torch.ones_like(amounts))


def _change_contrast(images, amounts):
    return relight(images, torch.zeros_like(amounts), 1 + 0.9 * amounts)


def _saturate(images, amounts):
    return recolor(images, 1 + 0.9 * amounts, torch.zeros_like(amounts))


def _sharpen(images, amounts):
    """Blur (below zero) or sharpen, against the mean of the 3x3 neighbourhood."""
    batch = images.movedim(-1, 1)
    blurred = functional.avg_pool2d(batch, 3, stride=1, padding=1, count_include_pad=False).movedim(1, -1)
    return torch.lerp(blurred, images, per_sample(1 + 0.9 * amounts, images))


def _posterize(images, amounts):
    """Round to 2**8 down to 2**4 levels between each sample's least and greatest value."""
    low, high = _extremes(images)
    levels = per_sample(2 ** (8 - 4 * amounts.abs()).round(), images)
    step = ((high - low) / levels).clamp(min=torch.finfo(images.dtype).tiny)
    return low + ((images - low) / step).round() * step


def _solarize(images, amounts):
    """Invert the values above a threshold, within each sample's own range."""
    low, high = _extremes(images)
    threshold = high - per_sample(amounts.abs(), images) * (high - low)
    return torch.where(images > threshold, low + high - images, images)


def _extremes(images):
    axes = tuple(range(1, images.ndim))
    return images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)


# Each takes images (m, h, w, c) and an amount a sample, (m,), from -1 to 1.
_CHANGES = {
    "shift_x": partial(_shift_one_axis, axis=0),
    "shift_y": partial(_shift_one_axis, axis=1),
    "shear_x": partial(_shear_one_axis, axis=0),
    "shear_y": partial(_shear_one_axis, axis=1),
    "rotate": _rotate_by,
    "brightness": _brighten,
    "contrast": _change_contrast,
    "saturation": _saturate,
    "sharpness": _sharpen,
    "posterize": _posterize,
    "solarize": _solarize,
}
