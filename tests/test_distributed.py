"""One fit over several processes is that of one process, and of DistributedDataParallel."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "examples" / "fit_distributed.py"


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
def test_two_processes_train_the_network_of_one_at_full_batch():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen([sys.executable, SCRIPT], env=common | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    told = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    loss, weights, by_hand = (float(number) for number in re.findall(r": (\S+) at most", told[0]))
    first, last = (float(number) for number in re.search(r"loss from (\S+) down to (\S+)", told[0]).groups())
    assert last < first / 2
    assert max(loss, weights, by_hand) < 1e-4
