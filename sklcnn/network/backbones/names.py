"""The names of backbones, which are checked without importing the libraries behind them."""

import re

from torch import nn

from sklcnn.suggestions import did_you_mean
from sklcnn.wording import shown

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TIMM = "timm/"  # before the name of a timm model
# A literal list, so that a name is checked without importing torchvision; a test keeps the two equal.
TORCHVISION_NAMES = tuple(
    """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169
    densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
    efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s
    googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf
    regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf
    regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34
    resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0
    shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_b swin_s swin_t swin_v2_b
    swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32
    vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
    """.split()
)


def check_backbone(backbone):
    """Check what `backbone` may be, without importing the library behind a name.

    Parameters
    ----------
    backbone : object
        None, a name, an ``nn.Module`` or a factory ``sample_shape -> nn.Module``.

    Raises
    ------
    TypeError
        If it is of another kind.
    ValueError
        If it is an unknown name. Whether timm knows ``"timm/NAME"`` shows when it is built.
    """
    if backbone is None or isinstance(backbone, nn.Module):
        return
    if not isinstance(backbone, str):
        if callable(backbone):
            return
        instead = " or, of a fitted search, its best_estimator_" if hasattr(backbone, "cv_results_") else ""
        if hasattr(backbone, "steps"):
            instead = " or, of a fitted Pipeline that ends with a CNN, its last step, pipeline[-1]"
        raise TypeError(
            "backbone must be None, a name, an nn.Module or a factory that is given the sample shape; "
            f"got {shown(backbone)}. Pass a name such as 'efficientnet_lite0'{instead}."
        )
    if backbone in LITE or backbone in TORCHVISION_NAMES:
        return
    if backbone.startswith(TIMM):
        if not re.fullmatch(r"timm/[A-Za-z0-9_.\-]+", backbone):
            raise ValueError(
                f"backbone='timm/NAME' takes the name of a timm model, but got {shown(backbone)}. "
                "Pass one of timm.list_models(), such as 'timm/mobilenetv3_small_050'."
            )
        return
    raise ValueError(
        f"backbone must be {LITE[0]!r}, the name of a torchvision classification model or 'timm/NAME', "
        f"but got {shown(backbone)}.{did_you_mean(backbone, (*LITE, *TORCHVISION_NAMES, None))}"
    )
