"""What the benchmark scripts share: data, seeds, tables, result files."""

import argparse
import ctypes
import datetime
import importlib
import itertools
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

from skncvqvae import NCVQVAETransformer

_SPLIT_OPTIONS = {
    "test": {"action": "store_true", "help": "judge on the test split"},
    "folds": {"type": int, "default": 3, "help": "of the three folds, so many"},
    "max-series": {"type": int, "default": 1000, "help": "of a training split, at most"},
    "cache": {"help": "directory that keeps fitted tokenizers"},
}


def bare_parser(description):
    """Return a command-line parser with the option that all scripts have."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--output", type=Path, help="CSV file for the figures, one in each row")
    return p


def parser(description, datasets, threads=2, seeds=True, epochs=True):
    """Return a command-line parser with the options that most scripts share."""
    p = bare_parser(description)
    p.add_argument("--data", type=Path, default=Path("../shared/data/ucr"))
    p.add_argument("--datasets", nargs="+", default=datasets)
    if seeds:
        p.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each fit")
    several = {"nargs": "+"} if isinstance(threads, list) else {}
    p.add_argument("--threads", type=int, default=threads, **several)
    if epochs:
        p.add_argument(
            "--epochs", type=int, help="for a quick look; the default is the estimator's"
        )
    return p


def draw_to_file(description, draw):
    """Draw the picture that a script makes of result files, at the path that its user gives."""
    p = bare_parser(description)
    p.add_argument("--plot", type=Path, required=True, help="PNG file")
    options = p.parse_args()
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    draw().savefig(options.plot, dpi=100)


def split_options(p, *names):
    """Add options that scripts share which judge on splits or keep what they have fitted."""
    p.set_defaults(test=False)
    for name in names:
        p.add_argument(f"--{name}", **_SPLIT_OPTIONS[name])


def start(options):
    """Set the number of threads; return the transformer's parameters that options set."""
    torch.set_num_threads(options.threads)
    return {} if options.epochs is None else {"max_epochs": options.epochs}


def describe_machine():
    """Name the processor, what it has for low precision, and torch's version."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in found.items()}
    flags = found.get("flags", "").split()
    useful = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    name = found.get("model name", "unknown processor")
    return f"{name} ({', '.join(useful)}), {os.cpu_count()} cores, torch {torch.__version__}"


class Results:
    """Figures in tidy rows, with where they come from.

    Each row has ``dataset``, ``method``, what else tells it apart, ``seed``, ``metric`` and
    ``value``, and how it was made: ``commit``, ``date``, ``machine`` and ``source``, the command.

    Parameters
    ----------
    path : Path or None
        CSV file, written anew at each `add`, so that a run that is cut off leaves what it has.
        None writes nothing.
    resume : bool, default=False
        Keep the rows of the file and append to them, so that `holds` tells what is done already.
        Several processes may then write to one file.
    """

    def __init__(self, path, resume=False):
        self.path = path
        self.resume = resume
        self.rows = []
        if resume and path is not None and path.exists():
            self.rows = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
        script = f"examples/benchmarks/{Path(sys.argv[0]).name}"
        self.origin = {
            "commit": commit_of(Path(__file__).parent),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": describe_machine(),
            "source": shlex.join(["python", script, *sys.argv[1:]]),
        }

    def holds(self, dataset, method, seed="", **keys):
        """Return whether there are rows with these values."""
        return bool(self.figures(dataset, method, seed, **keys))

    def figures(self, dataset, method, seed="", **keys):
        """Return the figures of the rows with these values, by metric."""
        wanted = {"dataset": dataset, "method": method, "seed": seed, **keys}
        return {
            row["metric"]: float(row["value"])
            for row in self.rows
            if all(str(row.get(key)) == str(value) for key, value in wanted.items())
        }

    def add(self, dataset, method, figures, seed="", **keys):
        """Add a row for each figure.

        Parameters
        ----------
        dataset, method : str
        figures : dict of str to float
            Values by metric.
        seed : int or str
            Seed, fold or round; none for a summary of several.
        **keys
            Further columns. ``commit`` replaces that of this checkout.
        """
        origin = self.origin | {k: keys.pop(k) for k in list(keys) if k in self.origin}
        row = {"dataset": dataset, "method": method, **keys, "seed": seed}
        new = [row | {"metric": m, "value": v} | origin for m, v in figures.items()]
        if self.resume and self.rows and new and list(self.rows[0]) != list(new[0]):
            raise ValueError(f"{self.path} has the columns {list(self.rows[0])}.")
        self.rows += new
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.resume:
            # The rows of one call are one write, which other processes do not tear apart.
            text = pd.DataFrame(new).to_csv(index=False, header=not self.path.exists())
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            pd.DataFrame(self.rows).to_csv(self.path, index=False)


def commit_of(folder):
    """Return the short hash of a checkout's commit, marked where files differ from it."""

    def git(*arguments):
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
    return git("rev-parse", "--short", "HEAD") + changed


def used_memory(function):
    """Call `function`; return its result and the mebibytes it held at most beyond those before.

    On Linux with the GNU C library only.
    """
    # The first step of any optimiser imports it, unless another import has done so: 100 MiB.
    importlib.import_module("torch._dynamo")
    # Memory that was freed but kept by the allocator would hide as much of what is used now.
    ctypes.CDLL(None).malloc_trim(0)
    # Makes the present size the peak.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_memory()
    result = function()
    return result, _peak_memory() - before


def _peak_memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def work_apart(options, **environment):
    """Run the calling script with ``--work OPTIONS`` in a new process; return what it prints last.

    Parameters
    ----------
    options : dict
        For JSON; ``threads`` is the number of OpenMP's.
    **environment
        Further variables.
    """
    variables = os.environ | {"OMP_NUM_THREADS": str(options["threads"])} | environment
    command = [sys.executable, sys.argv[0], "--work", json.dumps(options)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{options} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_script(main, work):
    """Run a script: `work` with its options where `work_apart` has called it, else `main`."""
    if sys.argv[1:2] == ["--work"]:
        work(json.loads(sys.argv[2]))
    else:
        main()


def timed(function):
    """Return the seconds that a call takes, with what it has queued on a GPU."""
    begin = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def cpu_seconds(function):
    """Return the seconds of CPU that a call takes, which other processes hardly change."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


class Trained(NamedTuple):
    """A generator of series after both stages.

    Parameters
    ----------
    seconds : float
        Of CPU, that training took.
    epochs : dict of str to int
        Passes over the series, by stage.
    transform : callable
        Series to their pooled codes.
    sample : callable
        Labels to a series of each.
    """

    seconds: float
    epochs: dict[str, int]
    transform: Callable
    sample: Callable


def epochs_within(epoch, seconds):
    """Return how many epochs take so many seconds of CPU, from a few after a warm-up."""
    epoch()
    spent, n = 0.0, 0
    while spent < min(2.0, seconds / 8) or n < 3:
        spent += cpu_seconds(epoch)
        n += 1
    return max(1, round(seconds * n / spent))


def sampler_by_class(draw, y):
    """Return a function of labels from one that draws so many series of the i-th class."""
    classes = np.unique(y)

    def sample(labels):
        rows = [np.flatnonzero(labels == label) for label in classes]
        drawn = [draw(len(which), i) for i, which in enumerate(rows) if len(which)]
        return np.concatenate(drawn)[np.argsort(np.concatenate(rows))]

    return sample


def probe_accuracy(model, X_train, y_train, X_test, y_test, random_state=0):
    """Return the accuracy of a linear SVM on features min-max scaled to [-1, 1]."""
    probe = make_pipeline(
        MinMaxScaler((-1, 1)), LinearSVC(max_iter=50_000, random_state=random_state)
    )
    probe.fit(model.transform(X_train), y_train)
    return probe.score(model.transform(X_test), y_test)


def load_ucr(folder, name):
    """Return ``X_train, y_train, X_test, y_test`` of the original split, series 2-D.

    Trace comes with tslearn where the folder has no file of it.
    """
    if name == "Trace" and not Path(folder, "Trace.npz").exists():
        from tslearn.datasets import CachedDatasets

        X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
        return X_train[..., 0], y_train, X_test[..., 0], y_test
    with np.load(folder / f"{name}.npz") as data:
        X_train, y_train, X_test, y_test = (
            data[key] for key in ("X_train", "y_train", "X_test", "y_test")
        )
    return X_train.reshape(len(X_train), -1), y_train, X_test.reshape(len(X_test), -1), y_test


def split_training(X, y, random_state, **sizes):
    """Return ``X_train, y_train, X_rest, y_rest`` of a training split, stratified."""
    # Classes of one series cannot be split.
    classes, counts = np.unique(y, return_counts=True)
    keep = np.isin(y, classes[counts > 1])
    X, X_rest, y, y_rest = train_test_split(
        X[keep], y[keep], stratify=y[keep], random_state=random_state, **sizes
    )
    return X, y, X_rest, y_rest


def folds_of(y, max_series, n_folds):
    """Return the first `n_folds` of three stratified folds, of at most so many series."""
    pick = np.random.default_rng(0).permutation(len(y))[:max_series]
    folds = StratifiedKFold(3, shuffle=True, random_state=0).split(pick, y[pick])
    return [(pick[train], pick[test]) for train, test in itertools.islice(folds, n_folds)]


def splits_of(dataset, options):
    """Yield the name and seed of each split of a UCR set, as `splits_within` does."""
    return splits_within(load_ucr(options.data, dataset), options, options.max_series)


def to_do(methods, options, output):
    """Yield what the output does not hold yet: the data set, the split's name and seed, and so on.

    Parameters
    ----------
    methods : iterable of str
    options : Namespace
        With the data sets, and as `splits_of` takes.
    output : Results

    Yields
    ------
    dataset, label : str
    seed : int
    split : tuple of ndarray
    method : str
    """
    for dataset in options.datasets:
        for label, seed, split in splits_of(dataset, options):
            for method in methods:
                if not output.holds(dataset, method, label):
                    yield dataset, label, seed, split, method


def splits_within(data, options, max_series):
    """Yield the name and seed of each split, and its series with their labels.

    With `options.test` the original split for each seed, otherwise folds of its training part, of
    at most so many series. Series of unequal lengths are a list.
    """
    X, y, X_test, y_test = data
    if options.test:
        for seed in range(options.seeds):
            yield seed, seed, (X, y, X_test, y_test)
        return
    for fold, (train, test) in enumerate(folds_of(y, max_series, options.folds)):
        some, rest = (
            [X[i] for i in rows] if isinstance(X, list) else X[rows] for rows in (train, test)
        )
        yield f"fold {fold}", 0, (some, y[train], rest, y[test])


def fitted_tokenizer(X, params, cache=None):
    """Return a default transformer fitted on `X`, from the cache where it holds one."""
    transformer = NCVQVAETransformer(random_state=0).set_params(**params).set_params(device="cpu")
    # All of them, so that scripts that name more or fewer of the defaults share a fit.
    return joblib.Memory(cache, verbose=0).cache(_fit_tokenizer)(X, transformer.get_params())


def _fit_tokenizer(X, params):
    return NCVQVAETransformer(**params).fit(X)


def epochs_of(n_steps, n, batch_size):
    """Return how many passes over `n` series make about so many optimiser steps."""
    return math.ceil(n_steps / math.ceil(n / batch_size))


def repeat_labels(y, least):
    """Return the labels as often as it takes to have at least so many."""
    return np.tile(y, math.ceil(least / len(y)))


def describe_change(change):
    """Return the parameters that differ from the default, as code in Markdown."""
    return ", ".join(f"`{key}={value!r}`" for key, value in change.items()) or "default"


def mean_and_spread(values, digits=3):
    """Format the mean and standard deviation of some figures."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def table_lines(header, rows):
    """Return the lines of a markdown table."""
    rows = (header, ["---"] * len(header), *rows)
    return ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def print_table(header, rows):
    """Print a markdown table."""
    print(*table_lines(header, rows), sep="\n")
