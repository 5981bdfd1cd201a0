"""The examples run from anywhere and save their pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].joinpath("examples").glob("plot_*.py"))


def run(path, tmp_path, **environment):
    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    result = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path,
        env={"MPLBACKEND": "Agg", "PATH": "", **threads, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.glob("*.png"))


each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@pytest.mark.parametrize("name", ["quickstart", "custom_parts", "bands"])
def test_example_with_few_epochs(name, tmp_path):
    (path,) = [path for path in EXAMPLES if path.stem == f"plot_{name}"]
    run(path, tmp_path, SKNCVQVAE_EXAMPLE_EPOCHS="1")


@pytest.mark.slow
@each_example
def test_example(path, tmp_path):
    run(path, tmp_path)
