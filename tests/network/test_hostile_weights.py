"""Laws of files of weights from strangers: no code of theirs runs, and what is wrong with them is said in words."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from sklcnn import CNNFeatures

NAME = "timm/test_efficientnet"  # a hundred thousand weights
IMAGES = np.random.RandomState(0).rand(2, 32, 32, 3).astype(np.float32)
STATE = timm.create_model("test_efficientnet").state_dict()
FIRST, BIAS = "conv_stem.weight", "bn1.bias"
RAN = "sklcnn_test_of_hostile_weights"  # set in the environment by code that must not run


class Payload:
    """An object whose pickle runs a function when it is read."""

    def __reduce__(self):
        return os.putenv, (RAN, "yes")


def torch_file(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def changed(**tensors):
    return torch_file({**STATE, **tensors})


def safetensors_file(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(shape, end, dtype="F32"):
    return {FIRST: {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


def bomb():
    """Pack a state dict with compressed zeros in the place of one tensor's bytes."""
    file, good = io.BytesIO(), zipfile.ZipFile(io.BytesIO(torch_file(STATE)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in good.namelist():
            archive.writestr(name, bytes(50_000_000) if name.endswith("/data/0") else good.read(name))
    return file.getvalue()


NOT_READ, NOT_FITTING, NO_CODE = (
    "could not be read as a state dict",
    "does not fit backbone=",
    "no code of a file is run",
)
HOSTILE = {
    "a pickle": (".pth", pickle.dumps({FIRST: Payload()}), NO_CODE),
    "an object among tensors": (".pth", torch_file({**STATE, "x": Payload()}), NO_CODE),
    "an object in the old format": (
        ".pth", torch_file({**STATE, "x": Payload()}, _use_new_zipfile_serialization=False), NO_CODE,
    ),
    "a function by name": (".pth", f"cos\nputenv\n(S'{RAN}'\nS'yes'\ntR.".encode(), NO_CODE),
    "a pickle as safetensors": (".safetensors", pickle.dumps(Payload()), NOT_READ),
    "a whole module": (".pth", torch_file(nn.Linear(2, 2)), NO_CODE),
    "a bomb": (".pth", bomb(), "would unpack to"),
    "nothing": (".pth", b"", NOT_READ),
    "a text": (".pth", b"hello\nthere", NOT_READ),
    "a tensor": (".pth", torch_file(torch.zeros(2)), "something else than a state dict"),
    "keys that are no texts": (".pth", torch_file({**STATE, 1: torch.zeros(2)}), "something else than a state dict"),
    "no tensors": (".pth", torch_file({}), f"{NOT_FITTING}.*lacks {FIRST}"),
    "tensors missing": (".pth", torch_file(dict(list(STATE.items())[1:])), f"{NOT_FITTING}.*lacks {FIRST}"),
    "a shape of terabytes": (".pth", changed(**{FIRST: torch.zeros(1).expand(2**20, 2**20)}), "of another shape"),
    "NaN": (".pth", changed(**{BIAS: STATE[BIAS] * np.nan}), f"NaN or infinity in {BIAS}"),
    "too large for float32": (".pth", changed(**{BIAS: STATE[BIAS].double() + 1e300}), f"NaN or infinity in {BIAS}"),
    "integers": (".pth", changed(**{FIRST: STATE[FIRST].to(torch.int8)}), rf"of another format {FIRST} \(int8\)"),
    "complex numbers": (".pth", changed(**{FIRST: STATE[FIRST].to(torch.complex64)}), "of another format"),
    "a sparse tensor": (".pth", changed(**{FIRST: STATE[FIRST].to_sparse()}), r"another format .* \(sparse float32\)"),
    "no data": (".pth", changed(**{FIRST: STATE[FIRST].to("meta")}), r"another format .* \(meta float32\)"),
    "a long name": (".pth", changed(**{"\x1b[2J" + "x" * 10**6: torch.zeros(1)}), r"unexpected \\x1b\[2Jxx.* \.\.\. "),
    "a header of 2**60 bytes": (".safetensors", safetensors_file(b"{}", length=2**60), NOT_READ),
    "terabytes that are not there": (".safetensors", safetensors_file(entry([2**20] * 2, 2**42), bytes(9)), NOT_READ),
    "a shape that overflows": (".safetensors", safetensors_file(entry([2**40] * 2, 4), bytes(4)), NOT_READ),
    "a shape below nothing": (".safetensors", safetensors_file(entry([-1], 4), bytes(4)), NOT_READ),
    "brackets": (".safetensors", safetensors_file(b"[" * 10**6), NOT_READ),
    "bools": (".safetensors", save_safetensors({**STATE, FIRST: STATE[FIRST] > 0}), r"another format .* \(bool\)"),
    "infinity": (".safetensors", save_safetensors({**STATE, FIRST: STATE[FIRST] + np.inf}), "NaN or infinity"),
}  # fmt: skip


def fit(path):
    return CNNFeatures(backbone=NAME, backbone_weights=path, image_size=32, feature_cache=None).fit(IMAGES)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_runs_no_code_and_is_refused_in_words(name, tmp_path):
    suffix, content, words = HOSTILE[name]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        fit(path)
    assert f"backbone_weights={str(path)!r}" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "weights_only" not in str(caught.value)
    assert RAN not in os.environ
    assert os.system(f'test -z "${RAN}"') == 0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".SafeTensors"])
def test_floats_of_another_width_are_read(suffix, tmp_path):
    state = {key: value.half() if value.is_floating_point() else value for key, value in STATE.items()}
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(torch_file(state) if suffix == ".pth" else save_safetensors(state))
    assert fit(path)._fitted.backbone.network.conv_stem.weight.dtype == torch.float32


FILES = {
    "pth": (".pth", torch_file(STATE)),
    "old pth": (".pth", torch_file(STATE, _use_new_zipfile_serialization=False)),
    "safetensors": (".safetensors", save_safetensors(STATE)),
}


def corrupt(content, random):
    """Cut a file, change a few bytes of it, a few bits at its ends (where tensors are described), or a piece."""
    content = bytearray(content)
    kind = random.randint(4)
    if kind == 0:
        return content[: random.randint(len(content))]
    if kind == 1:
        for place in random.randint(len(content), size=random.randint(1, 20)):
            content[place] = random.randint(256)
    elif kind == 2:
        for place in random.randint(-8000, 8000, size=random.randint(1, 6)):
            content[place] ^= 1 << random.randint(8)
    else:
        start = random.randint(len(content))
        content[start : start + random.randint(1, 5000)] = random.bytes(random.randint(5000))
    return content


@pytest.mark.parametrize(
    "n_corruptions", [pytest.param(8, id="few"), pytest.param(300, id="many", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", FILES)
def test_a_corrupted_file_is_read_or_refused_in_words(kind, n_corruptions, tmp_path):
    suffix, content = FILES[kind]
    n_read = 0
    for number in range(n_corruptions):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(corrupt(content, np.random.RandomState(number)))
        try:
            fit(path)
            n_read += 1
        except ValueError as error:
            assert "backbone_weights=" in str(error) or "finite" in str(error)
    assert n_read < n_corruptions
