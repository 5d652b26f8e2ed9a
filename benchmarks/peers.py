"""One network trained in other ways: by two hand-written loops, by skorch and by Keras.

Two convolutions of 32 and 64 filters of 3x3, each with 2x2 max pooling, 128 dense units and 10 outputs, trained by
Adam at a constant rate. Every function takes channels-last images and gives the seconds of each epoch.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

FILTERS, UNITS, N_CLASSES, LEARNING_RATE = (32, 64), 128, 10, 1e-3
TUNED_LAYOUTS = ("channels last", "channels last, copied to flatten", "channels first")


class FlattenPositions(nn.Module):
    """Flatten maps that are channels-last in memory as they lie there, which copies nothing."""

    def forward(self, maps):
        return maps.permute(0, 2, 3, 1).flatten(1)


def build_network(sample_shape, flatten=nn.Flatten, pool_first=False):
    """Build the network for samples of shape (height, width, channels)."""
    height, width, channels = sample_shape
    layers = []
    for filters in FILTERS:
        after = [nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(channels, filters, 3, padding=1), *(reversed(after) if pool_first else after)]
        channels, height, width = filters, height // 2, width // 2
    layers += [flatten(), nn.Linear(channels * height * width, UNITS), nn.ReLU(), nn.Linear(UNITS, N_CLASSES)]
    return nn.Sequential(*layers)


def tuned_loop(images, labels, batch_size, n_epochs, layout="channels last"):
    """Train by the best loop we know how to write.

    Whole batches by one index each, channels-last tensors, pooling before the activation, which then sees a quarter of
    the values, a fused optimiser, no number read back before the epoch's end; uint8 is scaled to 0..1 by the batch.
    """
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    if layout == "channels first":
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    network = build_network(
        images.shape[1:], FlattenPositions if layout == "channels last" else nn.Flatten, pool_first=True
    )
    if layout != "channels first":
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    criterion = nn.CrossEntropyLoss()
    epochs = []
    for _ in range(n_epochs):
        start = time.perf_counter()
        total = torch.zeros(())
        for rows in torch.randperm(len(inputs)).split(batch_size):
            batch = inputs[rows]
            if layout != "channels first":
                batch = batch.permute(0, 3, 1, 2)
            if batch.dtype == torch.uint8:
                batch = batch.float().div_(255)
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(network(batch), targets[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)
        epochs.append(time.perf_counter() - start)
    return epochs


def tutorial_loop(images, labels, batch_size, n_epochs):
    """Train as the tutorials do: a DataLoader that collates sample by sample, and the loss read after each batch."""
    inputs = torch.from_numpy(channels_first(images))
    dataset = torch.utils.data.TensorDataset(inputs, torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)
    network = build_network(images.shape[1:])
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    criterion = nn.CrossEntropyLoss()
    epochs = []
    for _ in range(n_epochs):
        start = time.perf_counter()
        total = 0.0
        for batch, targets in loader:
            optimizer.zero_grad()
            loss = criterion(network(batch), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
        epochs.append(time.perf_counter() - start)
    return epochs


def skorch_net(images, labels, batch_size, n_epochs):
    """Train by skorch as it comes, but without its validation split and its prints."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        build_network(images.shape[1:]), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=LEARNING_RATE,
        batch_size=batch_size, max_epochs=n_epochs, iterator_train__shuffle=True, train_split=None, verbose=0,
    )  # fmt: skip
    net.fit(channels_first(images), labels)
    return net.history[:, "dur"]


def keras_model(images, labels, batch_size, n_epochs):
    """Train by Keras, in a process of the interpreter that the environment variable KERAS_PYTHON names.

    Its first epoch, which compiles, does not count.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        np.savez(data, images=images, labels=labels)
        script = Path(__file__).with_name("keras_epochs.py")
        command = [os.environ["KERAS_PYTHON"], script, data, str(batch_size), str(n_epochs + 1)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])[1:]


def channels_first(images):
    """Return a copy as PyTorch's tutorials have it: channels first, floats from 0 to 1."""
    images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    return images / np.float32(255) if images.dtype == np.uint8 else images
