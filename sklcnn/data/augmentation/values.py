"""Changes of values and colours of images ``(n, *spatial, c)``, relative to each sample's own mean and spread."""

import math

import torch

from sklcnn.data.augmentation.draws import choose_samples, draw_boxes, draw_uniform, exponents_of_sides, per_sample

# Bounds of what is erased: the area as a share of the picture, and the ratio between two sides.
_ERASED_AREA = (0.02, 0.25)
_ERASED_RATIO = 3.3
# Luma and the two chroma axes of YIQ (NTSC 1953). A hue is an angle in the chroma plane, so turning it
# is a linear map: no range of values is needed, unlike in HSV.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=torch.float64)
_FROM_YIQ = torch.linalg.inv(_YIQ)


def scale_values(images, scale):
    """Multiply each sample by a factor of its own."""
    return images * per_sample(draw_uniform(len(images), 1 - scale, 1 + scale, images), images)


def change_color(images, color):
    """Change brightness and contrast and, of RGB pictures, saturation and hue."""
    n = len(images)
    brightness = draw_uniform(n, -color, color, images)
    contrast = draw_uniform(n, 1 - color, 1 + color, images)
    if images.shape[-1] != 3:
        return relight(images, brightness, contrast)
    saturation = draw_uniform(n, 1 - color, 1 + color, images)
    hue = draw_uniform(n, -color / 4, color / 4, images)  # in turns: at most a quarter, so that faces do not turn blue
    return recolor(relight(images, brightness, contrast), saturation, hue)


def relight(images, brightness, contrast):
    """Multiply deviations from each sample's mean by `contrast`; add `brightness` spreads.

    Mean and spread are those of all values of an RGB picture, so that its tint stays, and of each channel
    of anything else, where channels may have units of their own.
    """
    n, channels = len(images), images.shape[-1]
    axes = (1, 2) if channels == 3 else (1,)
    values = images.reshape(n, -1, channels)
    mean = values.mean(axes, keepdim=True)  # (n, 1, 1) or (n, 1, c)
    deviations = values - mean
    spread = deviations.square().mean(axes, keepdim=True).sqrt()
    lit = torch.addcmul(mean + brightness[:, None, None] * spread, deviations, contrast[:, None, None])
    return lit.view(images.shape)


def recolor(images, saturation, hue):
    """Turn the chroma of RGB pictures by `hue` turns and multiply it by `saturation`; luma stays."""
    angle = 2 * math.pi * hue
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    matrices = _FROM_YIQ.to(images) @ turn @ _YIQ.to(images)  # (n, 3, 3)
    return (images.flatten(1, 2) @ matrices.mT).view(images.shape)


def add_noise(images, noise, deviation=None):
    """Add Gaussian noise, in units of each channel's deviation (c,); None: that of the batch."""
    if deviation is None:
        values = images.reshape(-1, images.shape[-1])
        deviation = (values - values.mean(0)).square().mean(0).sqrt()
    draws = torch.randn(images.shape, dtype=images.dtype).to(images.device)
    return torch.addcmul(images, draws, noise * deviation.to(images))


def erase_box(images, erase):
    """Replace a box by the sample's mean: in data of any range, no fixed value stands for nothing."""
    n, *spatial, _ = images.shape
    n_axes = len(spatial)
    area = draw_uniform((n, 1), *_ERASED_AREA, images)
    stretch = math.log(_ERASED_RATIO) / 2
    logs = draw_uniform((n, n_axes), -stretch, stretch, images)
    exponents = exponents_of_sides(spatial, images)
    logs = torch.where(exponents > 0, logs - (logs * exponents).sum(1, keepdim=True), 0)  # the area stays
    shares = area**exponents * logs.exp()
    erased = draw_boxes(shares, spatial, most=_ERASED_AREA[1], least=1)[..., None] & choose_samples(images, erase)
    return torch.where(erased, images.mean(tuple(range(1, 1 + n_axes)), keepdim=True), images)
