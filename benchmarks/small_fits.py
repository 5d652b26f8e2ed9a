"""Small fits.

Processor milliseconds on one thread, so that what else the machine does counts less; "x" is the ratio to the tuned
loop, round by round. A fit of one epoch on 100 rows of 8x8 is nearly all checks, building and callbacks; ten epochs on
1,500 rows are the first column of the training benchmark, whole fits, on two sets of the processor's instructions.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from statistics import median

import torch

from benchmarks.peers import tuned_loop
from benchmarks.timing import in_turn, ratio, spread, table
from benchmarks.training import SKLCNN, TUNED, fit_sklcnn, make_problems

CONTESTANTS = {
    TUNED: tuned_loop,
    SKLCNN: partial(fit_sklcnn, standardize=False),
    "sklcnn": partial(fit_sklcnn, standardize=True),
}
# What torch and oneDNN may use; None: what they find.
INSTRUCTIONS = {"all": {}, "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}


def measure(quick):
    """Measure each set of instructions in a process of its own, and return a table."""
    rows, over = [], ""
    for name, setting in INSTRUCTIONS.items():
        command = [sys.executable, "-m", "benchmarks.small_fits", *(["--quick"] if quick else [])]
        told = subprocess.run(command, env=os.environ | setting, capture_output=True, text=True, check=True).stdout
        capability, *sizes = json.loads(told)
        for title, rounds in sizes:
            cells = [f"{spread(rounds[who], 1)} x{ratio(rounds, who, TUNED):.2f}" for who in CONTESTANTS]
            rows.append([f"{title}; {name} ({capability})", *cells])
        if not over:
            over = f"{median(sizes[0][1]['sklcnn']) - median(sizes[0][1][TUNED]):.0f}"
    head = ["processor milliseconds", *CONTESTANTS]
    return table(head, rows) + f"\n\nOn 100 rows a fit takes {over} ms more than the loop."


def measured_here(quick):
    """Time the contestants in this process; return what torch may use, and the rounds of each size."""
    torch.set_num_threads(1)
    digits = make_problems(quick)[0]
    sizes = []
    for title, n_rows, n_epochs in (("100 rows, 1 epoch", 100, 1), ("1,500 rows, 10 epochs", 1500, 1 if quick else 10)):
        data = digits.images[:n_rows], digits.labels[:n_rows], digits.batch_size, n_epochs
        runs = {
            who: lambda who=who, train=train, data=data: {who: processor_milliseconds(partial(train, *data))}
            for who, train in CONTESTANTS.items()
        }
        sizes.append([title, in_turn(runs, 1 if quick else 9)])
    return [torch.backends.cpu.get_cpu_capability(), *sizes]


def processor_milliseconds(work):
    """Time a call by what it took of the processor."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    print(json.dumps(measured_here("--quick" in sys.argv)))
