"""Laws of what exporting needs: what is missing or too old is named, with the remedy."""

import numpy as np
import pytest
import skl2onnx

from sklcnn import CNNClassifier, export_onnx

X = np.random.RandomState(0).rand(8, 6).astype("float32")
CNN = CNNClassifier(filters=1, dense_units=(), max_epochs=1, random_state=0).fit(X, [0, 1] * 4)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sklcnn.deploy.extras.find_spec", lambda name: None if name == "skl2onnx" else name)
    with pytest.raises(ModuleNotFoundError, match=r'needs skl2onnx.*pip install "sklcnn\[onnx\]"'):
        export_onnx(CNN, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "write", [lambda path: export_onnx(CNN, path), lambda path: skl2onnx.to_onnx(CNN, X, target_opset=18)],
    ids=["export_onnx", "skl2onnx"],
)  # fmt: skip
def test_a_torch_that_is_too_old_is_named(write, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.__version__", "2.8.1+cpu")
    with pytest.raises(ImportError, match=r"needs PyTorch 2\.9 or newer, and this is 2\.8\.1\+cpu: .*--upgrade torch"):
        write(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
