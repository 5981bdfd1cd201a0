"""What the defaults reach in how long, both stages, by the authors' protocol.

Fits a generator on the original training split and reports on the test split: accuracy of a
linear SVM on the pooled quantised latent; Frechet distance and inception score of as many samples
as test series, by an FCN trained on the real training split; and CAS, the accuracy of an FCN
trained on samples alone, as many of each class as the training split has and at least 1,000. All
FCNs make the same number of steps. The last rows are yardsticks: the training split itself in the
samples' place, and a MiniROCKET-type classifier trained on it.

    python examples/benchmarks/quality.py
"""

import math
import time

import numpy as np
import torch
from common import describe_machine, load_ucr, mean_and_spread, parser, print_table, probe_accuracy
from joblib import Parallel, delayed
from sklearn.base import clone

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import FCNClassifier, frechet_distance, inception_score, tstr_score

VARIANTS = {
    "default": {},
    "no SSL (naive VQ-VAE)": {"transformer__ssl_method": None},
}
COLUMNS = ["minutes", "probe", "FID", "IS", "CAS"]


def fcn(n, n_steps, seed):
    """Return a classifier that makes about `n_steps` steps on `n` series."""
    batch_size = 16
    epochs = math.ceil(n_steps / math.ceil(n / batch_size))
    return FCNClassifier(epochs, batch_size=batch_size, device="cpu", random_state=seed)


def judge(X, y, X_test, y_test, sample, n_steps, seed):
    """Return FID, inception score and CAS of what `sample`, a function of labels, returns."""
    rng = np.random.default_rng(seed)
    features = fcn(len(X), n_steps, seed).fit(X, y)
    labels = rng.choice(y, len(X_test))
    X_new = sample(labels)
    y_new = np.tile(y, math.ceil(1000 / len(y)))
    return {
        "FID": frechet_distance(X_test, X_new, features=features),
        "IS": inception_score(X, y, X_new, classifier=features),
        "CAS": tstr_score(
            sample(y_new), y_new, X_test, y_test, classifier=fcn(len(y_new), n_steps, seed)
        ),
    }


def run(name, split, variant, seed, options):
    """Fit one generator and return its figures."""
    torch.set_num_threads(options.threads)
    X, y, X_test, y_test = split
    params = VARIANTS[variant]
    if options.epochs is not None:
        params = params | {
            "transformer__max_epochs": options.epochs,
            "prior_max_epochs": options.epochs,
        }
    generator = NCVQVAEGenerator(device="cpu", random_state=seed)
    begin = time.perf_counter()
    generator = clone(generator).set_params(**params).fit(X, y)
    found = {"minutes": (time.perf_counter() - begin) / 60}
    transformer = generator.transformer_.set_params(representation="embedding")
    found["probe"] = probe_accuracy(transformer, X, y, X_test, y_test)

    def sample(labels):
        return generator.sample(len(labels), y=labels, random_state=seed)[0]

    found |= judge(X, y, X_test, y_test, sample, options.fcn_steps, seed)
    print("#", name, variant, seed, {k: round(v, 3) for k, v in found.items()}, flush=True)
    return name, variant, found


def yardstick(name, split, seed, options):
    """Return the figures of the real training split in the samples' place."""
    torch.set_num_threads(options.threads)
    X, y, X_test, y_test = split

    def resample(labels):
        rng = np.random.default_rng(seed)
        rows = [rng.choice(np.flatnonzero(y == label)) for label in labels]
        return X[rows]

    found = judge(X, y, X_test, y_test, resample, options.fcn_steps, seed)
    found["MiniROCKET"] = tstr_score(X, y, X_test, y_test, random_state=seed)
    print("#", name, "real", seed, {k: round(v, 3) for k, v in found.items()}, flush=True)
    return name, "real training split", found


def main():
    """Print a table of all data sets and variants."""
    p = parser(__doc__, ["ECG5000", "FordA", "FordB"])
    p.add_argument("--jobs", type=int, default=1, help="processes, of --threads threads each")
    p.add_argument("--fcn-steps", type=int, default=2000)
    options = p.parse_args()
    print(describe_machine(), f"{options.jobs} x {options.threads} threads\n", sep=", ")
    splits = {name: load_ucr(options.data, name) for name in options.datasets}
    tasks = [
        task
        for name, split in splits.items()
        for seed in range(options.seeds)
        for task in (
            *(delayed(run)(name, split, variant, seed, options) for variant in VARIANTS),
            delayed(yardstick)(name, split, seed, options),
        )
    ]
    scores = {}
    for name, variant, found in Parallel(options.jobs)(tasks):
        for column, value in found.items():
            scores.setdefault((name, variant), {}).setdefault(column, []).append(value)
    columns = [*COLUMNS, "MiniROCKET"]
    rows = [
        [*key, *(mean_and_spread(found[c]) if c in found else "" for c in columns)]
        for key, found in sorted(scores.items())
    ]
    print_table(["data set", "", *columns], rows)


if __name__ == "__main__":
    main()
