"""Features of a frozen backbone, computed once per distinct image.

Epochs, candidates, folds, ``predict`` and `CNNFeatures` ask for features by the content of the images. What one of them
has computed, the others find in a cache. `MemoryCache` serves one process; `FolderCache` serves processes, machines and
runs.

A folder holds shards. A shard is written whole under another name and moved into place, so that it is there or it is
not, and it never changes afterwards. Every entry has a digest of its key and value: a file that was damaged or changed
is noticed, and its entries are computed again. Processes that need the same images share the work through claims:
locks on files, which the system releases when a process ends in whatever way. A claim only saves work: without
it, an image is computed twice, and nothing else happens.
"""

from sklcnn.network.feature_cache.computing import cached_features
from sklcnn.network.feature_cache.folder import FolderCache
from sklcnn.network.feature_cache.memory import MemoryCache
from sklcnn.network.feature_cache.opening import open_feature_cache

__all__ = ["FolderCache", "MemoryCache", "cached_features", "open_feature_cache"]
