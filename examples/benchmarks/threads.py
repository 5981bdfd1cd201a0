"""How long a fit takes on one thread and on two, in single precision and bfloat16.

A fit of a default generator, both stages, by the clock and in CPU seconds, each in a process of
its own and in turns. Once alone on the machine, and once beside as many busy processes as leave
half of its processors free. Nothing else may run meanwhile.

    python examples/benchmarks/threads.py --output examples/benchmarks/results/threads.csv
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from common import Results, cpu_seconds, load_ucr, parser, print_table, run_script, work_apart

DATASETS = ["GunPoint", "ItalyPowerDemand", "FacesUCR"]
PRECISIONS = {"float32": False, "bfloat16": True}
BESIDE = {"alone": 0, "beside others": os.cpu_count() // 2}
BUSY = [sys.executable, "-c", "while True: pass"]


def work(options):
    """Fit one generator; print the seconds it took."""
    from skncvqvae import NCVQVAEGenerator

    X, y, *_ = load_ucr(Path(options["data"]), options["dataset"])
    generator = NCVQVAEGenerator(device="cpu", random_state=0)
    for stage in ("transformer", "prior"):
        epochs = {} if options["epochs"] is None else {f"{stage}__max_epochs": options["epochs"]}
        mixed = {f"{stage}__mixed_precision": PRECISIONS[options["precision"]]}
        generator.set_params(**mixed, **epochs)
    begin = time.perf_counter()
    seconds = cpu_seconds(lambda: generator.fit(X, y))
    print(json.dumps({"seconds": time.perf_counter() - begin, "CPU seconds": seconds}))


@contextlib.contextmanager
def busy(n):
    """Keep as many processors busy as there are processes."""
    processes = [subprocess.Popen(BUSY) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main():
    """Print a table of the seconds of each fit."""
    p = parser(__doc__, DATASETS, threads=[1, 2], seeds=False)
    p.add_argument("--rounds", type=int, default=2)
    options = p.parse_args()
    output, rows = Results(options.output, resume=True), []
    shared = {"data": str(options.data), "epochs": options.epochs}
    for turn, dataset, (beside, n) in itertools.product(
        range(options.rounds), options.datasets, BESIDE.items()
    ):
        for precision, threads in itertools.product(PRECISIONS, options.threads):
            method = f"{precision}, {beside}"
            if output.holds(dataset, method, turn, threads=threads):
                continue
            how = {"dataset": dataset, "precision": precision, "threads": threads}
            with busy(n):
                found = work_apart(how | shared)
            output.add(dataset, method, found, turn, threads=threads)
            rows.append([dataset, method, threads, *(f"{value:.1f}" for value in found.values())])
            print("#", rows[-1], flush=True)
    print_table(["data set", "", "threads", "seconds", "CPU seconds"], rows)


if __name__ == "__main__":
    run_script(main, work)
