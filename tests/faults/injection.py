"""Interrupts that fall on a line: a KeyboardInterrupt raised by a trace function before the line is run."""

import contextlib
import random
import signal
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import sklcnn
from sklcnn.network import allocation

PACKAGE = str(Path(sklcnn.__file__).parent)
TIME_LIMIT = 60  # seconds a later fit may take, that a lost lock would keep waiting for ever


def _trace_lines(function, at_line):
    """Call a function, and another before each line of the package that it runs in this thread."""

    def in_frame(frame, event, _):
        if event == "line":
            at_line((frame.f_code.co_filename[len(PACKAGE) + 1 :], frame.f_lineno))
        return in_frame

    def in_call(frame, event, _):
        return in_frame if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    sys.settrace(in_call)
    try:
        return function()
    finally:
        sys.settrace(before)


def count_lines(function):
    """Count how often a call runs each line of the package: {(file, line): times}, in the order of the first times."""
    times = Counter()
    _trace_lines(function, lambda line: times.update([line]))
    return times


def interrupt(function, line, time):
    """Call a function, and interrupt it before a line is run for the n-th time; return whether it came to that."""
    left = time

    def at_line(reached):
        nonlocal left
        if reached == line:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    try:
        _trace_lines(function, at_line)
    except KeyboardInterrupt:
        pass
    return left <= 0


@contextlib.contextmanager
def handled(number, handler):
    """Let a handler have a signal in a block."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def process_state():
    """Return the settings of the process and of this thread that a call must leave as it found them."""
    return {
        "Python's random state": random.getstate(),
        "NumPy's random state": str(np.random.get_state()),
        "torch's random state": torch.get_rng_state().tolist(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads of torch": torch.get_num_threads(),
        "filters of warnings": list(warnings.filters),
        "fits that keep memory": allocation.n_training(),
    }


def lost_by(function, line, time):
    """Interrupt a call at a line, in a thread of its own; name what of the process it left otherwise.

    It is "a lock" where the call does not end: one that an interrupt of a call before it has left held.
    """
    lost = ["a lock"]

    def run():
        before = process_state()
        interrupt(function, line, time)
        now = process_state()
        lost[:] = [name for name in before if before[name] != now[name]]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TIME_LIMIT)
    return lost
