"""Flips, moves and turns of images ``(n, *spatial, c)``; what a move uncovers is filled from the sample itself."""

import math

import torch
from torch.nn import functional

from sklcnn.data.augmentation.draws import along, choose_samples, draw_offsets, draw_uniform


def flip_sides(images, flip):
    """Mirror some samples left and right."""
    return torch.where(choose_samples(images, flip), images.flip(-2), images)


def flip_vertically(images, vertical_flip):
    """Mirror some samples top and bottom."""
    return torch.where(choose_samples(images, vertical_flip), images.flip(-3), images)


def crop_back(images, crop):
    """Pad by reflection and crop back at random, without building the padded batch."""
    return _shift_by_pixels(images, crop, _reflect)


def move_rotate_zoom(images, shift=0.0, rotate=0.0, zoom=0.0):
    """Shift, rotate and zoom: whole pixels where nothing else is asked, one interpolation otherwise."""
    if not rotate and not zoom:
        return _shift_by_pixels(images, shift, _repeat_edge)
    n, height, width, _ = images.shape
    shifts = torch.stack([draw_offsets(n, width, shift), draw_offsets(n, height, shift)], dim=1)
    # As likely to shrink as to grow by the same factor.
    limit = math.log1p(zoom)
    factors = draw_uniform(n, -limit, limit, images).exp()
    matrices = rotations(draw_uniform(n, -rotate, rotate, images)) / factors[:, None, None]
    return warp(images, matrices, shifts.to(images))


def _reflect(positions, last):
    """Bring positions back between 0 and `last`, as a mirror at either end does."""
    return last - (last - positions.abs()).abs()


def _repeat_edge(positions, last):
    """Bring positions back between 0 and `last`, to the nearer end."""
    return positions.clamp(0, last)


def _shift_by_pixels(images, share, bring_inside):
    """Move each sample by whole pixels; `bring_inside` says which pixel is shown where one beyond the edge would be."""
    n, *spatial, channels = images.shape
    index = along(torch.arange(n)[:, None], 0, len(spatial))
    for axis, side in enumerate(spatial):
        positions = torch.arange(side) + draw_offsets(n, side, share)[:, None]  # (n, side)
        index = index * side + along(bring_inside(positions, side - 1), axis, len(spatial))
    # Selecting from one flat list of pixels is several times faster than indexing every axis.
    pixels = images.reshape(-1, channels)
    return pixels.index_select(0, index.flatten().to(images.device)).view(images.shape)


def rotations(degrees):
    """Return the matrices (n, 2, 2) that turn by an angle, in degrees."""
    radians = degrees.deg2rad()
    cos, sin = radians.cos(), radians.sin()
    return torch.stack([cos, sin, -sin, cos], dim=1).reshape(-1, 2, 2)


def warp(images, matrices, shifts):
    """Sample ``images[matrix @ (position - shift)]`` bilinearly; beyond the edge, the edge is repeated.

    Parameters
    ----------
    images : torch.Tensor of shape (n, h, w, c)
    matrices : torch.Tensor of shape (n, 2, 2)
        On (x, y) in pixels from the centre.
    shifts : torch.Tensor of shape (n, 2)
        In pixels, (x, y).
    """
    height, width = images.shape[1:3]
    half = torch.tensor([width, height]).to(images) / 2  # grid_sample counts in half sides
    linear = matrices * half / half[:, None]
    offset = -(matrices @ shifts[:, :, None]) / half[:, None]
    batch = images.movedim(-1, 1)  # (n, c, h, w)
    grid = functional.affine_grid(torch.cat([linear, offset], dim=2), list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False).movedim(1, -1).contiguous()
