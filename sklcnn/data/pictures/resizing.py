"""Pixels on one scale, in one colour mode and of one size."""

import numpy as np
import torch

from sklcnn.data.pictures.pixels import WHITE_8, WHITE_16

# 257: how many times larger a value of 16 bits is than one of 8 bits that is as bright.
WHITE_RATIO = WHITE_16 // WHITE_8


def on_scale(pixels, own_white, white):
    """Scale pixels so that white has the same value in all pictures.

    Parameters
    ----------
    pixels : ndarray
    own_white, white : {255, 65535, None}
        What white is in them, and what it is to be; None: they stay as they are.

    Returns
    -------
    pixels : ndarray
        float32, unless they are uint8 and stay so.
    """
    same = own_white is None or white is None or own_white == white
    if same and pixels.dtype == np.uint8:
        return pixels
    pixels = pixels.astype(np.float32)
    if same:
        return pixels
    return pixels / np.float32(WHITE_RATIO) if white < own_white else pixels * np.float32(WHITE_RATIO)


def convert(pixels, mode):
    """Make pixels grey or RGB.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 1 or 3)
    mode : {"L", "RGB"}
        Grey is the luma that Pillow computes (ITU-R 601-2).

    Returns
    -------
    pixels : ndarray of shape (h, w, 1) or (h, w, 3)
    """
    n_channels = 1 if mode == "L" else 3
    if pixels.shape[2] == n_channels:
        return pixels
    if mode == "RGB":
        return np.repeat(pixels, 3, axis=2)
    if pixels.dtype != np.uint8:
        return pixels @ np.array([[0.299], [0.587], [0.114]], pixels.dtype)
    from PIL import Image

    return np.array(Image.fromarray(pixels).convert("L"))[:, :, None]


def resize_pixels(pixels, size):
    """Resize one image of shape (h, w, channels), as :func:`resize_images` does a batch."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    pixels = np.require(pixels, requirements=["C", "W"])  # torch refuses mirrored views, and warns of read-only memory
    batch = torch.from_numpy(pixels).movedim(-1, 0)[None]
    return resize_images(batch, size).movedim(1, -1)[0].numpy()


def resize_images(images, size):
    """Resize a batch bilinearly, with antialiasing; squashed if the shape differs.

    Parameters
    ----------
    images : torch.Tensor of shape (n, channels, h, w), uint8 or float
    size : (int, int)
        Height and width.

    Returns
    -------
    resized : torch.Tensor of shape (n, channels, *size)
        Of the same dtype, channels-last in memory.
    """
    from torchvision.transforms.v2.functional import resize

    resized = resize(images, list(size), antialias=True)
    # A copy, because strides of axes of length 1 are kept by contiguous() as they come.
    return resized.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)
