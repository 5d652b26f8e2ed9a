"""Laws of the feature cache: never a wrong feature, and never the same one twice."""

import errno
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from counted import Counted
from filelock import FileLock
from torch import nn

from sklcnn.bounded import BoundedCache
from sklcnn.network.backbones import Backbone, load_backbone
from sklcnn.network.feature_cache import FolderCache, MemoryCache, cached_features, claims, open_feature_cache, opening
from sklcnn.network.feature_cache.computing import even_groups
from sklcnn.network.feature_cache.keys import feature_key, kind_of_features
from sklcnn.network.feature_cache.memory import ENTRY_OVERHEAD
from sklcnn.network.feature_cache.shards import DamagedError, decode_table, encode_shard

N_PASSES = Counted("sklcnn.features")
ROOT = Path(__file__).resolve().parents[2]


# A convolution of 27 values up to 1 with weights about 1, added in an order that depends on the batch: float32 rounds
# each sum, up to 10, to 6e-7.
ROUNDED = 27 * 6e-7


class ArrayStore:
    """The store interface over an array (n, h, w, c)."""

    def __init__(self, images):
        self.images = np.ascontiguousarray(images)
        self.sample_shape = (images.shape[3], *images.shape[1:3])
        self.integer = images.dtype == np.uint8

    def __len__(self):
        return len(self.images)

    def batch(self, rows, dtype):
        return torch.from_numpy(self._rows(rows)).movedim(-1, 1).to(dtype)

    def batches(self, groups, dtype):
        return (self.batch(rows, dtype) for rows in groups)

    def keys(self, rows):
        return [image.tobytes() for image in self._rows(rows)]

    def _rows(self, rows):
        return self.images[rows if isinstance(rows, slice) else rows.numpy()]


class Slow(nn.Module):
    """Stand in for a network that takes its time."""

    def __init__(self, seconds_per_image):
        super().__init__()
        self.seconds_per_image = seconds_per_image

    def forward(self, images):
        time.sleep(self.seconds_per_image * len(images))
        return images


def make_store(n=40, seed=0):
    return ArrayStore(np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8))


def make_backbone(seed=0, name="tiny 1", scale=1 / 255, seconds_per_image=0.0):
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(Slow(seconds_per_image), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    with torch.no_grad():
        network[1].weight.normal_(generator=generator)
        network[1].bias.zero_()
    backbone = Backbone(network, name=name, scale=scale, mean=(0.5,) * 3, std=(0.5,) * 3)
    backbone.n_features = 4
    return backbone.freeze()


def features_of(backbone, store, cache, rows=slice(None), **options):
    options = {"batch_size": 16, "device": "cpu", "precision": "float32", "image_size": None} | options
    return cached_features(backbone, store, rows, cache=cache, **options)


def count_passes(function, *args, **kwargs):
    before = N_PASSES.value
    result = function(*args, **kwargs)
    return result, N_PASSES.value - before


def folder_files(folder):
    return sorted(path for path in Path(folder).iterdir() if path.suffix == ".features")


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch):
    monkeypatch.setattr(opening, "_memory", {})
    monkeypatch.setattr(opening, "_folders", BoundedCache(opening.MAX_FOLDERS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["memory", "folder"])
def cache(request, tmp_path):
    return open_feature_cache("memory" if request.param == "memory" else tmp_path / "features")


def test_cached_features_are_the_backbones_own(cache):
    store, backbone = make_store(), make_backbone()
    expected = backbone(store.batch(slice(None), torch.float32))
    for _ in range(2):
        torch.testing.assert_close(features_of(backbone, store, cache), expected, rtol=0, atol=ROUNDED)


def test_without_a_cache_features_are_computed_each_time():
    store, backbone = make_store(), make_backbone()
    for _ in range(2):
        assert count_passes(features_of, backbone, store, None)[1] == 40


def test_an_image_passes_once_whatever_the_folds(cache):
    store, backbone = make_store(), make_backbone()
    folds = [torch.arange(0, 30), torch.arange(10, 40), torch.arange(40)]
    n_passes = sum(count_passes(features_of, backbone, store, cache, rows=rows)[1] for rows in folds)
    assert n_passes == 40


def test_equal_images_pass_once_and_have_equal_rows(cache):
    images = make_store(5).images
    store = ArrayStore(np.concatenate([images, images[::-1]]))
    features, n_passes = count_passes(features_of, make_backbone(), store, cache)
    assert n_passes == 5
    assert torch.equal(features[:5], features[5:].flip(0))


def test_features_do_not_depend_on_the_batch_size(cache):
    store, backbone = make_store(), make_backbone()
    one = features_of(backbone, store, None, batch_size=1)
    torch.testing.assert_close(features_of(backbone, store, cache, batch_size=40), one, rtol=0, atol=ROUNDED)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("float64", torch.float64), ("bfloat16", torch.float32)],
)
def test_a_feature_keeps_its_bits_in_the_cache(cache, precision, dtype):
    store = make_store()
    first = features_of(make_backbone(), store, cache, precision=precision)
    second, n_passes = count_passes(features_of, make_backbone(), store, cache, precision=precision)
    assert n_passes == 0
    assert first.dtype == dtype
    assert torch.equal(first, second)


def change_pixel(store):
    images = store.images.copy()
    images[:, 3, 3, 1] ^= 1
    return ArrayStore(images)


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": make_backbone(seed=1)},
        {"backbone": make_backbone(name="tiny 2")},
        {"backbone": make_backbone(scale=1.0)},
        {"store": change_pixel(make_store())},
        {"store": ArrayStore(make_store().images.astype(np.float32))},
        {"image_size": (8, 8)},
        {"precision": "float64"},
    ],
    ids=["weights", "name", "scale", "pixel", "dtype", "size", "precision"],
)
def test_whatever_changes_a_feature_changes_its_key(cache, change):
    arguments = {"backbone": make_backbone(), "store": make_store(), "cache": cache}
    features_of(**arguments)
    assert count_passes(features_of, **(arguments | change))[1] == 40


def test_weights_changed_in_place_change_the_key(cache):
    store, backbone = make_store(), make_backbone()
    features_of(backbone, store, cache)
    with torch.no_grad():
        backbone.network[2].running_mean += 1
    expected = backbone(store.batch(slice(None), torch.float32))
    torch.testing.assert_close(features_of(backbone, store, cache), expected)


def test_a_backbone_that_trains_is_run_in_eval_mode_and_left_training():
    store, backbone = make_store(), make_backbone().unfreeze()
    statistics = backbone.network[2].running_mean.clone()
    features_of(backbone, store, None)
    assert backbone.training
    assert torch.equal(backbone.network[2].running_mean, statistics)


@pytest.mark.parametrize(("n", "size"), [(0, 4), (1, 4), (4, 4), (5, 4), (65, 64), (133, 64), (7, 1)])
def test_batches_are_few_full_and_even(n, size):
    keys = [bytes([i]) for i in range(n)]
    groups = even_groups(keys, size)
    sizes = [len(group) for group in groups]
    assert [key for group in groups for key in group] == keys
    assert len(groups) == -(-n // size)
    assert not sizes or size >= max(sizes) >= min(sizes) >= max(sizes) - 1


def test_features_may_be_trained_on(cache):
    features = features_of(make_backbone(), make_store(), cache)
    layer = nn.Linear(4, 1)
    layer(features).sum().backward()
    assert layer.weight.grad is not None


def test_modules_of_the_user_are_cached_in_memory_only(tmp_path):
    folder = tmp_path / "features"
    user = load_backbone(nn.Conv2d(3, 4, 3), None, (3, 8, 8), scale=1 / 255, frozen=True)
    store, cache = make_store(), open_feature_cache(folder)
    features_of(user, store, cache)
    assert count_passes(features_of, user, store, cache)[1] == 0
    assert not folder.exists()


def test_an_unknown_fingerprint_is_never_cached(cache):
    module = type("Uncopied", (nn.Module,), {"forward": lambda self, images: images.mean((2, 3))})()
    module.lock = threading.Lock()
    backbone = Backbone(module, name=None, scale=1.0).freeze()
    backbone.n_features = 3
    assert backbone.fingerprint is None
    for _ in range(2):
        assert count_passes(features_of, backbone, make_store(), cache)[1] == 40


# Memory


def rows_of_numbers(n):
    return [bytes([i]) * 32 for i in range(n)], np.arange(n * 10, dtype=np.float32).reshape(n, 10)


def test_memory_is_bounded_and_the_least_recently_used_go_first():
    keys, values = rows_of_numbers(4)
    cache = MemoryCache(3 * (40 + ENTRY_OVERHEAD))
    cache.put(keys[:3], values[:3])
    cache.get(keys[:1])
    cache.put(keys[3:], values[3:])
    assert [value is None for value in cache.get(keys)] == [False, True, False, False]
    assert cache.size <= cache.limit


def test_a_cache_too_small_for_anything_still_gives_features():
    store, backbone = make_store(), make_backbone()
    features = features_of(backbone, store, MemoryCache(0))
    torch.testing.assert_close(features, backbone(store.batch(slice(None), torch.float32)))


def test_the_memory_cache_does_not_see_later_changes_of_an_array():
    keys, values = rows_of_numbers(1)
    cache = MemoryCache(10_000)
    cache.put(keys, values)
    values += 1
    np.testing.assert_array_equal(cache.get(keys)[0], np.arange(10))


def test_an_environment_variable_sets_the_memory(monkeypatch):
    assert open_feature_cache("memory").limit == 512 * 2**20
    monkeypatch.setenv("SKLCNN_FEATURE_CACHE_MB", "0.5")
    assert open_feature_cache("memory").limit == 2**19
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("SKLCNN_FEATURE_CACHE_MB", wrong)
        with pytest.raises(ValueError, match="SKLCNN_FEATURE_CACHE_MB"):
            open_feature_cache("memory")


def test_threads_that_miss_the_same_images_compute_them_once(cache):
    store, results = make_store(), []
    backbones = [make_backbone(seconds_per_image=0.002) for _ in range(3)]

    def work(backbone):
        results.append(features_of(backbone, store, cache))

    threads = [threading.Thread(target=work, args=(backbone,)) for backbone in backbones]
    before = N_PASSES.value
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert N_PASSES.value - before == 40
    assert all(torch.equal(result, results[0]) for result in results)


# Names


def test_what_feature_cache_may_be(tmp_path):
    assert open_feature_cache(None) is None
    assert open_feature_cache("memory") is open_feature_cache("memory")
    assert open_feature_cache(str(tmp_path)) is open_feature_cache(tmp_path)
    with pytest.raises(TypeError, match="feature_cache must be 'memory'"):
        open_feature_cache(3)
    with pytest.raises(ValueError, match="empty path"):
        open_feature_cache("")
    for name in ("a\0b", "~nobody-of-this-name/b"):
        with pytest.raises(ValueError, match="cannot be the path of a folder"):
            open_feature_cache(name)


# Folders


def test_another_run_finds_the_features(tmp_path):
    store = make_store()
    first = features_of(make_backbone(), store, FolderCache(tmp_path))
    second, n_passes = count_passes(features_of, make_backbone(), store, FolderCache(tmp_path))
    assert n_passes == 0
    assert torch.equal(first, second)


def test_two_open_caches_see_what_the_other_writes(tmp_path):
    keys, values = rows_of_numbers(3)
    one, other = FolderCache(tmp_path), FolderCache(tmp_path)
    for i in range(3):
        (one, other)[i % 2].put(keys[i : i + 1], values[i : i + 1])
        np.testing.assert_array_equal((one, other)[(i + 1) % 2].get(keys[: i + 1]), values[: i + 1])


def test_nothing_but_shards_is_left_in_the_folder(tmp_path):
    features_of(make_backbone(), make_store(), FolderCache(tmp_path))
    assert sorted(tmp_path.iterdir()) == folder_files(tmp_path)


def quiet_features(store, folder):
    """Features from a folder that may be damaged, whether there were warnings, and the passes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        features, n_passes = count_passes(features_of, make_backbone(), store, FolderCache(folder))
    assert all("damaged" in str(warning.message) for warning in caught)
    return features, len(caught), n_passes


def damages(data):
    """Truncate, lengthen and flip: all of the table, and every so often the rows."""
    for size in (0, 1, 7, 19, 20, 50, len(data) // 2, len(data) - 1):
        yield data[:size]
    yield data + b"x"
    yield data + data
    for i in [*range(24), *range(24, len(data), 37), len(data) - 1]:
        for bit in (1, 2, 0x80):
            yield data[:i] + bytes([data[i] ^ bit]) + data[i + 1 :]


def test_no_damage_to_a_file_changes_a_feature(tmp_path):
    store = make_store(12)
    expected = features_of(make_backbone(), store, FolderCache(tmp_path))
    (file,) = folder_files(tmp_path)
    data = file.read_bytes()
    for damaged in damages(data):
        for path in tmp_path.iterdir():
            path.unlink()
        file.write_bytes(damaged)
        features, n_warnings, n_passes = quiet_features(store, tmp_path)
        torch.testing.assert_close(features, expected, rtol=0, atol=ROUNDED)
        assert n_warnings == 1
        again, n_warnings, n_passes = quiet_features(store, tmp_path)
        assert torch.equal(again, features)
        assert n_warnings == n_passes == 0


def test_damage_costs_the_entries_of_its_file_alone(tmp_path):
    store = make_store(12)
    for rows in (slice(0, 5), slice(5, 12)):
        features_of(make_backbone(), store, FolderCache(tmp_path), rows=rows)
    file = max(folder_files(tmp_path), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert quiet_features(store, tmp_path)[2] == 7
    assert file.with_suffix(".damaged").exists()


def test_damage_while_the_cache_is_open_shows(tmp_path):
    store, cache = make_store(12), FolderCache(tmp_path)
    expected = features_of(make_backbone(), store, cache)
    (file,) = folder_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged"):
        features = features_of(make_backbone(), store, cache)
    torch.testing.assert_close(features, expected, rtol=0, atol=ROUNDED)


def test_features_deleted_while_the_cache_is_open_are_computed_again(tmp_path):
    store, cache = make_store(12), FolderCache(tmp_path)
    expected = features_of(make_backbone(), store, cache)
    for file in tmp_path.iterdir():
        file.unlink()
    features, n_passes = count_passes(features_of, make_backbone(), store, cache)
    assert n_passes == 12
    assert torch.equal(features, expected)


def test_an_entry_under_another_key_is_damaged(tmp_path):
    keys, values = rows_of_numbers(2)
    data = encode_shard(keys, values, b"f")
    with pytest.raises(DamagedError):
        decode_table(data.replace(keys[0], keys[1], 1))
    shard = decode_table(data)
    with pytest.raises(DamagedError):
        shard.value(0, data[shard.offset(1) : shard.offset(2)])


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_one_warning(tmp_path, monkeypatch):
    store, cache = make_store(), FolderCache(tmp_path)
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.warns(UserWarning, match="No space left") as caught:
        for _ in range(2):
            features = features_of(make_backbone(), store, cache)
    assert len(caught) == 1
    assert list(tmp_path.iterdir()) == []
    torch.testing.assert_close(features, features_of(make_backbone(), store, None), rtol=0, atol=ROUNDED)


def test_a_disk_with_space_again_is_written_to(tmp_path, monkeypatch):
    keys, values = rows_of_numbers(1)
    cache = FolderCache(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, "replace", full_disk)
        with pytest.warns(UserWarning, match="No space left"):
            cache.put(keys, values)
    cache._retry_at = 0.0
    cache.put(keys, values)
    assert FolderCache(tmp_path).get(keys)[0] is not None


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store, cache = make_store(), FolderCache(tmp_path / "file" / "features")
    with pytest.warns(UserWarning, match="cannot use the folder") as caught:
        for _ in range(2):
            assert count_passes(features_of, make_backbone(), store, cache)[1] == 40
    assert len(caught) == 1


def test_leftovers_of_killed_writers_are_removed_when_old(tmp_path):
    keys, values = rows_of_numbers(1)
    old, new, claim = tmp_path / ".a.tmp", tmp_path / ".b.tmp", tmp_path / ".c.claim"
    for path in (old, new, claim):
        path.write_bytes(b"half")
    for path in (old, claim):
        os.utime(path, (time.time() - 7200,) * 2)
    FolderCache(tmp_path).put(keys, values)
    assert [path.exists() for path in (old, new, claim)] == [False, True, False]


def test_old_hidden_files_of_other_programs_are_left_alone(tmp_path):
    keys, values = rows_of_numbers(1)
    foreign = [tmp_path / name for name in (".letter.tmp", ".draft of mine.tmp", ".insurance.claim", ".tmp", "a.tmp")]
    own = [tmp_path / f".{'0' * 32}.tmp", tmp_path / f".{'0' * 18}.claim"]
    for path in (*foreign, *own):
        path.write_bytes(b"precious")
        os.utime(path, (time.time() - 7200,) * 2)
    FolderCache(tmp_path).put(keys, values)
    assert all(path.exists() for path in foreign)
    assert not any(path.exists() for path in own)


# Claims


def claim_files(folder, store):
    """Name the files of all claims that features of a store's images need."""
    kind = kind_of_features(make_backbone(), store, None, "float32", torch.device("cpu"))
    return {folder / f".{feature_key(kind, content)[:9].hex()}.claim" for content in store.keys(slice(None))}


@pytest.mark.parametrize("text", ["", "elsewhere 1"])
def test_files_of_claims_that_nobody_holds_are_ignored_at_once(tmp_path, text):
    store = make_store(10)
    for path in claim_files(tmp_path, store):
        path.write_text(text)
    start = time.monotonic()
    assert count_passes(features_of, make_backbone(), store, FolderCache(tmp_path))[1] == 10
    assert time.monotonic() - start < claims.WAIT_SECONDS / 10
    assert sorted(tmp_path.iterdir()) == folder_files(tmp_path)


def test_waiting_for_claims_that_are_never_given_back_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "WAIT_SECONDS", 0.1)
    store = make_store(10)
    held = [FileLock(path) for path in claim_files(tmp_path, store)]
    for lock in held:
        lock.acquire()
    assert count_passes(features_of, make_backbone(), store, FolderCache(tmp_path))[1] == 10
    for lock in held:
        lock.release()


def test_a_claim_that_is_held_is_not_given_to_another(tmp_path):
    key = bytes(32)
    with claims.Claims(tmp_path) as one, claims.Claims(tmp_path) as other:
        assert one.take([key], 1) == [key]
        assert other.take([key], 1) == []
        one.release()
        assert other.take([key], 1) == [key]
    assert list(tmp_path.iterdir()) == []


def test_a_failing_backbone_gives_its_claims_back(tmp_path):
    backbone = make_backbone()
    backbone.network[0] = nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        features_of(backbone, make_store(), FolderCache(tmp_path))
    assert list(tmp_path.iterdir()) == []


# Processes


@pytest.fixture
def run_worker():
    """Start functions of this file in processes of their own, which end with the test."""
    processes = []

    def start(name, *args):
        code = f"import runpy, sys; runpy.run_path({__file__!r})[{name!r}](*sys.argv[1:])"
        command = [sys.executable, "-c", code, *map(str, args)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def work_on_folds(folder, gate):
    """Ask for the features of overlapping folds, and print how many passes that took."""
    torch.set_num_threads(1)
    store, backbone = make_store(120), make_backbone(seconds_per_image=0.005)
    (Path(gate) / str(os.getpid())).touch()
    while len(list(Path(gate).iterdir())) < 2:
        time.sleep(0.001)
    for fold in range(3):
        rows = torch.arange(120)
        features_of(backbone, store, FolderCache(folder), rows=rows[rows % 3 != (fold + os.getpid()) % 3])
    print(N_PASSES.value)


@pytest.mark.slow
def test_processes_with_one_folder_share_the_work(tmp_path, run_worker):
    folder, gate = tmp_path / "features", tmp_path / "gate"
    gate.mkdir()
    processes = [run_worker("work_on_folds", folder, gate) for _ in range(2)]
    passes = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert 120 <= sum(passes) <= 1.1 * 120
    assert min(passes) > 0


def claim_and_wait(folder):
    """Claim all, and do nothing until killed."""
    locks = []
    for path in claim_files(Path(folder), make_store(10)):
        locks.append(FileLock(path))
        locks[-1].acquire()
    print("claimed", flush=True)
    time.sleep(600)


def test_claims_of_a_process_that_is_killed_are_free_at_once(tmp_path, run_worker):
    process = run_worker("claim_and_wait", tmp_path)
    assert process.stdout.readline() == "claimed\n"
    start = time.monotonic()
    timer = threading.Timer(0.1, process.kill)
    timer.start()
    assert count_passes(features_of, make_backbone(), make_store(10), FolderCache(tmp_path))[1] == 10
    assert time.monotonic() - start < claims.WAIT_SECONDS / 10
    timer.join()


def work_until_killed(folder):
    """Write one shard after another."""
    backbone, cache = make_backbone(seconds_per_image=0.001), FolderCache(folder)
    for seed in range(10_000):
        features_of(backbone, make_store(16, seed), cache)
        print(seed, flush=True)


def test_a_writer_killed_at_any_moment_loses_only_its_last_entries(tmp_path, run_worker):
    process = run_worker("work_until_killed", tmp_path)
    n_done = 0
    for line in process.stdout:
        n_done = int(line) + 1
        if n_done == 5:
            time.sleep(0.013)
            process.kill()
            process.wait()
    cache = FolderCache(tmp_path)
    for seed in range(n_done):
        assert count_passes(features_of, make_backbone(), make_store(16, seed), cache)[1] == 0
    expected = features_of(make_backbone(), make_store(16, n_done), None)
    features = features_of(make_backbone(), make_store(16, n_done), cache)
    torch.testing.assert_close(features, expected, rtol=0, atol=ROUNDED)
