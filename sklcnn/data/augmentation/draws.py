"""Random draws, one a sample, from torch's global CPU generator, whatever the device of the batch."""

import math

import torch


def draw_uniform(shape, low, high, like):
    """Draw uniformly from low..high, in the dtype and on the device of `like`."""
    return torch.empty(shape, dtype=like.dtype).uniform_(low, high).to(like.device)


def choose_samples(images, probability):
    """Choose each sample with a probability: a boolean tensor (n, 1, ..., 1)."""
    return per_sample(torch.rand(len(images)) < probability, images).to(images.device)


def draw_offsets(n, side, share):
    """Draw a whole number of pixels a sample: (n,), at most `share` of the side either way."""
    reach = greatest_offset(side, share)
    return torch.randint(-reach, reach + 1, (n,))


def greatest_offset(side, share):
    """Return the largest whole number of pixels that a share of a side allows."""
    return min(int(share * side + 0.5), side - 1)


def per_sample(values, images):
    """Reshape one value a sample, (n,), to broadcast over images: (n, 1, ..., 1)."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def along(values, axis, n_axes):
    """Reshape one value a sample and position, (n, side), to broadcast over (n, *spatial)."""
    shape = [len(values)] + [1] * n_axes
    shape[1 + axis] = values.shape[1]
    return values.reshape(shape)


def draw_boxes(shares, spatial, most, least=0):
    """Draw one box a sample, inside the picture, with sides of about the given shares.

    Parameters
    ----------
    shares : torch.Tensor of shape (n, axes)
    spatial : sequence of int
    most : float
        Share of the picture that no box may exceed. Sides are rounded; where that is too much, they are rounded down.
    least : int
        Pixels that a side has at least: with 1 no box is empty, and those of pictures of less than four pixels along
        an axis may exceed `most`.

    Returns
    -------
    inside : torch.Tensor of bool of shape (n, *spatial)
    """
    sides = shares.new_tensor(spatial)
    lengths, shorter = (
        sizes.clamp(min=least).minimum(sides) for sizes in ((shares * sides).round(), (shares * sides).floor())
    )
    exceeds = lengths.prod(1, keepdim=True) > most * math.prod(spatial)
    lengths = torch.where(exceeds, shorter, lengths)
    inside = torch.ones((), dtype=torch.bool, device=shares.device)
    for axis, side in enumerate(spatial):
        length = lengths[:, axis]
        start = (draw_uniform(len(shares), 0, 1, shares) * (side - length + 1)).floor()
        positions = torch.arange(side, device=shares.device)
        within = (positions >= start[:, None]) & (positions < (start + length)[:, None])  # (n, side)
        inside = inside & along(within, axis, len(spatial))
    return inside


def exponents_of_sides(spatial, like):
    """Return what powers of a share of the picture are the shares of its sides, (axes,): alike, and their sum is 1.

    Those of axes of one pixel are 0: boxes take them whole.
    """
    are_long = like.new_tensor([side > 1 for side in spatial])
    return are_long / are_long.sum().clamp(min=1)
