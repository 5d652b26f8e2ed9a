"""The features of some images: from a cache, or by running the backbone."""

import contextlib
import itertools
import logging
import math

import numpy as np
import torch

from sklcnn.network.allocation import freed_memory_kept
from sklcnn.network.feature_cache.filling import fill
from sklcnn.network.feature_cache.keys import feature_key, kind_of_features
from sklcnn.network.feature_cache.memory import MemoryCache
from sklcnn.network.feature_cache.opening import memory_cache
from sklcnn.wording import shown

LOGGER = logging.getLogger("sklcnn.features")


def cached_features(backbone, store, rows, *, cache, batch_size, device, precision, image_size):
    """Return the features of some images, computing only those that no one has computed yet.

    Parameters
    ----------
    backbone : Backbone
        Moved to `device`, and to float64 where `precision` says so. It is run in eval mode.
    store : store
        See ``docs/architecture.md``; `keys`, `batches`, `sample_shape` and `integer` are used.
    rows : torch.Tensor of shape (n,) or slice
    cache : MemoryCache, FolderCache or None
        A backbone of the user's own is kept in memory even where `cache` is a folder.
    batch_size : int
    device : str or torch.device
    precision : {"float32", "float64", "bfloat16"}
    image_size : tuple of int or None
        What the store resizes images to.

    Returns
    -------
    features : torch.Tensor of shape (n, d)
        On the CPU, float64 if `precision` is, else float32. Equal images have equal rows.
    """
    device = torch.device(device)
    dtype = torch.float64 if precision == "float64" else torch.float32
    rows = torch.arange(len(store))[rows] if isinstance(rows, slice) else rows
    was_training = backbone.training
    backbone.to(device=device, dtype=dtype).eval()
    try:
        kind = kind_of_features(backbone, store, image_size, precision, device)
        keys = [feature_key(kind, content) for content in store.keys(rows)]
        row_of = dict(zip(reversed(keys), reversed(rows.tolist()), strict=True))
        position = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        features = np.empty((len(position), backbone.n_features), dtype=str(dtype).removeprefix("torch."))

        def compute(keys):
            groups = even_groups(keys, batch_size)
            batches = store.batches([torch.tensor([row_of[key] for key in group]) for group in groups], dtype)
            with freed_memory_kept() if len(keys) > 1 else contextlib.nullcontext():
                for group, images in zip(groups, batches, strict=True):
                    yield group, run_backbone(backbone, images, device, precision).to(dtype).cpu().numpy()

        def keep(keys, values):
            for key, value in zip(keys, values, strict=True):
                if value.shape != features.shape[1:]:
                    raise _wrong_features(value, backbone.n_features, cache)
                features[position[key]] = value

        fill(_suitable_cache(backbone, cache, kind), list(position), compute, keep)
    finally:
        backbone.train(was_training)
    if len(position) < len(keys):
        features = features[[position[key] for key in keys]]
    return torch.from_numpy(features)


def _wrong_features(value, n_features, cache):
    """Say that features are not as many as the backbone gives."""
    where = f"feature_cache={shown(str(cache.folder))}" if hasattr(cache, "folder") else "the backbone"
    return ValueError(
        f"{where} holds {value.size} features for an image of X, instead of {n_features}: it was written to by another "
        "program. Pass another folder."
    )


def _suitable_cache(backbone, cache, kind):
    """Choose where to keep features: of a backbone that other processes cannot know, in memory."""
    if cache is None or kind is None:
        return None
    return cache if backbone.shareable or isinstance(cache, MemoryCache) else memory_cache()


def even_groups(keys, max_size):
    """Split keys into as few groups as `max_size` allows, all of nearly one size.

    Libraries round otherwise for batches of very few images: a last batch of two would have features of
    its own, by some 1e-5.
    """
    n_groups = math.ceil(len(keys) / max_size)
    if n_groups == 0:
        return []
    ends = [len(keys) * i // n_groups for i in range(n_groups + 1)]
    return [keys[start:end] for start, end in itertools.pairwise(ends)]


def run_backbone(backbone, images, device, precision):
    """Run a batch through a backbone: (m, c, h, w) -> (m, d)."""
    images = images.to(device, non_blocking=True)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    LOGGER.debug("%d images go through the backbone", len(images))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with torch.no_grad(), autocast:
        return backbone(images)
