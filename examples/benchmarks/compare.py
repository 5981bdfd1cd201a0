"""Two checkouts of the package side by side: time, memory and quality of the defaults.

Each fit is a process of its own that imports the package from one of the checkouts. They take
turns, base and new for each data set and seed, so that what else the machine does falls on both
alike. The default transformer and generator are fitted on two thirds of the training split and
judged on the last third, or, by ``--test``, fitted on the whole of it and judged on the test
split. Told are CPU seconds of each stage and of sampling as many series as are held out, the
memory that each takes at most beyond what there was before, reconstruction error relative to the
variance, linear-SVM probe, logistic regression on what `transform` returns by default, Frechet
distance, coverage, TSTR and TRTS by the checkout's own metrics. What ``--output`` holds already is
not run again.

    python examples/benchmarks/compare.py --base ../base --seeds 1
"""

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import torch
from common import (
    Results,
    commit_of,
    cpu_seconds,
    describe_machine,
    folds_of,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    repeat_labels,
    run_script,
    split_options,
    used_memory,
    work_apart,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parents[2]
DATASETS = ["GunPoint", "SyntheticControl", "ECG200", "Plane", "FacesUCR", "ECG5000"]
DATASETS += ["SwedishLeaf", "MiddlePhalanxTW", "ItalyPowerDemand", "WordSynonyms"]
DIGITS = {
    "stage 1 (CPU s)": 1,
    "stage 2 (CPU s)": 1,
    "sampling (CPU s)": 2,
    "stage 1 (MiB)": 0,
    "stage 2 (MiB)": 0,
    "sampling (MiB)": 0,
    "reconstruction error": 4,
    "probe": 3,
    "default and logistic regression": 3,
    "FID": 2,
    "coverage": 3,
    "TSTR": 3,
    "TRTS": 3,
}


def make_generator(package, transformer, seed, epochs):
    """Return a default generator of a fitted transformer, whatever the checkout's API."""
    generator = package.NCVQVAEGenerator(
        FrozenEstimator(transformer), device="cpu", random_state=seed
    )
    if epochs is None:
        return generator
    # Before the prior was an estimator of its own, its parameters were the generator's.
    old = "prior_max_epochs" in inspect.signature(package.NCVQVAEGenerator).parameters
    return generator.set_params(**{"prior_max_epochs" if old else "prior__max_epochs": epochs})


def work(options):
    """Fit both stages once; print the figures as JSON."""
    torch.set_num_threads(options["threads"])
    package = importlib.import_module("skncvqvae")
    metrics = importlib.import_module("skncvqvae.metrics")
    if not Path(package.__file__).is_relative_to(options["checkout"]):
        raise RuntimeError(f"{package.__file__} is not of {options['checkout']}.")
    X, y, X_test, y_test = load_ucr(Path(options["data"]), options["dataset"])
    if not options["test"]:
        ((train, held_out),) = folds_of(y, len(y), 1)
        X, y, X_test, y_test = X[train], y[train], X[held_out], y[held_out]
    seed, epochs = options["seed"], options["epochs"]
    params = {} if epochs is None else {"max_epochs": epochs}
    transformer = package.NCVQVAETransformer(device="cpu", random_state=seed, **params)
    found = {}

    def measure(task, function):
        seconds, found[f"{task} (MiB)"] = used_memory(lambda: cpu_seconds(function))
        found[f"{task} (CPU s)"] = seconds

    measure("stage 1", lambda: transformer.fit(X))
    generator = make_generator(package, transformer, seed, epochs)
    measure("stage 2", lambda: generator.fit(X, y))
    labels = np.random.default_rng(seed).choice(y, len(X_test))
    measure("sampling", lambda: generator.sample(y=labels, random_state=seed))

    scale_and_classify = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier = make_pipeline(FrozenEstimator(transformer), scale_and_classify).fit(X, y)
    found["default and logistic regression"] = classifier.score(X_test, y_test)
    decoded = transformer.inverse_transform(transformer.tokenize(X_test))
    found["reconstruction error"] = float(np.mean((X_test - decoded) ** 2) / X_test.var())
    transformer.set_params(representation="embedding")
    found["probe"] = probe_accuracy(transformer, X, y, X_test, y_test, seed)
    X_new, _ = generator.sample(y=labels, random_state=seed)
    found["FID"] = metrics.frechet_distance(X_test, X_new)
    found["coverage"] = metrics.coverage(X_test, X_new)
    X_new, y_new = generator.sample(y=repeat_labels(y, 500), random_state=seed + 1)
    found["TSTR"] = metrics.tstr_score(X_test, y_test, X_new, y_new, random_state=seed)
    # With the roles exchanged: trained on real series, tested on samples.
    found["TRTS"] = metrics.tstr_score(X_new, y_new, X, y, random_state=seed)
    print(json.dumps(found))


def measure_checkout(checkout, options):
    """Run `work` in a new process that imports the package from `checkout`."""
    return work_apart(options | {"checkout": str(checkout)}, PYTHONPATH=str(checkout))


def make_row(name, metric, digits, runs):
    """Return the table's row of one figure: both checkouts, and what the new one adds."""
    base, new = (np.array([run[metric] for run in runs[label]]) for label in ("base", "new"))
    difference = mean_and_spread(new - base, digits)
    cells = [mean_and_spread(values, digits) for values in (base, new)]
    return [name, metric, *cells, difference, f"{new.mean() / base.mean():.2f}"]


def main():
    """Measure both checkouts in turn and print a table."""
    p = parser(__doc__, DATASETS, threads=1)
    p.add_argument("--base", type=Path, required=True, help="the other checkout")
    split_options(p, "test")
    options = p.parse_args()
    checkouts = {"base": options.base.resolve(), "new": HERE}
    if not options.data.is_dir():
        print(f"No folder {options.data}: Trace, which tslearn has, in place of the data sets.")
        options.datasets = ["Trace"]
    commits = {label: commit_of(checkout) for label, checkout in checkouts.items()}
    print(describe_machine(), f"{options.threads} threads", commits, sep=", ")
    output = Results(options.output, resume=True)
    split = "test" if options.test else "validation"
    shared = {
        "data": str(options.data),
        "threads": options.threads,
        "epochs": options.epochs,
        "test": options.test,
    }
    rows = []
    for name in options.datasets:
        runs = {label: [] for label in checkouts}
        for seed in range(options.seeds):
            for label, checkout in checkouts.items():
                found = output.figures(name, label, seed, split=split)
                if not found:
                    found = measure_checkout(checkout, shared | {"dataset": name, "seed": seed})
                    output.add(name, label, found, seed, split=split, commit=commits[label])
                runs[label].append(found)
                print(f"# {name}, {label}, seed {seed}: {found}", flush=True)
        rows += [make_row(name, metric, digits, runs) for metric, digits in DIGITS.items()]
    print()
    print_table(["data set", "", "base", "new", "new - base", "new / base"], rows)


if __name__ == "__main__":
    run_script(main, work)
