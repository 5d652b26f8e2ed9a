"""Hundreds of fits and thousands of predicts in one process leak nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WARM_UP = 100  # fits


def soak(n_fits, n_predicts):
    """Return a line for every 20th part of the fits: what the process holds."""
    script = Path(__file__).with_name("soak.py")
    result = subprocess.run(
        [sys.executable, script, str(n_fits), str(n_predicts)], capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process holds is read as Linux tells it")
def test_500_fits_and_10000_predicts_leak_nothing():
    lines = [line for line in soak(500, 20) if line["fits"] >= WARM_UP]
    first = lines[0]
    assert len(lines) == 17
    for line in lines[1:]:
        assert line["resident_mb"] <= 1.05 * first["resident_mb"], lines
        for name in ("threads", "system_threads", "children", "files", "shared_memory", "temporary_files"):
            assert line[name] == first[name], (name, lines)
