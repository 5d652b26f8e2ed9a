"""Seeds. The global generators of random numbers are restored after a fit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from sklcnn.process import Undone
from sklcnn.training.turns import take_turn, take_turn_back, turn_if_free


def draw_seed(random_state: Any) -> int:
    """Draw the one integer that a fit takes from `random_state`."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


class drawing_undone:  # noqa: N801 (called like a function)
    """Set the global generators back after a block in which code of the user's may seed them, or draw from them.

    No other thread fits meanwhile: it would draw other numbers.

    Parameters
    ----------
    needed : bool
        Whether there is such code.
    """

    def __init__(self, needed: bool):
        self._needed = needed

    def __enter__(self):
        if self._needed:
            self._turn = take_turn()
            states = self._read_states()
            self._restored = Undone(lambda: _set_states(states))
            self._restored.__enter__()
        return self

    def __exit__(self, *error):
        if self._needed:
            self._restored.__exit__()
            self._turn.__exit__()

    def _read_states(self):
        return _read_states(torch.cuda.is_initialized())


class seeded(drawing_undone):  # noqa: N801 (called like a function)
    """Seed the global generators of torch, NumPy and Python in a block, and restore them afterwards.

    Parameters
    ----------
    seed : int
        Below 2**32.
    """

    def __init__(self, seed: int):
        super().__init__(needed=True)
        self._seed = seed

    def __enter__(self):
        super().__enter__()
        random.seed(self._seed)
        np.random.seed(self._seed)
        torch.manual_seed(self._seed)
        return self

    def _read_states(self):
        return _read_states()  # a device's generator too that is begun within the block


class generators_kept:  # noqa: N801 (called like a function)
    """Set the global generators back after a block in which modules of the user's may have drawn from them.

    Not while another thread fits, which would draw the same numbers again.

    Parameters
    ----------
    needed : bool
        Whether there are such modules.
    """

    def __init__(self, needed: bool):
        self._needed = needed

    def __enter__(self):
        if self._needed:
            with turn_if_free() as is_free:
                states = _read_states(torch.cuda.is_initialized()) if is_free else None
            self._restored = Undone(lambda: states is not None and _set_back(states))
            self._restored.__enter__()
        return self

    def __exit__(self, *error):
        if self._needed:
            self._restored.__exit__()


def _set_back(states):
    """Set back the generators that are not as they were."""
    with turn_if_free() as is_free:
        if not is_free:
            return
        (python, numpy, cpu, cuda), (drawn, numbers, now, there) = states, _read_states(bool(states[3]))
        if drawn != python:
            random.setstate(python)
        if numbers[2:] != numpy[2:] or not np.array_equal(numbers[1], numpy[1]):
            np.random.set_state(numpy)
        if not torch.equal(now, cpu):
            torch.set_rng_state(cpu)
        if not all(map(torch.equal, there, cuda)):
            torch.cuda.set_rng_state_all(cuda)


def _read_states(on_cuda=None):
    on_cuda = torch.cuda.is_available() if on_cuda is None else on_cuda
    cuda = torch.cuda.get_rng_state_all() if on_cuda else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _set_states(states):
    take_turn_back()
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
