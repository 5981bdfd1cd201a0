"""Growth of time and memory with the number of series, their length and their channels.

Each point is a process of its own, on random walks: a pass of training, `transform` and sampling
with the defaults otherwise. Prints the points and the slopes of the upper half in log-log terms
(1 is linear), and saves the plot. Memory is what a task takes at most beyond what there was before
it, its result included.

    python examples/benchmarks/growth.py --plot docs/images/growth.png

With ``--channels`` something else: CPU seconds and memory of fits of the default generator's two
stages, to 200 series of 100 steps with so many channels, of `transform`, and of sampling as many
series. A fit is timed with one pass and with three. Default fits follow from both, for what is not
a pass is done once, and their number of passes does not depend on the channels; it is that of a
whole fit to one channel, whose seconds are told beside what follows for it. Rows that exist in
``--output`` are kept.

    python examples/benchmarks/growth.py --channels 1 8 64 256 --threads 1 \\
        --output examples/benchmarks/results/growth_channels.csv
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from common import (
    Results,
    bare_parser,
    cpu_seconds,
    describe_machine,
    print_table,
    run_script,
    timed,
    used_memory,
    work_apart,
)
from sklearn.frozen import FrozenEstimator

# Defaults of the axes that stand still, and the points of the one that grows.
BASE = {"series": 128, "length": 128, "channels": 1}
POINTS = {
    "series": [100, 316, 1000, 3162, 10_000, 31_623, 100_000],
    "length": [64, 256, 1024, 4096, 16_384],
    "channels": [1, 4, 16, 64],
}
TASKS = ["stage 1", "transform", "stage 2", "sampling"]
# Of the fits with few and many channels.
CHANNELS_BASE = {"series": 200, "length": 100}
PASSES = (1, 3)


def work(shape):
    """Measure one point; print seconds (in training, of a pass) and mebibytes of each task."""
    from skncvqvae import MaskedTokenPrior, NCVQVAEGenerator, NCVQVAETransformer

    rng = np.random.default_rng(0)
    size = shape["series"], shape["channels"], shape["length"]
    X = rng.standard_normal(size, dtype=np.float32)
    np.cumsum(X, axis=2, out=X)
    params = {"device": "cpu", "random_state": 0}
    transformer = NCVQVAETransformer(max_epochs=1, **params)
    prior = MaskedTokenPrior(max_epochs=1, device="cpu")
    generator = NCVQVAEGenerator(FrozenEstimator(transformer), prior, **params)

    tasks = {
        "stage 1": lambda: transformer.fit(X).history_[0]["dur"],
        "transform": lambda: timed(lambda: transformer.transform(X)),
        "stage 2": lambda: generator.fit(X).prior_.history_[0]["dur"],
        "sampling": lambda: timed(lambda: generator.sample(len(X))),
    }
    seconds, memory = zip(*(used_memory(tasks[task]) for task in TASKS), strict=True)
    print(json.dumps({"seconds": seconds, "memory": memory}))


def work_on_channels(shape):
    """Measure fits of `shape["passes"]` passes, or default ones where that is "auto"."""
    from skncvqvae import NCVQVAEGenerator

    torch.set_num_threads(shape["threads"])
    rng = np.random.default_rng(0)
    X = rng.standard_normal(
        (shape["series"], shape["channels"], shape["length"]), dtype=np.float32
    ).cumsum(axis=2)
    template = NCVQVAEGenerator(device="cpu").set_params(
        transformer__max_epochs=shape["passes"],
        transformer__random_state=0,
        prior__max_epochs=shape["passes"],
    )
    transformer = template.transformer
    generator = NCVQVAEGenerator(FrozenEstimator(transformer), template.prior, random_state=0)
    tasks = {
        "stage 1": lambda: transformer.fit(X),
        "transform": lambda: transformer.transform(X),
        "stage 2": lambda: generator.fit(X),
        "sampling": lambda: generator.sample(len(X)),
    }
    seconds, memory = zip(
        *(used_memory(lambda task=task: cpu_seconds(tasks[task])) for task in TASKS), strict=True
    )
    passes = {
        "stage 1": len(transformer.history_),
        "stage 2": len(generator.prior_.history_),
    }
    found = {
        "seconds": dict(zip(TASKS, seconds, strict=True)),
        "MiB": dict(zip(TASKS, memory, strict=True)),
    }
    print(json.dumps(found | {"passes": passes, "tokens": transformer.n_tokens_}))


def channels(options):
    """Measure fits with few and many channels; print the table."""
    output = Results(options.output, resume=True)
    base = CHANNELS_BASE | {"threads": options.threads}
    whole = work_apart(base | {"channels": 1, "passes": "auto"})
    rows = []
    for n in options.channels:
        few, more = (work_apart(base | {"channels": n, "passes": passes}) for passes in PASSES)
        figures = {"tokens": few["tokens"]}
        for task in TASKS:
            seconds = more["seconds"][task]
            if task in whole["passes"]:
                a_pass = (seconds - few["seconds"][task]) / (PASSES[1] - PASSES[0])
                seconds += a_pass * (whole["passes"][task] - PASSES[1])
                figures[f"{task}, a pass (CPU s)"] = a_pass
            figures[f"{task} (CPU s)"] = seconds
            figures[f"{task} (MiB)"] = more["MiB"][task]
        output.add("random walks", "from short fits", figures, 0, channels=n)
        if n == 1:
            measured = {f"{task} (CPU s)": whole["seconds"][task] for task in TASKS}
            output.add("random walks", "whole fit", measured, 0, channels=1)
            print("whole fit to one channel:", measured)
        rows.append([n, *(f"{value:.3g}" for value in figures.values())])
    print_table(["channels", *figures], rows)


def slope(x, y):
    """Return the slope of log y over log x in the upper half of the points."""
    upper = slice((len(x) - 1) // 2, None)
    return np.polyfit(np.log(x[upper]), np.log(y[upper]), 1)[0]


def keep(output, axis, x, columns, slopes):
    """Add the points and slopes of an axis to the results."""
    kinds = [(task, metric) for metric in ("seconds", "MiB") for task in TASKS]
    for (task, metric), column, value in zip(kinds, columns, slopes, strict=True):
        for size, y in zip(x, column, strict=True):
            output.add("random walks", task, {metric: y}, 0, axis=axis, size=size)
        slope_of = {f"slope of {metric}": value}
        output.add("random walks", task, slope_of, 0, axis=axis, size="")


def draw(found, path):
    """Save a row of log-log plots, seconds above and memory below."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        2, len(found), figsize=(10, 6), sharex="col", sharey="row", layout="constrained"
    )
    for (axis, points), (above, below) in zip(found.items(), axes.T, strict=True):
        x = POINTS[axis][: len(points)]
        for ax, quantity in ((above, "seconds"), (below, "memory")):
            for task, y in zip(TASKS, np.transpose([p[quantity] for p in points]), strict=True):
                ax.loglog(x, y, marker="o", label=task)
        below.set_xlabel(axis)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("memory (MiB)")
    axes[0, 0].legend()
    for ax in axes.flat:
        ax.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)


def main():
    """Measure all points; print tables, save the plot."""
    p = bare_parser(__doc__)
    p.add_argument("--plot", type=Path)
    p.add_argument("--axes", nargs="+", default=list(POINTS), choices=POINTS)
    p.add_argument("--most", type=int, default=100_000, help="leave out points above it")
    p.add_argument("--channels", type=int, nargs="+", help="default fits with so many instead")
    p.add_argument("--threads", type=int, default=2)
    options = p.parse_args()
    base = BASE | {"threads": options.threads}
    print(describe_machine())
    if options.channels:
        channels(options)
        return
    output = Results(options.output)
    found = {}
    for axis in options.axes:
        x = [point for point in POINTS[axis] if point <= options.most]
        found[axis] = [work_apart(base | {axis: point}) for point in x]
        print(f"\n{base | {axis: 'below'}}\n")
        rows = [
            [point, *(f"{s:.3g}" for s in p["seconds"]), *(f"{m:.0f}" for m in p["memory"])]
            for point, p in zip(x, found[axis], strict=True)
        ]
        columns = np.transpose([p["seconds"] + p["memory"] for p in found[axis]])
        slopes = [slope(np.array(x), column) for column in columns]
        rows.append(["slope", *(f"{value:.2f}" for value in slopes)])
        keep(output, axis, x, columns, slopes)
        units = [f"{task} ({unit})" for unit in ("s", "MiB") for task in TASKS]
        print_table([axis, *units], rows)
        sys.stdout.flush()
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    run_script(main, lambda point: (work_on_channels if "passes" in point else work)(point))
