"""Which representation serves a linear classifier best: the choice of the default.

Cross-validation on the training split only. In each fold one default transformer is fitted, and
logistic regression is trained on each of its representations (tokens one-hot encoded, since
their numbers mean nothing; the others standardised).

    python examples/benchmarks/representation.py
"""

import numpy as np
from common import Results, load_ucr, mean_and_spread, parser, print_table, start
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skncvqvae import NCVQVAETransformer

REPRESENTATIONS = ["tokens", "histogram", "embedding", "codes"]
DATASETS = ["ArrowHead", "BME", "CBF", "ECG200", "GunPoint", "ItalyPowerDemand", "Plane"]
DATASETS += ["ECG5000", "FordA"]


def main():
    """Run the cross-validation and print its table."""
    p = parser(__doc__, DATASETS, seeds=False)
    p.add_argument("--folds", type=int, default=3)
    p.add_argument("--max-series", type=int, default=1000, help="of a training split, at most")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output)
    rows, means = [], []
    for name in options.datasets:
        X, y, _, _ = load_ucr(options.data, name)
        pick = np.random.default_rng(0).permutation(len(X))[: options.max_series]
        X, y = X[pick], y[pick]
        folds = StratifiedKFold(options.folds, shuffle=True, random_state=0)
        scores = {representation: [] for representation in REPRESENTATIONS}
        for fold, (train, test) in enumerate(folds.split(X, y)):
            model = NCVQVAETransformer(device="cpu", random_state=0, **params).fit(X[train])
            for representation in REPRESENTATIONS:
                model.set_params(representation=representation)
                tokens = representation == "tokens"
                classifier = make_pipeline(
                    OneHotEncoder(handle_unknown="ignore") if tokens else StandardScaler(),
                    LogisticRegression(max_iter=5000),
                )
                classifier.fit(model.transform(X[train]), y[train])
                accuracy = classifier.score(model.transform(X[test]), y[test])
                scores[representation].append(accuracy)
                output.add(name, representation, {"accuracy": accuracy}, f"fold {fold}")
        rows.append([name, *(mean_and_spread(scores[r]) for r in REPRESENTATIONS)])
        means.append([np.mean(scores[r]) for r in REPRESENTATIONS])
        print(f"# {rows[-1]}", flush=True)
    print()
    averages = np.mean(means, axis=0)
    rows.append(["mean", *(f"{mean:.3f}" for mean in averages)])
    for representation, mean in zip(REPRESENTATIONS, averages, strict=True):
        output.add("mean", representation, {"accuracy": mean})
    print_table(["data set", *REPRESENTATIONS], rows)


if __name__ == "__main__":
    main()
