"""One fit over several processes: each has a part of the rows, and the gradients are averaged.

Run it with ``torchrun --nproc-per-node 2 examples/fit_distributed.py``, or with ``--nnodes`` on several machines. It
prints how far the network is from that of one process with all rows, and from that of DistributedDataParallel.
"""

import copy

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sklcnn import CNNClassifier

N_EPOCHS, LEARNING_RATE = 40, 2e-3


class AverageGradients(Callback):
    """Average the gradients of a batch over all processes, as DistributedDataParallel does."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        gradients = [parameter.grad for _, parameter in named_parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])  # one message, not one a parameter
        dist.all_reduce(together)
        parts = (together / dist.get_world_size()).split([gradient.numel() for gradient in gradients])
        for gradient, average in zip(gradients, parts, strict=True):
            gradient.copy_(average.view_as(gradient))


def make_classifier(batch_size, callbacks=None):
    """Make the network. The same seed draws the same weights, and `standardize=False`: no process has all rows."""
    return CNNClassifier(
        input_shape=(8, 8), filters=(8, 16), standardize=False, optimizer="adam", learning_rate=LEARNING_RATE,
        lr_schedule=None, max_epochs=N_EPOCHS, batch_size=batch_size, random_state=0, callbacks=callbacks,
    )  # fmt: skip


def read_digits():
    """Read pixels in 0..1, and labels."""
    X, y = load_digits(return_X_y=True)
    return (X[:1000] / 16).astype("float32"), y[:1000]


def fit_a_part(X, y):
    """Fit on this process's rows: as many as the others have, and of every class, or their networks would differ."""
    part = slice(dist.get_rank(), len(X) // dist.get_world_size() * dist.get_world_size(), dist.get_world_size())
    return make_classifier(len(X[part]), [AverageGradients()]).fit(X[part], y[part])


def loop_by_hand(start, X, y):
    """Train a copy of a network by DistributedDataParallel and the loop that comes with it."""
    part = slice(dist.get_rank(), None, dist.get_world_size())
    inputs, targets = torch.from_numpy(X[part]).view(-1, 1, 8, 8), torch.from_numpy(y[part])
    network = DistributedDataParallel(copy.deepcopy(start).train())
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in range(N_EPOCHS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    return network.module


def largest_difference(one, other):
    """Return by how much two networks' weights differ at most."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def mean_loss(cnn):
    """Average the processes' losses, which are each of its own rows, epoch by epoch."""
    losses = torch.tensor(cnn.history_["train_loss"].to_numpy())
    dist.all_reduce(losses)
    return losses / dist.get_world_size()


def main():
    dist.init_process_group("gloo")  # "nccl" between GPUs, and device=f"cuda:{local rank}"
    X, y = read_digits()
    parted = fit_a_part(X, y)
    losses = mean_loss(parted)
    whole = make_classifier(len(X)).fit(X, y)
    start = make_classifier(len(X)).set_params(learning_rate=1e-30, max_epochs=1).fit(X, y).module_
    by_hand = loop_by_hand(start, X, y)
    if dist.get_rank() == 0:
        apart = (losses - torch.tensor(whole.history_["train_loss"].to_numpy())).abs().max().item()
        print(f"{dist.get_world_size()} processes, loss from {losses[0]:.2f} down to {losses[-1]:.2f}")
        print(f"loss, from one process: {apart:.1e} at most")
        print(f"weights, from one process: {largest_difference(parted.module_, whole.module_):.1e} at most")
        print(f"weights, from DistributedDataParallel: {largest_difference(parted.module_, by_hand):.1e} at most")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
