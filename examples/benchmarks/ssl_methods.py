"""Whether the self-supervised loss changes what samples are like, and how varied they are.

The default generator with each loss of its tokenizer at its automatic weight, and with none. The
judge is that of ``class_fidelity.py``, with the probe (a linear SVM on pooled codes) beside it.
Fitted on two thirds of a training split, judged with the third. What ``--output`` holds already is
not run again.

    python examples/benchmarks/ssl_methods.py --folds 2 --threads 1 \\
        --output examples/benchmarks/results/ssl_methods.csv
"""

import numpy as np
import pandas as pd
from class_fidelity import Judge
from common import (
    Results,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    split_options,
    start,
    to_do,
)

from skncvqvae import NCVQVAEGenerator

DATASETS = ["GunPoint", "ECG200", "FacesUCR", "SyntheticControl", "Plane", "ItalyPowerDemand"]
METHODS = {str(method): method for method in (None, "barlowtwins", "vibcreg", "vicreg")}
N_DRAWS = 3


def measure(method, split, seed, params):
    """Fit a generator and judge its samples."""
    X, y, X_held, y_held = split
    generator = NCVQVAEGenerator(device="cpu", random_state=seed)
    generator.set_params(transformer__ssl_method=method)
    generator.set_params(**{f"transformer__{name}": value for name, value in params.items()})
    generator.fit(X, y)
    judge = Judge(X, y, X_held, y_held)
    draws = [judge(*generator.sample(y=y, random_state=i), i) for i in range(N_DRAWS)]
    found = {metric: float(np.mean([draw[metric] for draw in draws])) for metric in draws[0]}
    transformer = generator.transformer_.set_params(representation="pooled")
    found["probe"] = probe_accuracy(transformer, *split)
    found["reconstruction error"] = -transformer.score(X_held)
    return found


def main():
    """Print a table of the means over sets and folds."""
    p = parser(__doc__, DATASETS, seeds=False)
    split_options(p, "folds", "max-series")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    for dataset, label, seed, split, name in to_do(METHODS, options, output):
        found = measure(METHODS[name], split, seed, params)
        print("#", dataset, label, name, found, flush=True)
        output.add(dataset, name, found, label)
    data = pd.DataFrame(output.rows).astype({"value": float})
    columns = list(dict.fromkeys(data["metric"]))
    rows = [
        [method, *(mean_and_spread(group["value"][group["metric"] == c]) for c in columns)]
        for method, group in data.groupby("method", sort=False)
    ]
    print_table(["ssl_method", *columns], rows)


if __name__ == "__main__":
    main()
