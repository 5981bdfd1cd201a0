"""Linear-SVM probe accuracy of the default transformer, with and without self-supervision.

The authors' probe (METHOD: average-pooled quantised latent, min-max scaled to [-1, 1], linear
SVM), trained on the training split and scored once on the test split, with nothing chosen by
it. Fits of the two contenders alternate, so that a noisy machine disturbs both.

    python examples/benchmarks/probe.py --datasets ECG5000 FordA
"""

import time

import numpy as np
from common import (
    Results,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    start,
)

from skncvqvae import NCVQVAETransformer

DIGITS = {"probe accuracy": 3, "reconstruction error": 3, "perplexity": 1, "minutes": 1}


def measure(X_train, y_train, X_test, y_test, **params):
    """Fit once; return probe accuracy, relative reconstruction errors, perplexity, minutes."""
    model = NCVQVAETransformer(representation="embedding", device="cpu", **params)
    start = time.perf_counter()
    model.fit(X_train)
    minutes = (time.perf_counter() - start) / 60
    decoded = model.inverse_transform(model.tokenize(X_test))
    seed = params["random_state"]
    return {
        "probe accuracy": probe_accuracy(model, X_train, y_train, X_test, y_test, seed),
        "reconstruction error": float(np.mean((X_test - decoded) ** 2) / X_test.var()),
        "perplexity": model.perplexity_,
        "minutes": minutes,
    }


def main():
    """Run the benchmark and print its tables."""
    options = parser(__doc__, ["ECG5000", "FordA"]).parse_args()
    params = start(options)
    output = Results(options.output)
    contenders = {"default": {}, "no SSL": {"ssl_method": None}}
    rows, gains = [], []
    for name in options.datasets:
        data = load_ucr(options.data, name)
        results = {label: [] for label in contenders}
        for seed in range(options.seeds):
            for label, change in contenders.items():
                result = measure(*data, random_state=seed, **params, **change)
                results[label].append(result)
                output.add(name, label, result, seed)
                print(f"# {name}, {label}, seed {seed}: {result}", flush=True)
        for label, runs in results.items():
            cells = [mean_and_spread([run[key] for run in runs], d) for key, d in DIGITS.items()]
            rows.append([name, label, *cells])
        pairs = zip(results["default"], results["no SSL"], strict=True)
        gain = [ours["probe accuracy"] - plain["probe accuracy"] for ours, plain in pairs]
        gains.append([name, mean_and_spread(gain)])
    print()
    print_table(["data set", "", *DIGITS], rows)
    print()
    print_table(["data set", "gain in accuracy by SSL"], gains)


if __name__ == "__main__":
    main()
