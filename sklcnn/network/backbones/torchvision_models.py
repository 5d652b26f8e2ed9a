"""Backbones of torchvision, with their classifier cut off."""

import re

from torch import nn

from sklcnn.network.backbones.downloads import find_url_file
from sklcnn.network.backbones.recipe import Recipe
from sklcnn.network.backbones.state_dicts import load_file
from sklcnn.process import warnings_hidden

# Prefixes of the keys that only classifiers need, the auxiliary ones of GoogLeNet and Inception among them.
TORCHVISION_HEADS = ("fc.", "classifier.", "head.", "heads.", "aux1.", "aux2.", "AuxLogits.")


def torchvision_recipe(name):
    """Describe a torchvision classification model."""
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    (side,) = preset.crop_size
    options = builder_options(name, side)
    rename = rename_densenet_keys if name.startswith("densenet") else keep_keys

    def build():
        # GoogLeNet and Inception announce a future default for an argument that is passed here.
        with warnings_hidden(FutureWarning):
            return cut_classifier(torchvision.models.get_model(name, weights=None, **options))

    return Recipe(
        name=name,
        version=torchvision.__version__.partition("+")[0],  # "+cpu" and "+cu130" compute the same
        image_size=(side, side),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        head=TORCHVISION_HEADS,
        build=build,
        build_pretrained=lambda: load_file(build(), find_url_file(name, weights.url), name, TORCHVISION_HEADS, rename),
        rename=rename,
    )


def builder_options(name, side):
    """List the arguments that some torchvision builders need.

    ``transform_input`` belongs to the weights that GoogLeNet and Inception come with: they expect another
    scaling than the rest of torchvision, and undo it themselves.
    """
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "transform_input": True, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": side}
    return {}


def cut_classifier(network):
    """Cut the classifier off a torchvision network, so that it returns pooled features.

    What the head does before its first weighted layer, pooling and normalisation, is kept: it belongs to
    the features. VGG and AlexNet feed a 7x7 grid to their head; it is averaged like everyone else's.
    """
    name = next(name for name in ("fc", "classifier", "heads", "head") if hasattr(network, name))
    head = getattr(network, name)
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    weighted = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d))
    kept = [layer for layer in layers[:weighted] if not isinstance(layer, nn.Dropout)]
    if isinstance(layers[weighted], nn.Conv2d):  # SqueezeNet classifies each position, then pools
        kept.append(nn.AdaptiveAvgPool2d(1))
    setattr(network, name, nn.Sequential(*kept))
    if hasattr(network, "avgpool"):
        network.avgpool = nn.AdaptiveAvgPool2d(1)
    if isinstance(getattr(network, "dropout", None), nn.Dropout):  # GoogLeNet, Inception: the head's own
        network.dropout = nn.Identity()
    return network


def keep_keys(state, network):
    """Return a state dict as it is."""
    return state


def rename_densenet_keys(state, network):
    """Translate the keys of the official DenseNet files, which are older than torchvision's spelling."""
    old = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
    return {old.sub(r"\1\2", key): value for key, value in state.items()}
