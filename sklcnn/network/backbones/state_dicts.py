"""Reading a state dict from a file, and fitting it to a network."""

from collections.abc import Mapping
from pathlib import Path

import torch

from sklcnn.suggestions import did_you_mean


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
        If keys are missing or unexpected or of another shape; the first of them are named.
    """
    own = network.state_dict()
    state = rename(read_state_dict(path), network)
    state = {key: value for key, value in state.items() if key in own or not key.startswith(head)}

    # Files older than PyTorch 0.4 do not count the batches that a batch norm has seen; nothing uses it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    other_shape = [
        f"{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    problems = {"lacks": missing, "has unexpected": unexpected, "has of another shape": other_shape}
    found = [f"{what} {_first_few(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise ValueError(
            f"backbone_weights={str(path)!r} does not fit backbone={name!r}: it {'; it '.join(found)}. "
            "Pass a state dict that was saved from this architecture."
        )
    with torch.no_grad():
        for key, value in state.items():
            own[key].copy_(value)
    return network


def read_state_dict(path):
    """Read a state dict, taken out of the wrappers that training scripts put around it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"backbone_weights={str(path)!r} was looked for at {path.absolute()}, but there is no such file. "
            "Pass the path of a .pth or .safetensors state dict, 'pretrained' or None."
            f"{did_you_mean(str(path), ('pretrained', None))}"
        )
    try:
        state = _read_tensors(path)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"backbone_weights={str(path)!r} could not be read as a state dict ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}). Save one with torch.save(module.state_dict(), path)."
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            f"backbone_weights={str(path)!r} holds something else than a state dict. "
            "Save one with torch.save(module.state_dict(), path)."
        )
    if all(key.startswith("module.") for key in state):  # saved from DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _read_tensors(path):
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ModuleNotFoundError(
            f"backbone_weights={str(path)!r} needs safetensors, which is not installed. "
            'Run: pip install "sklcnn[backbones]"'
        ) from error
    return load_file(path)


def _first_few(keys, n=3):
    more = f" and {len(keys) - n} more" if len(keys) > n else ""
    return ", ".join(keys[:n]) + more
