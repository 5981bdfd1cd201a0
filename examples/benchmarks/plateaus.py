"""What restoring plateaus does to decoded series.

A default transformer is fitted twice, with and without `restore_plateaus`, on two thirds of a
training split. What it decodes is compared with the other third: Fréchet distance by features of
random kernels. So is the training part itself, the yardstick. Of sets without plateaus nothing is
restored; those named here have them, or look as if they had.

    python examples/benchmarks/plateaus.py --seeds 1 --threads 1 \\
        --output examples/benchmarks/results/plateaus.csv
"""

import numpy as np
from common import Results, folds_of, load_ucr, parser, print_table, start
from sharp import appliances

from skncvqvae import NCVQVAETransformer
from skncvqvae.metrics import RocketFeatures, frechet_distance

MADE = "appliances, made"
DATASETS = ["LargeKitchenAppliances", "MiddlePhalanxTW", "Lightning7", MADE]


def load(name, folder):
    """Return the series of a training split, and their classes."""
    return appliances(300, 0) if name == MADE else load_ucr(folder, name)[:2]


def main():
    """Fit, decode, and print and save a table."""
    p = parser(__doc__, DATASETS, threads=1)
    options = p.parse_args()
    params = start(options)
    output, rows = Results(options.output), []
    for name in options.datasets:
        X, y = load(name, options.data)
        ((train, held_out),) = folds_of(y, len(y), 1)
        features = RocketFeatures(random_state=0).fit(X[train])
        real = features.transform(X[held_out])

        def distance(series, real=real, features=features):
            return frechet_distance(real, features.transform(series), features=None)

        for seed in range(options.seeds):
            found = {"real": distance(X[train])}
            for restore in (False, True):
                model = NCVQVAETransformer(
                    restore_plateaus=restore, device="cpu", random_state=seed, **params
                ).fit(X[train])
                decoded = model.inverse_transform(model.tokenize(X[train]))
                found["restored" if restore else "decoded"] = distance(decoded)
            found["equal neighbours"] = float(np.mean(np.diff(X[train]) == 0))
            output.add(name, "default", found, seed)
            print(f"# {name}, {seed}: {found}", flush=True)
            rows.append([name, seed, *(f"{value:.2f}" for value in found.values())])
    print()
    print_table(["data set", "seed", *found], rows)


if __name__ == "__main__":
    main()
