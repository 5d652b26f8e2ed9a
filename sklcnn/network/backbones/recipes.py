"""The recipe of each named backbone, by where it comes from."""

from sklcnn.network.backbones.lite import lite_recipe
from sklcnn.network.backbones.names import LITE, TIMM, check_backbone
from sklcnn.network.backbones.timm_models import timm_recipe
from sklcnn.network.backbones.torchvision_models import torchvision_recipe


def find_recipe(name):
    """Return what is known of a named backbone."""
    if name in LITE:
        return lite_recipe(name)
    return timm_recipe(name) if name.startswith(TIMM) else torchvision_recipe(name)


def default_image_size(backbone):
    """Return the image size that a named backbone was trained on.

    Parameters
    ----------
    backbone : str, nn.Module, callable or None

    Returns
    -------
    image_size : tuple of two ints, or None
        ``(height, width)``; None for the user's own modules and factories, which take images as they come.
    """
    check_backbone(backbone)
    return find_recipe(backbone).image_size if isinstance(backbone, str) else None
