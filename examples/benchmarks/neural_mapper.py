"""What a network after the decoder mends of decoded series, and of samples.

The generator's default tokenizer with and without `neural_mapper`, which leaves tokens as they
are, and the default prior on them. The judge is that of ``class_fidelity.py``; beside it the error
of held-out series, in units of the variance, and CPU seconds of the tokenizer. Fitted on two
thirds of a training split, judged with the third. What ``--output`` holds already is not run
again.

    python examples/benchmarks/neural_mapper.py --folds 2 --threads 1 \\
        --output examples/benchmarks/results/neural_mapper.csv
"""

import functools

import numpy as np
import pandas as pd
from class_fidelity import DECODED, HELD_OUT, Judge
from common import Results, cpu_seconds, parser, print_table, split_options, splits_of, start
from sklearn.frozen import FrozenEstimator

from skncvqvae import NCVQVAEGenerator

DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "BME", "ItalyPowerDemand", "Plane", "Trace"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
VARIANTS = {"without": False, "with": True}
COLUMNS = ["kept", "CPU seconds", "held-out error", "FID", "coverage", "recall", "precision"]
COLUMNS += ["TRTS", "TSTR", "authenticity", "membership"]


def measure(split, seed, params, n_draws):
    """Yield what is judged, and its figures, with and without the network."""
    X, y, X_held, y_held = split
    judge = Judge(X, y, X_held, y_held)
    yield HELD_OUT, judge.of_held_out()
    for name, mapped in VARIANTS.items():
        template = NCVQVAEGenerator(device="cpu").set_params(transformer__random_state=seed)
        tokenizer = template.transformer.set_params(**params, neural_mapper=mapped)
        seconds = cpu_seconds(functools.partial(tokenizer.fit, X))
        decoded = judge(tokenizer.inverse_transform(tokenizer.tokenize(X)), y, seed)
        decoded |= {
            "CPU seconds": seconds,
            "held-out error": -tokenizer.score(X_held),
            "kept": float(tokenizer.neural_mapper_ is not None),
        }
        yield f"{DECODED}, {name}", decoded
        generator = NCVQVAEGenerator(FrozenEstimator(tokenizer), device="cpu", random_state=seed)
        generator.fit(X, y)
        draws = [judge(*generator.sample(y=y, random_state=i), i) for i in range(n_draws)]
        yield (
            f"samples, {name}",
            {metric: float(np.mean([draw[metric] for draw in draws])) for metric in draws[0]},
        )


def main():
    """Print a table of the means over sets and folds."""
    p = parser(__doc__, DATASETS, seeds=False)
    split_options(p, "folds", "max-series")
    p.add_argument("--draws", type=int, default=2, help="samples are drawn so many times")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    for dataset in options.datasets:
        for label, seed, split in splits_of(dataset, options):
            if output.holds(dataset, "samples, with", label):
                continue
            for name, found in measure(split, seed, params, options.draws):
                output.add(dataset, name, found, label)
                print("#", dataset, label, name, found, flush=True)
    data = pd.DataFrame(output.rows).astype({"value": float})
    data = data[data["dataset"].isin(options.datasets)]
    means = data.pivot_table("value", ["dataset", "method"], "metric").groupby("method").mean()
    rows = [
        [name, *("" if np.isnan(row[c]) else f"{row[c]:.3f}" for c in COLUMNS)]
        for name, row in means.iterrows()
    ]
    print_table(["", *COLUMNS], rows)


if __name__ == "__main__":
    main()
