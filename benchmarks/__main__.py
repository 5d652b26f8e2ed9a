"""Run the benchmarks and write what they measured to docs/performance.md.

``python -m benchmarks`` runs all sections, ``python -m benchmarks training memory`` these two; with ``--quick`` on tiny
data, to see that they run: then nothing is written.
"""

import argparse
import importlib
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SECTIONS = (
    "training", "blocks", "predicting", "memory", "grid_search", "augmentation", "penalty", "import_time",
    "image_files", "search", "jobs", "small_fits", "bfloat16", "scaling", "accuracy", "small_data", "outliers",
    "temperature", "recipes",
)  # fmt: skip
PACKAGES = ("sklcnn", "torch", "numpy", "scikit-learn", "skorch", "torchvision", "kornia", "timm")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure sklcnn.")
    parser.add_argument("sections", nargs="*", metavar="section", help=f"any of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="tiny data, to see that all runs; writes nothing")
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    for name in arguments.sections or SECTIONS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        section = importlib.import_module(f"benchmarks.{name}")
        title, _, about = section.__doc__.strip().partition("\n")
        measured = section.measure(arguments.quick)
        took = f"`python -m benchmarks {name}`, {time.perf_counter() - start:.0f} s. {machine()}"
        text = "\n\n".join(filter(None, (f"## {title.rstrip('.')}", about.strip(), measured, took)))
        print(f"{text}\n", flush=True)
        if not arguments.quick:
            write_section(title.rstrip("."), text)


def write_section(title, text):
    """Put a section into the page, beside the others."""
    parts = PAGE.read_text().split("\n## ")[1:] if PAGE.exists() else []
    sections = {part.partition("\n")[0]: f"## {part.strip()}" for part in parts}
    sections[title] = text
    order = [importlib.import_module(f"benchmarks.{name}").__doc__.partition(".\n")[0] for name in SECTIONS]
    ordered = sorted(sections.items(), key=lambda section: order.index(section[0]) if section[0] in order else -1)
    PAGE.write_text("\n\n".join([PAGE_HEAD, *(section for _, section in ordered)]) + "\n")


PAGE_HEAD = """# Performance

Written by `make benchmark`, or `python -m benchmarks` for single sections. Times are medians, with the least and the
greatest in brackets; contestants took turns, round after round, in one run.
Figures of one processor do not hold on another: each section names its own.

What an epoch takes on a machine of yours, of random pictures and the default network:

```python
import numpy as np

from sklcnn import CNNClassifier

pictures = np.random.default_rng(0).integers(0, 256, (640, 28, 28), dtype=np.uint8)
cnn = CNNClassifier(max_epochs=3, random_state=0).fit(pictures, np.arange(640) % 10)
print(f"{cnn.history_['duration'].median():.3f} seconds an epoch of {len(pictures)} pictures")
```"""


def machine():
    """Describe the machine and the versions."""
    versions = ", ".join(f"{package} {found}" for package in PACKAGES if (found := installed(package)))
    return (
        f"{processor()}, {os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, {versions}."
    )


def installed(package):
    """Find a package's version; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor():
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    features = {"amx_bf16", "avx512f", "avx2"} & set(" ".join(lines).split())
    return f"{names[0] if names else platform.machine()} ({', '.join(sorted(features))})"


if __name__ == "__main__":
    main()
