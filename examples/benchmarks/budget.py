"""Quality against CPU seconds: ours at several budgets, the authors' code and TimeVQVAE 1.0.1.

Both stages are trained on two thirds of a training split and judged with the last third. Each
training is a process of its own with one thread; contenders take turns, so that what else the
machine does falls on all alike. Ours is the default generator, with the epochs of both stages
scaled from what its defaults make. The others train whole epochs until half of the seconds is used
in each stage; their learning-rate schedules are set for as many. A first epoch or more of another
model, which warms up and is timed, counts for nobody. Told are:

- CPU seconds: of training, both stages;
- TSTR: accuracy on held-out series of a MiniROCKET-type classifier trained on 500 samples or more;
- FID, coverage: of as many samples as there are held-out series, by random kernels, the mean of
  five draws;
- probe: accuracy of a linear SVM on the average-pooled codes; of TimeVQVAE, those of both bands.

"real series" are the training series in the place of samples. What ``--output`` holds already is
not run again, so that the picture can be drawn anew.

    python examples/benchmarks/budget.py --authors ../authors --timevqvae ../timevqvae \\
        --output examples/benchmarks/results/budget.csv --plot docs/images/budget.png
"""

import importlib
import itertools
import json
from fractions import Fraction
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from common import (
    Results,
    describe_machine,
    folds_of,
    load_ucr,
    parser,
    print_table,
    probe_accuracy,
    repeat_labels,
    run_script,
    split_options,
    work_apart,
)

OURS, REAL = "ours", "real series"
# The self-supervised loss of each peer: our default's; TimeVQVAE has none.
PEERS = {"authors": "barlowtwins", "TimeVQVAE": None}
SCALES = ["1/8", "1/4", "1/2", "1", "2"]
SECONDS = [15, 60, 300]
N_DRAWS = 5
N_SAMPLES = 500
# Metrics of the picture, with the titles of their axes.
SHOWN = {"TSTR": "TSTR (accuracy)", "FID": "FID (log)"}


def judge(split, draws, X_new, y_new, seed):
    """Return the figures of labelled series, and means over draws of some without labels."""
    from skncvqvae.metrics import coverage, frechet_distance, tstr_score

    _, _, X_test, y_test = split
    return {
        "TSTR": tstr_score(X_test, y_test, X_new, y_new, random_state=seed),
        "FID": float(np.mean([frechet_distance(X_test, drawn) for drawn in draws])),
        "coverage": float(np.mean([coverage(X_test, drawn) for drawn in draws])),
    }


def judge_real(split, seed):
    """Return the figures of the training series themselves."""
    X, y, X_test, _ = split
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(X)[: len(X_test)] for _ in range(N_DRAWS)]
    return judge(split, draws, X, y, seed)


def judge_samples(split, trained, seed):
    """Return the figures of what a trained contender samples, and of its codes."""
    _, y, X_test, _ = split
    rng = np.random.default_rng(seed)
    draws = [trained.sample(rng.choice(y, len(X_test))) for _ in range(N_DRAWS)]
    labels = repeat_labels(y, N_SAMPLES)
    found = judge(split, draws, trained.sample(labels), labels, seed)
    return found | {"probe": probe_accuracy(trained, *split, seed)}


def train(options, X, y):
    """Return what a contender has learnt."""
    contender, seed = options["contender"], options["seed"]
    if contender == OURS:
        return importlib.import_module("_ours").train(X, y, options["epochs"], seed)
    module = importlib.import_module(f"_{contender.lower()}")
    checkout = Path(options["checkout"])
    return module.train(checkout, X, y, PEERS[contender], options["seconds"], seed)


def work(options):
    """Train one contender and judge it; print the figures as JSON."""
    torch.set_num_threads(options["threads"])
    X, y, *_ = load_ucr(Path(options["data"]), options["dataset"])
    kept, held_out = folds_of(y, options["max_series"], 3)[options["fold"]]
    split = X[kept], y[kept], X[held_out], y[held_out]
    if options["contender"] == REAL:
        print(json.dumps(judge_real(split, options["seed"])))
        return
    trained = train(options, *split[:2])
    found = {"CPU seconds": trained.seconds}
    found |= {f"epochs, {stage}": n for stage, n in trained.epochs.items()}
    print(json.dumps(found | judge_samples(split, trained, options["seed"])))


def in_turn(options):
    """Return contenders with their budgets, in turn; the default's comes before its multiples."""
    ours = [(OURS, scale) for scale in sorted(options.scales, key=lambda s: s != "1")]
    checkouts = {"authors": options.authors, "TimeVQVAE": options.timevqvae}
    peers = [
        [(name, f"{seconds:g} s") for seconds in options.seconds]
        for name, checkout in checkouts.items()
        if checkout is not None
    ]
    turns = itertools.chain.from_iterable(itertools.zip_longest(ours, *peers))
    return [(REAL, ""), *(turn for turn in turns if turn is not None)]


def budget_of(contender, budget, default, options):
    """Return what `work` has to know of a budget; `default` has the figures of our default."""
    if contender == REAL or budget == "1":
        return {"epochs": None}
    if contender == OURS:
        epochs = [default[f"epochs, stage {stage}"] for stage in (1, 2)]
        return {"epochs": [max(1, round(Fraction(budget) * n)) for n in epochs]}
    checkout = options.authors if contender == "authors" else options.timevqvae
    return {"seconds": float(budget.removesuffix(" s")), "checkout": str(checkout)}


def figures_of(output, **keys):
    """Return the figures by metric of the rows with these values."""
    keys = {key: str(value) for key, value in keys.items()}
    rows = (row for row in output.rows if all(str(row[key]) == keys[key] for key in keys))
    return {row["metric"]: float(row["value"]) for row in rows}


def run(dataset, fold, seed, options, output):
    """Measure all contenders on one split."""
    keys = {"dataset": dataset, "seed": seed, "fold": fold}
    shared = {
        "data": str(options.data),
        "threads": options.threads,
        "max_series": options.max_series,
    }
    for contender, budget in in_turn(options):
        if output.holds(method=contender, budget=budget, **keys):
            continue
        default = figures_of(output, method=OURS, budget="1", **keys)
        how = budget_of(contender, budget, default, options)
        found = work_apart({"contender": contender, **keys, **shared, **how})
        output.add(method=contender, figures=found, budget=budget, **keys)
        print(f"# {dataset}, {contender}, {budget}:", found, flush=True)


def sort(rows):
    """Return rows by data set, contender and budget, instead of in turn."""
    data = pd.DataFrame(rows).astype({"value": float})
    methods = [REAL, OURS, *PEERS]
    keys = pd.DataFrame(
        {
            "dataset": pd.factorize(data["dataset"])[0],
            "method": data["method"].map(methods.index),
            "fold": data["fold"].astype(int),
            "seed": data["seed"].astype(int),
            "budget": [float(Fraction(b.removesuffix(" s") or 0)) for b in data["budget"]],
        }
    )
    order = keys.sort_values(["dataset", "method", "budget", "fold", "seed"], kind="stable")
    return data.loc[order.index]


def tick_thirds(axis):
    """Label 1, 3, 10, 30, ... of a logarithmic axis."""
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 3)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def draw(data, path):
    """Save a column of plots for each data set: quality over seconds, a line a contender."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["font.size"] = 12
    keys = ["dataset", "method", "budget"]
    means = data.pivot_table("value", keys, "metric", sort=False).reset_index()
    datasets = data["dataset"].unique()
    fig, axes = plt.subplots(
        len(SHOWN),
        len(datasets),
        figsize=(10, 6.4),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for dataset, column in zip(datasets, axes.T, strict=True):
        of_set = means[means["dataset"] == dataset].sort_values("CPU seconds")
        for (metric, label), ax in zip(SHOWN.items(), column, strict=True):
            for method, marker in ((OURS, "o"), ("authors", "s"), ("TimeVQVAE", "^")):
                line = of_set[of_set["method"] == method]
                ax.plot(line["CPU seconds"], line[metric], marker=marker, label=method)
            for value in of_set.loc[of_set["method"] == REAL, metric]:
                ax.axhline(value, color="grey", linestyle="--", label=REAL)
            ax.set_xscale("log")
            tick_thirds(ax.xaxis)
            ax.grid(alpha=0.3)
            if ax in axes[:, 0]:
                ax.set_ylabel(label)
        column[1].set_yscale("log")
        tick_thirds(column[1].yaxis)
        column[0].set_title(dataset)
        column[-1].set_xlabel("CPU seconds, one thread (log)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=100)


def main():
    """Measure what is missing; print a table, save the plot."""
    datasets = ["ItalyPowerDemand", "GunPoint", "SyntheticControl"]
    p = parser(__doc__, datasets, threads=1, epochs=False)
    p.set_defaults(seeds=1)
    p.add_argument("--authors", type=Path, help="checkout of Generative-SSL-VQVAE-modelling")
    p.add_argument("--timevqvae", type=Path, help="checkout of TimeVQVAE 1.0.1")
    p.add_argument("--scales", nargs="+", default=SCALES, help="of our epochs; with 1")
    p.add_argument("--seconds", nargs="+", type=float, default=SECONDS, help="of the others")
    p.add_argument("--folds", nargs="+", type=int, default=[0], choices=range(3))
    split_options(p, "max-series")
    p.add_argument("--plot", type=Path, help="PNG file")
    options = p.parse_args()
    print(describe_machine())
    output = Results(options.output, resume=True)
    for dataset, fold, seed in itertools.product(
        options.datasets, options.folds, range(options.seeds)
    ):
        run(dataset, fold, seed, options, output)
    data = sort(output.rows)
    if options.output:
        data.to_csv(options.output, index=False)
    data = data[data["dataset"].isin(options.datasets)]
    keys = ["dataset", "method", "budget"]
    table = data.pivot_table("value", keys, "metric", sort=False)
    rows = [
        [*key, *("" if np.isnan(value) else f"{value:.3f}" for value in row)]
        for key, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    print_table([*keys, *table.columns], rows)
    if options.plot:
        draw(data, options.plot)


if __name__ == "__main__":
    run_script(main, work)
