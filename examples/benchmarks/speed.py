"""Training and sampling speed of ours, the authors' code and TimeVQVAE, side by side.

Each measurement is a process of its own; contenders take turns within a round, so that what else
the machine does falls on all of them alike. Reported are medians over rounds of series a second
(the median epoch, or the one call, after a warm-up) and of the memory that training or
sampling takes beyond imports, data, and what was trained before. --n series drawn at random are
trained on. Each contender does what its authors do: the peers' stage 2 encodes the series in each
epoch, ours once, before the first; the authors' sampling makes a pass without class in each step,
ours, like TimeVQVAE's, does not when the guidance scale is 1. The peers' modules are made before
memory is measured, ours within.

    python examples/benchmarks/speed.py --authors CHECKOUT --timevqvae CHECKOUT
"""

import importlib
import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import (
    Results,
    describe_machine,
    load_ucr,
    parser,
    print_table,
    run_script,
    timed,
    used_memory,
    work_apart,
)

SSL_METHODS = {"Barlow Twins": "barlowtwins", "VIbCReg": "vibcreg", "no SSL": None}
PEERS = ["authors", "TimeVQVAE"]
OURS = ["reference", "reference bf16", "default", "default bf16"]
# TimeVQVAE has no self-supervised loss.
TASKS = {
    "stage 1, Barlow Twins": ["authors", *OURS],
    "stage 1, VIbCReg": ["authors", *OURS],
    "stage 1, no SSL": [*PEERS, *OURS],
    "stage 2": [*PEERS, *OURS],
    "sampling": [*PEERS, *OURS],
}
# The first call warms up and is not counted; TimeVQVAE samples whole batches of 256.
N_SAMPLES = [256, 1024]


def _prepare(options, X, y, n_all):
    """Return a function that returns the seconds of each lap, the first a warm-up.

    `n_all` is the size of the whole training split, which our default sizes go by.
    """
    task, contender = options["task"], options["contender"]
    stage, _, label = task.partition(", ")
    if contender in PEERS:
        module = importlib.import_module(f"_{contender.lower()}")
        arguments = [Path(options[contender]), X, y]
    else:
        module = importlib.import_module("_ours")
        preset, _, precision = contender.partition(" ")
        arguments = [X, y, preset, precision == "bf16", n_all]
    if stage == "sampling":
        sample = module.sampling(*arguments)
        return lambda: [timed(partial(sample, n)) for n in N_SAMPLES]
    if stage == "stage 2":
        lap = module.stage2(*arguments)
    else:
        lap = module.stage1(*arguments, SSL_METHODS[label])
    n_laps = 1 + options["laps"]
    if contender in PEERS:
        return lambda: [timed(lap) for _ in range(n_laps)]
    return lambda: lap(n_laps)


def work(options):
    """Measure one contender; print speed and memory as JSON."""
    torch.set_num_threads(options["threads"])
    X, y, *_ = load_ucr(Path(options["data"]), options["dataset"])
    chosen = np.random.default_rng(0).permutation(len(X))[: options["n"]]
    run = _prepare(options, X[chosen], y[chosen], n_all=len(X))
    laps, memory = used_memory(run)
    n = N_SAMPLES[-1] if options["task"] == "sampling" else len(chosen)
    print(json.dumps({"speed": n / float(np.median(laps[1:])), "memory": memory}))


def main():
    """Measure everything in turn and print a table for each number of threads."""
    p = parser(__doc__, ["ECG5000", "FordA"], threads=[1, 2], seeds=False, epochs=False)
    p.add_argument("--authors", type=Path, help="checkout of Generative-SSL-VQVAE-modelling")
    p.add_argument("--timevqvae", type=Path, help="checkout of TimeVQVAE 1.0.1")
    p.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--laps", type=int, default=3, help="epochs timed in a process")
    p.add_argument("--n", type=int, default=256, help="series to train on")
    options = p.parse_args()
    print(describe_machine())
    checkouts = {"authors": options.authors, "TimeVQVAE": options.timevqvae}
    given = {name: str(path) for name, path in checkouts.items() if path is not None}
    shared = {"laps": options.laps, "n": options.n, "data": str(options.data), **given}
    output = Results(options.output)
    results = {}
    for round_, threads, task, name in itertools.product(
        range(options.rounds), options.threads, options.tasks, options.datasets
    ):
        for contender in TASKS[task]:
            if contender in PEERS and contender not in given:
                continue
            key = {"threads": threads, "task": task, "dataset": name, "contender": contender}
            found = work_apart(key | shared)
            results.setdefault(tuple(key.values()), []).append(found)
            figures = {"series/s": found["speed"], "MiB": found["memory"]}
            output.add(name, contender, figures, round_, task=task, threads=threads)
            print(f"# round {round_}, {key}: {found}", flush=True)
    for threads in options.threads:
        rows = []
        for task in options.tasks:
            for name in options.datasets:
                rows += _rows(task, name, threads, results, output)
        print(f"\n{threads} threads\n")
        print_table(["task", "data set", "", "series/s", "times the authors", "MiB"], rows)


def _rows(task, name, threads, results, output):
    """Return the table's rows of one task on one data set; keep their ratios."""
    rows = []
    base = None
    for contender in TASKS[task]:
        found = results.get((threads, task, name, contender))
        if found is None:
            continue
        speed = np.median([f["speed"] for f in found])
        memory = np.median([f["memory"] for f in found])
        base = speed if contender == "authors" else base
        ratio = "" if base is None else f"{speed / base:.1f}"
        if base is not None:
            times = {"times the authors": speed / base}
            output.add(name, contender, times, task=task, threads=threads)
        rows.append([task, name, contender, f"{speed:.0f}", ratio, f"{memory:.0f}"])
    return rows


if __name__ == "__main__":
    run_script(main, work)
