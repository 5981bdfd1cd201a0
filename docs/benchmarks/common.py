"""What the benchmark scripts share: data, seeds, tables."""

import argparse
from pathlib import Path

import numpy as np


def parser(description, datasets):
    """Return a command-line parser with the options that all scripts have."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--data", type=Path, default=Path("../shared/data/ucr"))
    p.add_argument("--datasets", nargs="+", default=datasets)
    p.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each fit")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--epochs", type=int, help="for a quick look; the default is the estimator's")
    return p


def load_ucr(folder, name):
    """Return ``X_train, y_train, X_test, y_test`` of the original split, series 2-D."""
    with np.load(folder / f"{name}.npz") as data:
        X_train, y_train, X_test, y_test = (
            data[key] for key in ("X_train", "y_train", "X_test", "y_test")
        )
    return X_train.reshape(len(X_train), -1), y_train, X_test.reshape(len(X_test), -1), y_test


def mean_and_spread(values, digits=3):
    """Format the mean and standard deviation of some figures."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def print_table(header, rows):
    """Print a markdown table."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(str(cell) for cell in row) + " |")
