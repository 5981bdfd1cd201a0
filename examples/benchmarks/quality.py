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

import numpy as np
import torch
from common import (
    describe_machine,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    timed,
)
from joblib import Parallel, delayed

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


def n_repeats(y):
    """Return how often the training split is repeated to have at least 1,000 series."""
    return math.ceil(1000 / len(y))


def judge(X, y, X_test, y_test, X_new, X_cas, y_cas, n_steps, seed):
    """Return FID and inception score of `X_new`, and CAS of `X_cas`, `y_cas`."""
    features = fcn(len(X), n_steps, seed).fit(X, y)
    return {
        "FID": frechet_distance(X_test, X_new, features=features),
        "IS": inception_score(X, y, X_new, classifier=features),
        "CAS": tstr_score(
            X_real=X_test,
            y_real=y_test,
            X_synthetic=X_cas,
            y_synthetic=y_cas,
            classifier=fcn(len(y_cas), n_steps, seed),
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
    generator = NCVQVAEGenerator(device="cpu", random_state=seed).set_params(**params)
    found = {"minutes": timed(lambda: generator.fit(X, y)) / 60}
    transformer = generator.transformer_.set_params(representation="embedding")
    found["probe"] = probe_accuracy(transformer, X, y, X_test, y_test)

    labels = np.random.default_rng(seed).choice(y, len(X_test))
    X_new, _ = generator.sample(y=labels, random_state=seed)
    X_cas, y_cas = generator.sample(y=np.tile(y, n_repeats(y)), random_state=seed + 1)
    found |= judge(X, y, X_test, y_test, X_new, X_cas, y_cas, options.fcn_steps, seed)
    print("#", name, variant, seed, {k: round(v, 3) for k, v in found.items()}, flush=True)
    return name, variant, found


def yardstick(name, split, seed, options):
    """Return the figures of the real training split in the samples' place."""
    torch.set_num_threads(options.threads)
    X, y, X_test, y_test = split

    n = n_repeats(y)
    found = judge(
        X, y, X_test, y_test, X, np.tile(X, (n, 1)), np.tile(y, n), options.fcn_steps, seed
    )
    found["MiniROCKET"] = tstr_score(
        X_real=X_test, y_real=y_test, X_synthetic=X, y_synthetic=y, random_state=seed
    )
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
