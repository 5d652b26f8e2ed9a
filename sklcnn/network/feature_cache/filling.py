"""How a caller, a cache and a backbone share the work of finding values for keys."""

from collections.abc import Callable, Iterable

import numpy as np

# Computes the values of keys, some at a time.
Compute = Callable[[list[bytes]], Iterable[tuple[list[bytes], np.ndarray]]]
# Takes the values of some keys.
Keep = Callable[[Iterable[bytes], Iterable[np.ndarray]], None]


def fill(cache, keys, compute, keep):
    """Hand the values of all `keys` to `keep`, from the cache or from `compute`."""
    if cache is None:
        for done, values in compute(keys):
            keep(done, values)
        return
    missing = keep_known(cache, keys, keep)
    if missing:
        cache.fill(missing, compute, keep)


def keep_known(cache, keys, keep):
    """Hand what a cache has to `keep`, and return the keys it has not."""
    known, missing = {}, []
    for key, value in zip(keys, cache.get(keys), strict=True):
        if value is None:
            missing.append(key)
        else:
            known[key] = value
    keep(known.keys(), known.values())
    return missing
