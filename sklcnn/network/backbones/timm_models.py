"""Backbones of timm."""

import functools
import sys

from sklcnn.network.backbones.downloads import find_hub_file, find_url_file
from sklcnn.network.backbones.recipe import Recipe
from sklcnn.signals import suppressed
from sklcnn.suggestions import did_you_mean


def import_timm(name):
    """Import timm, or say which extra it comes with."""
    try:
        import timm
    except ImportError as error:
        raise ModuleNotFoundError(
            f'backbone={name!r} needs timm, which is not installed. Run: pip install "sklcnn[backbones]"'
        ) from error
    return timm


def timm_recipe(name):
    """Describe a timm model.

    Raises
    ------
    ValueError
        If timm has no model, or no weights, of that name.
    """
    timm = import_timm(name)
    model = name.removeprefix("timm/")
    if not timm.is_model(model.partition(".")[0]):
        close = did_you_mean(name, [f"timm/{other}" for other in timm.list_models()])
        raise ValueError(
            f"backbone={name!r}: timm {timm.__version__} has no model of that name.{close} "
            "timm.list_models() gives all of them."
        )
    try:
        config = timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        tags = [entry for entry in timm.list_pretrained() if entry.startswith(model.partition(".")[0] + ".")]
        raise ValueError(
            f"backbone={name!r}: timm {timm.__version__} has no weights of that name. "
            f"Pass one of {', '.join(f'timm/{tag}' for tag in tags) or 'its models without a tag'}."
        ) from error
    classifier = config.classifier or ()
    classifier = (classifier,) if isinstance(classifier, str) else classifier
    return Recipe(
        name=name,
        version=timm.__version__,
        image_size=tuple(config.input_size[-2:]),
        mean=tuple(config.mean),
        std=tuple(config.std),
        head=tuple(f"{prefix}." for prefix in classifier),
        build=functools.partial(timm.create_model, model, num_classes=0),
        build_pretrained=lambda: timm.create_model(
            model,
            pretrained=True,
            num_classes=0,
            pretrained_cfg_overlay={"file": str(timm_file(name, config))},
        ),
        rename=rename_keys,
    )


def timm_file(name, config):
    """Find a timm weights file in the caches of the Hugging Face hub or of torch; download it if missing."""
    if not config.hf_hub_id and not config.url:
        raise ValueError(
            f"backbone={name!r}: timm has no pretrained weights for it. "
            "Pass backbone_weights=None for random weights, or the path of a state dict."
        )
    if not config.hf_hub_id:
        return find_url_file(name, config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    files = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    return find_hub_file(name, repository, files, revision or None)


def rename_keys(state, network):
    """Translate the keys of a file as a model's authors published it, by the function that timm has for that."""
    if not network.state_dict().keys() <= state.keys():
        translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        if translate is not None:
            with suppressed(Exception):  # a file of something else: its keys are named to the user
                return translate(dict(state), network)
    return state
