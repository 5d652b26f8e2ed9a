"""Predicting.

`predict` against the bare network in inference mode, on channels-last tensors made beforehand: images a second, some
6,000 of them in batches of the same size, and the microseconds that one image takes.
"""

import time
from statistics import median

import numpy as np
import torch

from benchmarks.timing import in_turn, ratio, seconds, spread, table
from benchmarks.training import LEARNING_RATE, make_problems
from sklcnn import CNNClassifier
from sklcnn.training.evaluation import evaluation_batch_size

BARE, SKLCNN = "bare network", "predict"
N_IMAGES = 6000


def measure(quick):
    """Measure throughput and latency, a table each."""
    n_rounds = 1 if quick else 5
    throughput, latency = [], []
    for problem in make_problems(quick)[:3]:
        cnn = CNNClassifier(max_epochs=1, lr_schedule=None, learning_rate=LEARNING_RATE, batch_size=problem.batch_size)
        cnn.fit(problem.images, problem.labels)
        title = problem.title.partition(",")[0]
        rates = in_turn(throughput_contestants(cnn, problem.images), n_rounds)
        throughput.append([title, *(spread(rates[name], 0) for name in (BARE, SKLCNN))])
        throughput[-1].append(f"{ratio(rates, SKLCNN, BARE):.3f}")
        times = in_turn(
            {"one image": lambda cnn=cnn, p=problem: one_image(cnn, p.images, 20 if quick else 1000)}, n_rounds
        )
        over = [own - bare for own, bare in zip(times[SKLCNN], times[BARE], strict=True)]
        latency.append([title, spread(times[BARE], 0), spread(times[SKLCNN], 0), spread(over, 0)])
    return "\n\n".join(
        [
            table(["images a second", BARE, SKLCNN, "ratio"], throughput),
            table(["microseconds for one image", BARE, SKLCNN, "difference"], latency),
        ]
    )


def throughput_contestants(cnn, images, n_passes=5):
    """Make the bare network and `predict` as contestants in images a second."""
    images = np.concatenate([images] * max(1, N_IMAGES // len(images)))
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    batch_size = evaluation_batch_size(cnn.module_, cnn.sample_shape_)
    works = {BARE: lambda: forward(cnn.module_, inputs, batch_size), SKLCNN: lambda: cnn.predict(images)}
    return {
        name: lambda name=name, work=work: {name: len(images) / median(seconds(work) for _ in range(n_passes))}
        for name, work in works.items()
    }


@torch.inference_mode()
def forward(module, inputs, batch_size):
    return torch.cat([module(batch) for batch in inputs.split(batch_size)])


def one_image(cnn, images, n_calls):
    """Time single images by the bare network and by `predict`, in turn; microseconds."""
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    times = np.empty((n_calls, 2))
    for number in range(n_calls):
        row = slice(number % len(images), number % len(images) + 1)
        start = time.perf_counter()
        forward(cnn.module_, inputs[row], 1)
        middle = time.perf_counter()
        cnn.predict(images[row])
        times[number] = middle - start, time.perf_counter() - middle
    return dict(zip((BARE, SKLCNN), 1e6 * np.median(times, axis=0), strict=True))
