"""Memory that `fit`, `transform` and `sample` take on series that are mapped from a file.

Writes random walks to a file of 2 GB, 1,000,000 of 500 steps in single precision, maps it, and
measures in a process of its own what a small generator takes beyond its imports. Training stops
after a number of steps, which take the same memory each; all else goes through all series.

Memory is the process's own (RssAnon, looked at every few milliseconds). Pages of the mapped file
are counted apart: the kernel takes them back when it needs memory, as it does with any file.

    python examples/benchmarks/memory_map.py
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from common import Results, bare_parser, describe_machine, print_table

# Series that are written at once.
N_AT_ONCE = 10_000


def write_series(path, n, length):
    """Write random walks to a file, some at a time."""
    rng = np.random.default_rng(0)
    series = np.lib.format.open_memmap(path, "w+", np.float32, (n, length))
    for start in range(0, n, N_AT_ONCE):
        part = series[start : start + N_AT_ONCE]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32).cumsum(axis=1)
    series.flush()


def own_memory():
    """Return the mebibytes of a process's own memory, and those of files that it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return [int(found[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")]


class Watch:
    """The most memory that is taken in a block, beyond `before`."""

    def __init__(self, before):
        self.before, self.peak = before, [0.0, 0.0]

    def __enter__(self):
        self.begin = time.perf_counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.over.wait(0.003):
            self.peak = np.maximum(self.peak, np.subtract(own_memory(), self.before)).tolist()

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()
        self.seconds = time.perf_counter() - self.begin

    def figures(self):
        return {"MiB": self.peak[0], "MiB of the file": self.peak[1], "seconds": self.seconds}


def work(path, n_steps, n_samples):
    """Print what each task takes."""
    import torch._dynamo  # noqa: F401 - the first step of any optimiser imports it: 100 MiB
    from skorch.callbacks import Callback

    from skncvqvae import AutoregressiveTokenPrior, NCVQVAEGenerator, NCVQVAETransformer

    class StopSoon(Callback):
        def on_train_begin(self, net, **kwargs):
            self.steps_ = 0

        def on_batch_end(self, net, training, **kwargs):
            self.steps_ += training
            if self.steps_ == n_steps:
                raise KeyboardInterrupt

    stop = {"callbacks": [StopSoon()], "max_epochs": 1, "device": "cpu"}
    sizes = {"code_dim": 16, "n_res_blocks": 0, "downsampled_width": 16, "projector_dim": 32}
    transformer = NCVQVAETransformer("histogram", **sizes, **stop)
    prior = AutoregressiveTokenPrior(hidden_dim=32, n_layers=1, **stop)
    generator = NCVQVAEGenerator(transformer, prior, random_state=0)
    X = np.load(path, mmap_mode="r")
    generator.set_params(transformer__verbose=1)

    before = own_memory()
    figures = {}
    with Watch(before) as watch:
        generator.fit(X)
    figures["fit"] = watch.figures()
    with Watch(before) as watch:
        made = generator.transformer_.transform(X)
    figures["transform"] = watch.figures() | {"MiB returned": made.nbytes / 2**20}
    del made
    with Watch(before) as watch:
        made, _ = generator.sample(n_samples)
    figures["sample"] = watch.figures() | {"MiB returned": made.nbytes / 2**20}
    print(json.dumps(figures))


def main():
    """Measure for each number of series; print and keep the figures."""
    p = bare_parser(__doc__)
    p.add_argument("--series", type=int, nargs="+", default=[62_500, 250_000, 1_000_000])
    p.add_argument("--length", type=int, default=500)
    p.add_argument("--steps", type=int, default=100, help="training steps in each stage")
    p.add_argument("--samples", type=int, default=20_000)
    p.add_argument("--folder", help="where to write the series; they are deleted afterwards")
    p.add_argument("--threads", type=int, default=1)
    options = p.parse_args()
    print(describe_machine())
    output = Results(options.output)
    rows = []
    for n in options.series:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "series.npy"
            write_series(path, n, options.length)
            command = [sys.executable, __file__, "--work", path, options.steps, options.samples]
            environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
            done = subprocess.run(
                list(map(str, command)),
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            size = path.stat().st_size / 2**20
        for task, figures in json.loads(done.stdout.splitlines()[-1]).items():
            figures["MiB of series"] = size
            output.add("random walks", task, figures, 0, size=n)
            rows.append(
                [
                    f"{n:,}",
                    f"{size:.0f}",
                    task,
                    *(f"{figures[k]:.0f}" for k in ("MiB", "MiB of the file", "seconds")),
                ]
            )
        print_table(["series", "MiB", "task", "own MiB", "MiB of the file", "seconds"], rows[-3:])
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
