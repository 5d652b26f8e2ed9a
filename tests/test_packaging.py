"""The wheel and the source archive hold what they must, and nothing else."""

import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import sklcnn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MODULES = {str(path.relative_to(ROOT)) for path in (ROOT / "sklcnn").rglob("*.py")}
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile")
BUILDERS = site.getsitepackages()[0]  # where setuptools is
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # which building changes
build_meta.build_wheel(folder)
build_meta.build_sdist(folder)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Build both files from a copy of the repository; return the folder where they are."""
    pytest.importorskip("setuptools", "77", reason="setuptools builds them, and pip brings it with itself")
    copy = tmp_path_factory.mktemp("copy")
    for name in (*FILES, "sklcnn", "tests", "docs", "examples", "benchmarks"):
        source = ROOT / name
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", "_build", "auto_examples")
            shutil.copytree(source, copy / name, ignore=leave)
        else:
            shutil.copy(source, copy)
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=copy, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


def test_the_wheel_holds_the_modules_of_the_package_its_types_and_its_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    described = {name for name in names if ".dist-info/" in name}
    assert names - described == MODULES | {"sklcnn/py.typed"}
    assert any(name.endswith("LICENSE") for name in described)


def test_the_metadata_say_version_readme_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert f"\nVersion: {sklcnn.__version__}\n" in metadata
    assert (ROOT / "README.md").read_text().strip() in metadata
    extras = set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE))
    assert {"backbones", "inspect", "onnx", "skops", "all"} <= extras


def test_the_source_archive_holds_the_package_its_tests_and_the_pages_that_they_read(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = [ROOT / name for name in ("tests", "examples", "benchmarks")]
    others = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.py")}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    assert MODULES | others | pages | {"sklcnn/py.typed", "docs/_static/sizes.svg", *FILES} <= names
    assert not [name for name in names if "_build" in name or "auto_examples" in name or name.endswith(".pyc")]


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_what_is_installed_from_a_file_fits_away_from_the_repository(pattern, dist, tmp_path):
    (path,) = dist.glob(pattern)
    environment, python = tmp_path / "environment", tmp_path / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, path], check=True, env=os.environ | {"PYTHONPATH": BUILDERS}, stdout=subprocess.DEVNULL)
    # What it depends on is that of this environment, behind what was installed.
    program = f"""
import sys
sys.path += {[*site.getsitepackages()]!r}
import numpy as np
import sklcnn
assert sklcnn.__file__.startswith({str(environment)!r}), sklcnn.__file__
X = np.random.default_rng(0).normal(size=(20, 8, 8))
print(sklcnn.CNNClassifier(filters=(2,), max_epochs=1).fit(X, np.arange(20) % 2).predict(X).shape)
"""
    run = subprocess.run([python, "-c", program], cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True)
    assert run.stdout == "(20,)\n"
