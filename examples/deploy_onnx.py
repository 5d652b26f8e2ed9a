"""
From a fitted network to a server
=================================

A network is trained on pictures, written as one ONNX file, and served over HTTP by a process that has neither torch
nor scikit-learn nor this package: ``serve_onnx.py``, which lies beside this file. A client posts a picture and gets its
label. What that costs is compared with ``predict``.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklcnn import CNNClassifier, export_onnx

SERVER = Path(__file__).with_name("serve_onnx.py")
N_CLIENTS = 4  # at a time


def main(max_epochs=15, n_timed=200):
    files, y = digit_files()
    files, files_test, y, y_test = train_test_split(files, y, stratify=y, random_state=0)
    cnn = CNNClassifier(image_size=8, batch_norm=True, max_epochs=max_epochs, random_state=0).fit(files, y)
    print(
        f"Trained on {len(files)} PNG files; accuracy on {len(files_test)} others: {cnn.score(files_test, y_test):.3f}."
    )

    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(cnn, Path(folder) / "digits.onnx")
        print(f"Exported: {path.name}, {path.stat().st_size / 1000:.0f} kB.\n")
        with serving(path) as address:
            with Client(address) as client:
                health = client.get("/health")
                print(f"Serving {health['estimator']} of sklcnn {health['sklcnn_version']}, labels {health['labels']}.")
                print(f"What the server has imported: {', '.join(health['imported'])}.\n")
                show_answers(client, cnn, files_test)
            show_costs(address, path, cnn, files_test[:n_timed])


def digit_files():
    """Return scikit-learn's digits as PNG files, 8 x 8 pixels from 0 to 255, and their labels."""
    digits = load_digits()
    return [png((image * 255 / 16).astype("uint8")) for image in digits.images], digits.target


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@contextlib.contextmanager
def serving(path):
    """Run the server in a process of its own, and yield its address."""
    server = subprocess.Popen([sys.executable, SERVER, path, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the server did not start: it ended with status {server.wait()}")
        yield address
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


class Client:
    """One connection to the server."""

    def __init__(self, address):
        self.connection = HTTPConnection(urlsplit(address).netloc, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.connection.close()

    def get(self, path):
        self.connection.request("GET", path)
        return json.loads(self.connection.getresponse().read())

    def post(self, content):
        """Post a picture; return the status and what was answered."""
        self.connection.request("POST", "/predict", content)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def show_answers(client, cnn, files):
    large = Image.open(io.BytesIO(files[0])).resize((120, 100))  # the file resizes as the estimator does
    posted = {
        "a digit": files[0],
        "the same, larger": png(np.asarray(large)),
        "no picture": b"%PDF-1.7",
        "half of a picture": files[0][: len(files[0]) // 2],
    }
    for name, content in posted.items():
        status, answer = client.post(content)
        if status == 200:
            label, expected = answer["label"], cnn.predict([content])[0]
            answer = f"label {label} (predict: {expected}), probability {answer['probabilities'][str(label)]:.3f}"
        print(f"{name:>18}: {status} {answer}")
    labels = [client.post(content)[1]["label"] for content in files]
    print(f"Of {len(files)} pictures the server labels {np.mean(labels == cnn.predict(files)):.1%} as predict does.\n")


def show_costs(address, path, cnn, files):
    """Print how long one picture takes, and how many are labelled in a second, from PNG to label."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)

    def run(contents):
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(content)))[:, :, None] for content in contents])
        return session.run(["label"], {"X": pixels})

    def post_all(contents):
        with ThreadPoolExecutor(N_CLIENTS) as pool:
            list(pool.map(post_some, [contents[start::N_CLIENTS] for start in range(N_CLIENTS)]))

    def post_some(contents):
        with Client(address) as client:
            for content in contents:
                client.post(content)

    with Client(address) as client:
        rows = {
            "predict": (lambda content: cnn.predict([content]), cnn.predict),
            "onnxruntime, in this process": (lambda content: run([content]), run),
            "the server": (client.post, post_all),
        }
        print(f"{'from PNG to label':30}{'one picture':>14}{'a second':>12}")
        for name, (one, many) in rows.items():
            one(files[0])
            latency = np.median([elapsed(one, content) for content in files])
            throughput = len(files) / min(elapsed(many, files) for _ in range(3))
            print(f"{name:30}{1000 * latency:>11.2f} ms{throughput:>12,.0f}")
    print(f"The server is asked by {N_CLIENTS} clients at a time, a picture a request; the others get all at once.")


def elapsed(function, argument):
    began = time.perf_counter()
    function(argument)
    return time.perf_counter() - began


if __name__ == "__main__":
    os.environ["SKLCNN_IMAGE_CACHE_MB"] = "0"  # predict is to decode pictures each time, as the server does
    main()
