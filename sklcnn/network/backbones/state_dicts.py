"""Reading a state dict from a file, and fitting it to a network."""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from sklcnn.files import no_start_error, open_regular, working_folder
from sklcnn.process import warnings_hidden
from sklcnn.signals import raise_if_signalled
from sklcnn.suggestions import did_you_mean
from sklcnn.wording import LINE, cut, short_cause, shown

# What readers of tensors stumble over in a file that they do not know: no words for a user.
NO_REASONS = (LookupError, EOFError, AttributeError, TypeError, UnicodeError, AssertionError, struct.error)


def load_file(network, path, name, head, rename):
    """Load a state dict from a file into a network whose classifier is cut off.

    Parameters
    ----------
    network : nn.Module
    path : path-like
        A ``.safetensors`` file, or anything else that ``torch.load(weights_only=True)`` reads.
    name : str
        The backbone's name, for errors.
    head : tuple of str
        Prefixes of keys that may be in the file and not in the network.
    rename : callable of (state, network) -> state
        Translates keys that the file spells in another way.

    Returns
    -------
    network : nn.Module
        The same, with the file's weights.

    Raises
    ------
    ValueError
        If keys are missing or unexpected, or of another shape or format, or hold NaN or infinity; the first of
        them are named.
    """
    own = network.state_dict()
    state = rename(read_state_dict(path), network)
    state = {key: value for key, value in state.items() if key in own or not key.startswith(head)}

    found = [f"{what} {_first_few(keys)}" for what, keys in _find_problems(state, own).items() if keys]
    if found:
        raise ValueError(
            f"backbone_weights={shown(str(path))} does not fit backbone={name!r}: it {'; it '.join(found)}. "
            "Pass a state dict that was saved from this architecture."
        )
    with torch.no_grad():
        for key, value in state.items():
            own[key].copy_(value)
    return network


def _find_problems(state, own):
    """List the keys of a state dict that do not fit a network's own, by what is wrong with them."""
    # Files older than PyTorch 0.4 do not count the batches that a batch norm has seen; nothing uses it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    both = {key: (value, own[key]) for key, value in state.items() if key in own}
    shapes = {key: (tuple(value.shape), tuple(wanted.shape)) for key, (value, wanted) in both.items()}
    other_shape = [f"{key} {found} instead of {wanted}" for key, (found, wanted) in shapes.items() if found != wanted]
    fitting = {key: pair for key, pair in both.items() if shapes[key][0] == shapes[key][1]}
    other_format = [
        f"{key} ({_format_of(value)})" for key, (value, wanted) in fitting.items() if not _casts(value, wanted)
    ]
    return {
        "lacks": missing,
        "has unexpected": [key for key in state if key not in own],
        "has of another shape": other_shape,
        "has of another format": other_format,
        "has NaN or infinity in": [
            key for key, (value, wanted) in fitting.items() if _casts(value, wanted) and not _is_finite(value, wanted)
        ],
    }


def _casts(value, wanted):
    """Whether a tensor is a plain array of numbers, floats or integers as the network's own is."""
    plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
    return plain and not value.is_complex() and value.is_floating_point() == wanted.is_floating_point()


def _is_finite(value, wanted):
    return bool(value.to(wanted.dtype).isfinite().all())


def _format_of(value):
    unusual = [word for word, is_so in (("meta", value.is_meta), ("sparse", value.layout != torch.strided)) if is_so]
    return " ".join([*unusual, str(value.dtype).removeprefix("torch.")])


def read_state_dict(path):
    """Read a state dict, taken out of the wrappers that training scripts put around it."""
    path = Path(path)
    _check_is_file(path)
    try:
        state = _read_tensors(path)
    except ImportError:
        raise
    except Exception as error:
        raise_if_signalled(error)
        raise ValueError(
            f"backbone_weights={shown(str(path))} could not be read as a state dict{_reason(error)}. "
            "Save one with torch.save(module.state_dict(), path)."
        ) from (None if isinstance(error, pickle.UnpicklingError) else short_cause(error))
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise ValueError(
            f"backbone_weights={shown(str(path))} holds something else than a state dict. "
            "Save one with torch.save(module.state_dict(), path)."
        )
    if all(key.startswith("module.") for key in state):  # saved from DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _check_is_file(path):
    """Check that a path leads to a file that can be opened at once."""
    try:
        open_regular(path).close()
    except FileNotFoundError:
        if not path.is_absolute() and working_folder() is None:
            raise no_start_error("backbone_weights", path) from None
        raise FileNotFoundError(
            f"backbone_weights={shown(str(path))} was looked for at {cut(str(path.absolute()), 2 * LINE)}, but there "
            "is no such file. Pass the path of a .pth or .safetensors state dict, 'pretrained' or None."
            f"{did_you_mean(str(path), ('pretrained', None))}"
        ) from None
    except (OSError, ValueError) as error:
        raise_if_signalled(error)
        reason = getattr(error, "strerror", None) or "no file can have such a name"
        raise ValueError(
            f"backbone_weights={shown(str(path))} cannot be read: {reason}. Pass the path of a .pth or .safetensors "
            "state dict, 'pretrained' or None."
        ) from None


def _reason(error):
    """Say why a file could not be read."""
    if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to let the file's code run
        return ": it is damaged or of another kind, or holds more than tensors, and no code of a file is run"
    if isinstance(error, NO_REASONS):
        return ": it is empty, damaged or of another kind"
    return f" ({type(error).__name__}: {cut(str(error).partition(chr(10))[0], LINE)})"


def _read_tensors(path):
    if path.suffix.lower() != ".safetensors":
        _check_unpacked_size(path)
        with warnings_hidden():  # of how other programs pickle
            return torch.load(path, map_location="cpu", weights_only=True)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ModuleNotFoundError(
            f"backbone_weights={shown(str(path))} needs safetensors, which is not installed. "
            'Run: pip install "sklcnn[backbones]"'
        ) from error
    return load_file(path)


def _check_unpacked_size(path):
    """Refuse an archive that would unpack to more bytes than it has: torch never compresses, decompression bombs do."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(entry.file_size for entry in archive.infolist())
        if n_bytes > path.stat().st_size:
            raise ValueError(f"it would unpack to {n_bytes:,} bytes, from {path.stat().st_size:,}")


def _first_few(keys, n=3):
    more = f" and {len(keys) - n} more" if len(keys) > n else ""
    names = [cut(key.encode("unicode_escape").decode(), LINE) for key in keys[:n]]  # a file may hold any characters
    return ", ".join(names) + more
