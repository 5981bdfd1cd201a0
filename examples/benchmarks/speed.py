"""Training and sampling speed of ours, the authors' code and TimeVQVAE, side by side.

Each measurement is a process of its own; contenders take turns within a round, so that what else
the machine does falls on all of them alike. Reported are medians over rounds of series a second
(the median epoch, or call, after a warm-up) and of the memory that a contender adds to that of its
imports and data. Data of more than --n series are cut to as many.

    python examples/benchmarks/speed.py --authors CHECKOUT --timevqvae CHECKOUT
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import describe_machine, load_ucr, parser, peak_memory, print_table

SSL = {"barlowtwins": "Barlow Twins", "vibcreg": "VIbCReg", None: "no SSL"}
# Task and contender: what of ours, or of whom else.
TASKS = {
    **{
        f"stage 1, {label}": ["authors", "reference", "reference bf16", "default", "default bf16"]
        for label in SSL.values()
    },
    "stage 2": ["authors", "reference", "reference bf16", "default", "default bf16"],
    "sampling": ["authors", "reference", "reference bf16", "default", "default bf16"],
}
for _task in ("stage 1, no SSL", "stage 2", "sampling"):
    TASKS[_task].insert(1, "TimeVQVAE")
N_SAMPLES = 1024


def _time(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _laps(task, contender, X, y, options):
    """Return seconds of repetitions, the first of them a warm-up."""
    n_laps = options["laps"] + 1
    stage, _, label = task.partition(", ")
    if contender in ("authors", "TimeVQVAE"):
        # Imported here: each needs its checkout, and leaves the process in a state of its own.
        if contender == "authors":
            import _authors as peer
        else:
            import _timevqvae as peer
        checkout = Path(options[contender])
        if stage == "stage 1":
            args = [next(k for k, v in SSL.items() if v == label)]
            lap = peer.stage1(checkout, X, y, *(args if contender == "authors" else []))
        elif stage == "stage 2":
            lap = peer.stage2(checkout, X, y)
        else:
            lap = peer.sampling(checkout, X, y, N_SAMPLES)
        return [_time(lap) for _ in range(n_laps)]

    import _ours

    preset, _, precision = contender.partition(" ")
    mixed = precision == "bf16"
    if stage == "sampling":
        sample = _ours.sampling(X, y, N_SAMPLES, preset, mixed)
        return [_time(sample) for _ in range(n_laps)]
    # Our epochs are short: more of them take no longer than the others' few.
    n_laps = 4 * n_laps
    if stage == "stage 2":
        return _ours.stage2(X, y, n_laps, preset, mixed)
    ssl_method = next(k for k, v in SSL.items() if v == label)
    return _ours.stage1(X, y, n_laps, preset, mixed, ssl_method=ssl_method)


def work(options):
    """Measure one contender; print speed and memory as JSON."""
    torch.set_num_threads(options["threads"])
    X, y, *_ = load_ucr(Path(options["data"]), options["dataset"])
    X, y = X[: options["n"]], y[: options["n"]]
    before = peak_memory()
    laps = _laps(options["task"], options["contender"], X, y, options)
    n = N_SAMPLES if options["task"] == "sampling" else len(X)
    result = {
        "speed": n / float(np.median(laps[1:])),
        "memory": peak_memory() - before,
    }
    print(json.dumps(result))


def measure(options):
    """Run `work` in a new process."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options["threads"])}
    command = [sys.executable, __file__, "--work", json.dumps(options)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{options} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measure everything in turn and print a table for each number of threads."""
    p = parser(__doc__, ["ECG5000", "FordA"], threads=[1, 2])
    p.add_argument("--authors", type=Path, help="checkout of Generative-SSL-VQVAE-modelling")
    p.add_argument("--timevqvae", type=Path, help="checkout of TimeVQVAE 1.0.1")
    p.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--laps", type=int, default=2, help="timed repetitions in a process")
    p.add_argument("--n", type=int, default=256, help="series to train on")
    options = p.parse_args()
    print(describe_machine())
    checkouts = {"authors": options.authors, "TimeVQVAE": options.timevqvae}
    missing = {name for name, path in checkouts.items() if path is None}
    results = {}
    for round_ in range(options.rounds):
        for threads in options.threads:
            for task in options.tasks:
                for name in options.datasets:
                    for contender in TASKS[task]:
                        if contender in missing:
                            continue
                        found = measure(
                            {
                                "task": task,
                                "contender": contender,
                                "dataset": name,
                                "threads": threads,
                                "laps": options.laps,
                                "n": options.n,
                                "data": str(options.data),
                                **{k: str(v) for k, v in checkouts.items()},
                            }
                        )
                        key = threads, task, name, contender
                        results.setdefault(key, []).append(found)
                        print(f"# round {round_}, {key}: {found}", flush=True)
    for threads in options.threads:
        rows = []
        for task in options.tasks:
            for name in options.datasets:
                rows += _rows(task, name, threads, results)
        print(f"\n{threads} threads\n")
        print_table(["task", "data set", "", "series/s", "times the authors", "MiB"], rows)


def _rows(task, name, threads, results):
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
        rows.append([task, name, contender, f"{speed:.0f}", ratio, f"{memory:.0f}"])
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
