"""Backbones: networks that turn images into features, most of them trained elsewhere.

A backbone stands where the convolution blocks would. It takes a raw batch ``(n, c, h, w)``, scales it
the way its weights expect, and returns pooled features ``(n, d)``. Named ones come from timm and
torchvision with their classifier cut off; the user's own are taken as they are.
"""

from sklcnn.network.backbones.loading import (
    adopt_network,
    adopt_trained,
    count_by_name,
    load_backbone,
    outline_backbone,
)
from sklcnn.network.backbones.module import Backbone, backbone_batch_size
from sklcnn.network.backbones.names import LITE, TORCHVISION_NAMES, check_backbone
from sklcnn.network.backbones.recipes import default_image_size

__all__ = [
    "LITE",
    "TORCHVISION_NAMES",
    "Backbone",
    "adopt_network",
    "adopt_trained",
    "backbone_batch_size",
    "check_backbone",
    "count_by_name",
    "default_image_size",
    "load_backbone",
    "outline_backbone",
]
