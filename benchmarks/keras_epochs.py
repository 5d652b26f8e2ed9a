"""Train the network of `peers.py` by Keras and print the seconds of each epoch; its environment needs nothing else.

Arguments: a .npz file of channels-last `images` and `labels`, the batch size, the number of epochs.
"""

import json
import sys
import time

import keras
import numpy as np


class EpochSeconds(keras.callbacks.Callback):
    """Keeps the seconds of each epoch."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


def main(path, batch_size, n_epochs):
    data = np.load(path)
    images, labels = data["images"], data["labels"]
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-3), loss)
    clock = EpochSeconds()
    network.fit(images, labels, batch_size=int(batch_size), epochs=int(n_epochs), verbose=0, callbacks=[clock])
    print(json.dumps(clock.seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
