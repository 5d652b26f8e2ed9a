"""What is known of a named backbone before it is built."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """A named backbone: what to build, what its inputs look like, where its weights are."""

    name: str
    version: str  # of the library that defines the architecture
    image_size: tuple[int, int]
    mean: tuple[float, ...]  # of images in 0..1
    std: tuple[float, ...]
    head: tuple[str, ...]  # prefixes of the keys that only the cut-off classifier needs
    build: Callable[[], nn.Module]  # random weights, no classifier
    build_pretrained: Callable[[], nn.Module]
    # Translates a file's keys to the library's spelling, given the state dict and the network.
    rename: Callable[[dict[str, torch.Tensor], nn.Module], dict[str, torch.Tensor]]
