"""Serve an exported image classifier over HTTP: a picture is posted, its label is answered.

It needs onnxruntime, NumPy and Pillow, and neither torch nor scikit-learn nor sklcnn: copy this file and the model to
the machine that is to serve. ``deploy_onnx.py`` makes such a model and calls this.

    python serve_onnx.py model.onnx --port 8000
    curl --data-binary @picture.png http://127.0.0.1:8000/predict

It listens on this machine alone. Before it is opened to others, put a server in front of it that knows who they are and
how much they may ask for.
"""

import argparse
import io
import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_BYTES, MOST_PIXELS = 10_000_000, 20_000_000  # of a picture, as a file and when it is decoded
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound, of which it warns first


class RefusedError(Exception):
    """What is wrong with a request: a status of HTTP and a sentence."""


class Model:
    """An exported classifier of pictures, with what its file says of itself.

    Threads may share it.
    """

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # each request has a thread already
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.about = self.session.get_modelmeta().custom_metadata_map
        _, *self.shape = json.loads(self.about.get("input_shape", "[null]"))
        self.labels = json.loads(self.about.get("labels", "null"))
        if len(self.shape) != 3 or self.about["input_dtype"] != "uint8" or self.labels is None:
            raise SystemExit(f"{path} is no classifier of pictures; it says of itself: {self.about}")

    def read(self, content):
        """Decode a picture as the estimator does: upright, over white, grey or in colour as it was in `fit`."""
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)  # reads its size, and decodes nothing
        except Exception as error:
            raise RefusedError(415, f"The body is no picture that can be opened ({', '.join(FORMATS)}).") from error
        if image.width * image.height > MOST_PIXELS:
            raise RefusedError(
                413, f"The picture has {image.width} x {image.height} pixels; {MOST_PIXELS:,} may be sent."
            )
        if image.mode.startswith(("I", "F")):
            raise RefusedError(415, "The picture has more than 8 bits a pixel.")
        try:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA")).astype(np.uint32)
        except Exception as error:
            raise RefusedError(422, "The picture is broken or not whole.") from error
        colours, opaque = pixels[:, :, :3], pixels[:, :, 3:]
        over_white = ((colours * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)
        pixels = np.asarray(Image.fromarray(over_white).convert("L" if self.shape[2] == 1 else "RGB"))
        return pixels.reshape(*pixels.shape[:2], -1)

    def predict(self, content):
        """Return the answer to a picture's bytes."""
        pixels = self.read(content)
        if any(size not in (None, given) for size, given in zip(self.shape, pixels.shape, strict=True)):
            height, width, _ = self.shape
            raise RefusedError(
                422, f"The picture has {pixels.shape[1]} x {pixels.shape[0]} pixels, not {width} x {height}."
            )
        label, probabilities = self.session.run(["label", "probabilities"], {"X": pixels[None]})
        named = zip(self.labels, probabilities[0].tolist(), strict=True)
        return {"label": label.tolist()[0], "probabilities": {str(name): share for name, share in named}}

    def health(self):
        """Say what is served, and what this process has imported beside the standard library."""
        packages = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
        return {
            "status": "ok",
            **self.about,
            "labels": self.labels,
            "imported": sorted(name for name in packages if name[0] != "_"),
        }


class Handler(BaseHTTPRequestHandler):
    """Answers in JSON; errors too, as {"error": what}."""

    model: Model
    protocol_version = "HTTP/1.1"  # a client keeps its connection
    disable_nagle_algorithm = True  # answers are small, and are not to wait for more
    timeout = 10  # seconds that a client may be silent

    def do_GET(self):
        if self.path != "/health":
            return self.answer(404, {"error": "There is /health to get and /predict to post to."})
        return self.answer(200, self.model.health())

    def do_POST(self):
        try:
            content = self.body()
            if self.path != "/predict":
                raise RefusedError(404, "There is /health to get and /predict to post to.")
            self.answer(200, self.model.predict(content))
        except RefusedError as refused:
            status, message = refused.args
            self.answer(status, {"error": message})

    def body(self):
        """Read what was posted, if it says how long it is and is not too long."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True  # nobody knows where the next request begins
            raise RefusedError(411, "Send the picture as the body, with its Content-Length.")
        if int(length) > MOST_BYTES:
            self.close_connection = True
            raise RefusedError(413, f"The picture has {length} bytes; {MOST_BYTES:,} may be sent.")
        return self.rfile.read(int(length))

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code, message=None, explain=None):  # of requests that are no HTTP
        self.close_connection = True
        self.answer(code, {"error": message or HTTPStatus(code).phrase})

    def log_message(self, format, *args):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="file that export_onnx wrote, of a CNNClassifier of pictures")
    parser.add_argument("--port", type=int, default=8000, help="0: a free one")
    arguments = parser.parse_args()
    Handler.model = Model(arguments.model)
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
