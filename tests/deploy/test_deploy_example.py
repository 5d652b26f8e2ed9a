"""Laws of the example that serves a network: the server answers what `predict` says, and refuses the rest in words."""

import contextlib
import importlib.util
import io
import json
import socket
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from sklcnn import CNNClassifier, export_onnx
from sklcnn.deploy.extras import has_right_exporter

pytestmark = pytest.mark.skipif(not has_right_exporter(), reason="PyTorch before 2.9 cannot export every network")

EXAMPLE = Path(__file__).parents[2] / "examples" / "deploy_onnx.py"
spec = importlib.util.spec_from_file_location("deploy_onnx", EXAMPLE)
deploy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(deploy)

FILES, DIGITS = deploy.digit_files()
FILES, NAMES = FILES[:200], np.array(["even", "odd"])[DIGITS[:200] % 2]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return a fitted network, and the address where a process serves it."""
    cnn = CNNClassifier(image_size=8, filters=8, max_epochs=3, random_state=0).fit(FILES, NAMES)
    path = export_onnx(cnn, tmp_path_factory.mktemp("served") / "digits.onnx")
    with deploy.serving(path) as address:
        yield cnn, address


def request(address, method, path, body=None, headers=None):
    with contextlib.closing(HTTPConnection(urlsplit(address).netloc, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def encoded(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def test_the_server_answers_what_predict_says(served):
    cnn, address = served
    with deploy.Client(address) as client:
        answers = [client.post(content) for content in FILES[:50]]
    assert {status for status, _ in answers} == {200}
    assert [answer["label"] for _, answer in answers] == cnn.predict(FILES[:50]).tolist()
    shares = [[answer["probabilities"][name] for name in ("even", "odd")] for _, answer in answers]
    np.testing.assert_allclose(shares, cnn.predict_proba(FILES[:50]), rtol=0, atol=1e-4)


DIGIT = Image.open(io.BytesIO(FILES[3])).resize((30, 23))
TURNED = Image.Exif()
TURNED[0x0112] = 6  # a quarter turn to the right
DRAWING = Image.merge("LA", [Image.new("L", DIGIT.size), DIGIT])
PICTURES = {
    "larger": encoded(DIGIT, format="PNG"),
    "a photograph": encoded(DIGIT, format="JPEG"),
    "a turned photograph": encoded(DIGIT, format="JPEG", exif=TURNED),
    "held in the alpha channel": encoded(DRAWING, format="PNG"),
    "a palette": encoded(DIGIT.convert("P"), format="PNG"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_server_sees_what_the_estimator_sees(name, served):
    cnn, address = served
    status, answer = request(address, "POST", "/predict", PICTURES[name])
    assert status == 200
    expected = cnn.predict_proba([PICTURES[name]])[0]
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, rtol=0, atol=1e-4)


def test_the_server_has_imported_neither_torch_nor_this_package(served):
    _, address = served
    status, health = request(address, "GET", "/health")
    assert (status, health["status"], health["labels"]) == (200, "ok", ["even", "odd"])
    assert {"numpy", "onnxruntime", "PIL"} <= set(health["imported"])
    assert not {"torch", "torchvision", "sklearn", "skorch", "sklcnn", "pandas", "scipy"} & set(health["imported"])


DEEP = encoded(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), format="PNG")
REFUSED = {
    "no picture": ("POST", "/predict", b"%PDF-1.7 and more", {}, 415, "no picture that can be opened"),
    "nothing": ("POST", "/predict", b"", {}, 415, "no picture that can be opened"),
    "half a picture": ("POST", "/predict", FILES[0][:60], {}, 422, "broken or not whole"),
    "16 bits": ("POST", "/predict", DEEP, {}, 415, "more than 8 bits"),
    "a bomb": ("POST", "/predict", encoded(Image.new("1", (9000, 9000)), format="PNG"), {}, 413, "9000 x 9000"),
    "too long": ("POST", "/predict", b"x", {"Content-Length": "99999999999"}, 413, "99999999999 bytes"),
    "a length that is none": ("POST", "/predict", b"x", {"Content-Length": "-1"}, 411, "Content-Length"),
    "another path": ("POST", "/train", FILES[0], {}, 404, "/predict"),
    "a page": ("GET", "/", None, {}, 404, "/health"),
    "another method": ("DELETE", "/predict", None, {}, 501, "DELETE"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_the_server_refuses_in_words_and_goes_on(name, served):
    _, address = served
    *asked, expected, words = REFUSED[name]
    status, answer = request(address, *asked)
    assert status == expected
    assert words in answer["error"]
    assert request(address, "POST", "/predict", FILES[0])[0] == 200


def test_a_refused_picture_does_not_end_the_connection(served):
    with deploy.Client(served[1]) as client:
        assert [client.post(content)[0] for content in (FILES[0], b"no picture", FILES[0])] == [200, 415, 200]


def test_what_is_no_http_does_no_harm(served):
    _, address = served
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
        assert b"error" in connection.recv(1000)
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf")
    assert request(address, "GET", "/health")[0] == 200


@pytest.mark.slow
def test_a_model_of_no_pictures_is_not_served(tmp_path, capfd):
    signals = CNNClassifier(filters=2, max_epochs=1).fit(np.random.RandomState(0).rand(24, 20), np.arange(24) % 3)
    path = export_onnx(signals, tmp_path / "signals.onnx")
    with pytest.raises(RuntimeError, match="did not start"), deploy.serving(path):
        pass
    assert "no classifier of pictures" in capfd.readouterr().err


@pytest.mark.slow
def test_the_example_prints_what_is_served_and_what_it_costs(capsys):
    deploy.main(max_epochs=1, n_timed=4)
    printed = capsys.readouterr().out
    assert "the server labels 100.0% as predict does" in printed
    assert "no picture: 415" in printed
    costs = [
        line.split() for line in printed.splitlines() if line.startswith(("predict", "onnxruntime", "the server "))
    ]
    assert all(float(row[-3]) > 0 and float(row[-1].replace(",", "")) > 0 for row in costs[:2])
