"""The user's own callables on a batch, among them the transforms of torchvision and kornia."""

from functools import partial

import torch

from sklcnn.wording import errors_noted, name_of

ALBUMENTATIONS = (
    "Transforms of albumentations take the array of one image by name. Wrap them: lambda images: torch.stack("
    '[torch.from_numpy(transform(image=image.movedim(0, -1).numpy())["image"]).movedim(-1, 0) for image in images]).'
)


def is_function(augmentation):
    """Whether a part of the hyper-parameter is a callable on a batch."""
    return callable(augmentation) and not isinstance(augmentation, type)


def check_function(function):
    """Refuse the mixes of torchvision and kornia: they need the targets, which a callable is not given."""
    for part in _parts(function):
        classes = {base.__name__ for base in type(part).__mro__}
        if classes & {"_BaseMixUpCutMix", "MixAugmentationBaseV2"}:
            raise ValueError(
                f"augmentation must leave targets alone as a callable, but has {type(part).__name__}. "
                "Use the names 'mixup' and 'cutmix'."
            )


def _parts(function):
    """Yield a callable and every transform nested in it."""
    yield function
    nested = list(function.children()) if isinstance(function, torch.nn.Module) else []
    transforms = getattr(function, "transforms", None)  # torchvision's Compose keeps a plain list
    if isinstance(transforms, tuple | list):
        nested.extend(transforms)
    for part in nested:
        yield from _parts(part)


def call_function(images, function, unit):
    """Call a function on images divided by a unit, sample by sample where it draws once a call."""
    # A copy: the batch may be a view of the user's array, and a callable may write in place.
    batch = (images / unit).movedim(-1, 1)  # (n, c, *spatial)
    # A batch of one at a time where a call draws only once: each sample gets its own draw.
    pieces = batch.split(1) if _draws_once(function) else (batch,)
    changed = []
    for piece in pieces:
        with errors_noted(partial(_note, function, piece.shape)):
            result = function(piece)
        changed.append(_check_result(result, piece))
    return (torch.cat(changed).to(images.dtype) * unit).movedim(1, -1).contiguous()


def _note(function, shape, error):
    """Say what a callable that failed is called with."""
    note = (
        f"augmentation={name_of(function)} raised this. It is called with one argument, a tensor of floats of shape "
        f"{tuple(shape)} (n, channels, *spatial), in which integer pixels are 0 to 1, and must return another of that "
        "shape."
    )
    return f"{note} {ALBUMENTATIONS}" if "named arguments" in str(error) else note


def _draws_once(function):
    """Tell whether a callable is torchvision's, without importing it."""
    return any(
        base.__module__.startswith("torchvision.transforms") for part in _parts(function) for base in type(part).__mro__
    )


def _check_result(result, batch):
    if not isinstance(result, torch.Tensor):
        raise TypeError(f"augmentation must return a tensor, but returned {type(result).__name__}.")
    if not result.is_floating_point():
        raise TypeError(
            f"augmentation must return floats on the scale that it is given, but returned {result.dtype}. Convert back "
            "inside it, as torchvision's v2.ToDtype(torch.float32, scale=True) does."
        )
    if result.layout is not torch.strided or result.device != batch.device:
        raise TypeError(
            f"augmentation must return a dense tensor on the device of its batch, {batch.device}, but returned one of "
            f"layout {str(result.layout)[6:]} on {result.device}. Convert it by to_dense() and to(...)."
        )
    if result.shape != batch.shape:
        raise ValueError(
            "augmentation must return a batch of the shape it is given, but turned "
            f"{tuple(batch.shape)} into {tuple(result.shape)}. Crop or resize back inside it."
        )
    if not torch.isfinite(result).all():
        raise ValueError(
            "augmentation must return finite values, but returned NaN or infinity. Look at what it divides by."
        )
    return result
