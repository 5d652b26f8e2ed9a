"""Seeds. The global generators of random numbers are restored after a fit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklcnn.process import Undone
from sklcnn.training.turns import take_turn, take_turn_back


def draw_seed(random_state: Any) -> int:
    """Draw the one integer that a fit takes from `random_state`."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class seeded:  # noqa: N801 (called like a function)
    """Seed the global generators of torch, NumPy and Python in a block, and restore them afterwards.

    Parameters
    ----------
    seed : int
        Below 2**32.
    """

    def __init__(self, seed: int):
        self._seed = seed

    def __enter__(self):
        self._turn = take_turn()
        states = _read_states()
        self._restored = Undone(lambda: _set_states(states))
        self._restored.__enter__()
        random.seed(self._seed)
        np.random.seed(self._seed)
        torch.manual_seed(self._seed)
        return self

    def __exit__(self, *error):
        self._restored.__exit__()
        self._turn.__exit__()


def _read_states():
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _set_states(states):
    take_turn_back()
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
