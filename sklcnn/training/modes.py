"""torch's global modes, which a user may have changed and on which no result may depend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, ExitStack
from functools import partial
from typing import Any

import torch

from sklcnn.process import Undone
from sklcnn.threads import available_cores, threads_for

FLOAT32, CPU = torch.float32, torch.device("cpu")


def _changed_modes() -> Iterator[Callable[[ExitStack], Any]]:
    """Yield, for each mode that is not as it should be, a function that sets it so until the block ends.

    In one function: for one row, a function a mode would take a tenth of the time.
    """
    if torch.is_inference_mode_enabled():
        yield lambda stack: stack.enter_context(torch.inference_mode(False))
    if not torch.is_grad_enabled():
        yield lambda stack: stack.enter_context(torch.enable_grad())
    if torch.is_autocast_enabled("cpu"):
        yield lambda stack: stack.enter_context(_no_autocast("cpu"))
    if torch.is_autocast_enabled("cuda"):
        yield lambda stack: stack.enter_context(_no_autocast("cuda"))
    if torch.empty(0).device != CPU:
        yield lambda stack: stack.enter_context(CPU)
    if torch.get_num_threads() > available_cores():
        yield lambda stack: stack.enter_context(threads_for())
    if torch.get_default_dtype() != FLOAT32:
        yield _default_to_float32


def _no_autocast(device_type):
    return torch.autocast(device_type, enabled=False)


def _default_to_float32(stack):
    stack.callback(torch.set_default_dtype, torch.get_default_dtype())
    torch.set_default_dtype(FLOAT32)


class own_modes(ContextDecorator):  # noqa: N801 (called like a function)
    """Run a block, or a function, as if nobody had changed torch's global modes.

    They are: gradients switched off, inference mode, autocast, another default device or default type of floats, more
    threads than the process has cores. Modes that nobody has changed are not set, which saves time.
    """

    def __enter__(self):
        self._stack = None
        self._undone = Undone(partial(self._go_back, torch.is_grad_enabled()))
        self._undone.__enter__()
        for set_default in _changed_modes():
            self._stack = self._stack or ExitStack()
            set_default(self._stack)
        return self

    def __exit__(self, *error):
        self._undone.__exit__()
        return False

    def _go_back(self, gradients):
        if self._stack is not None:
            self._stack.close()
        if torch.is_grad_enabled() != gradients:  # an interrupt has prevented a torch.no_grad block from restoring it
            torch.set_grad_enabled(gradients)

    def _recreate_cm(self):
        return type(self)()  # each call of a decorated function has its own
