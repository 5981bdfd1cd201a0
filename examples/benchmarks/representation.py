"""Which representation serves a linear classifier best, and how far it is from other features.

A default transformer is fitted without labels, and logistic regression and ridge are trained on
each of its representations (as it returns them; tokens one-hot encoded, since their numbers mean
nothing, and what is not standardised yet standardised). Yardsticks: MiniROCKET and the raw values
with the same classifiers, and a random forest on catch22. With few labels, the classifiers see
only that many series of each class, drawn anew several times; the transformer still sees all. It
is fitted once for each seed.

By default on part of the training split only: fitted on two thirds of it, judged on the other
third. ``--test`` fits on the training split and judges on the test split. What ``--output`` holds
already is not run again, so that a run which was cut off goes on; two processes with different
data sets may share the file.

catch22 is aeon's, in numba, which it compiles once (half a minute): ``pip install aeon``.

    python examples/benchmarks/representation.py --folds 1 --threads 1
    python examples/benchmarks/representation.py --test --seeds 3 --threads 1 \\
        --output examples/benchmarks/results/representation.csv
"""

import numpy as np
import pandas as pd
from aeon.transformations.collection.feature_based import Catch22
from common import Results, fitted_tokenizer, parser, print_table, split_options, splits_of, start
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, StandardScaler

from skncvqvae.metrics import RocketFeatures

REPRESENTATIONS = ["ppv", "code_ppv", "codes", "latent", "pooled", "embedding", "histogram"]
REPRESENTATIONS += ["pairs"]
YARDSTICKS = ["MiniROCKET", "catch22", "raw values"]
DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "BME", "ItalyPowerDemand", "Plane"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
DATASETS += ["Lightning7", "SwedishLeaf", "Fish", "LargeKitchenAppliances", "WordSynonyms"]
ON_TEST = [*DATASETS, "CricketZ", "ECG5000", "FordA", "FordB"]
SCALERS = {
    "tokens": OneHotEncoder(handle_unknown="ignore"),
    "pairs": MaxAbsScaler(),
    # These come standardised, by all series and not by those with a label.
    "ppv": FunctionTransformer(),
    "code_ppv": FunctionTransformer(),
}
FEW = [3, 5, 10]


def classifiers_of(name, seed):
    """Return the classifiers of some features, by name."""
    if name == "catch22":
        return {"forest": RandomForestClassifier(500, random_state=seed)}
    return {
        "logistic": LogisticRegression(max_iter=2000),
        "ridge": RidgeClassifierCV(np.logspace(-3, 3, 10)),
    }


def accuracies(name, features, y_train, held_out, y_test, seed):
    """Return the accuracies of the classifiers of some features."""
    classifiers = classifiers_of(name, seed)
    if name == "catch22":
        forest = classifiers["forest"].fit(features, y_train)
        return {"forest": forest.score(held_out, y_test)}
    scaler = SCALERS.get(name, StandardScaler())
    features, held_out = scaler.fit_transform(features), scaler.transform(held_out)
    return {
        kind: classifier.fit(features, y_train).score(held_out, y_test)
        for kind, classifier in classifiers.items()
    }


def few_of_each(y, n, seed):
    """Return the indices of `n` series of each class, or of as many as there are."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == label))[:n] for label in np.unique(y)]
    return np.concatenate(chosen)


def all_accuracies(name, features, y_train, held_out, y_test, seed, n_draws):
    """Return accuracies with all labels, and their means over draws of few."""
    found = accuracies(name, features, y_train, held_out, y_test, seed)
    for n in FEW:
        draws = []
        for draw in range(n_draws):
            few = few_of_each(y_train, n, seed * n_draws + draw)
            draws.append(accuracies(name, features[few], y_train[few], held_out, y_test, seed))
        for kind in draws[0]:
            found[f"{kind}, {n} labels"] = float(np.mean([draw[kind] for draw in draws]))
    return found


def features_of(name, X, held_out, seed, tokenizer):
    """Return features of both sets of series, fitted on the first."""
    if name == "raw values":
        return X, held_out
    if name == "MiniROCKET":
        transformer = RocketFeatures(10000, random_state=seed).fit(X)
    elif name == "catch22":
        transformer = Catch22(replace_nans=True).fit(X[:, None])
        return [transformer.transform(series[:, None].astype(float)) for series in (X, held_out)]
    else:
        transformer = tokenizer().set_params(representation=name)
    return transformer.transform(X), transformer.transform(held_out)


def run(dataset, options, params, output):
    """Judge all features of a data set that the output does not hold yet."""
    split = "test" if options.test else "validation"
    for label, seed, (X, y, X_held, y_held) in splits_of(dataset, options):
        fitted = []

        def tokenizer(X=X, seed=seed, fitted=fitted):
            if not fitted:
                fitted.append(fitted_tokenizer(X, params | {"random_state": seed}, options.cache))
            return fitted[0]

        for name in options.representations + options.yardsticks:
            if output.holds(dataset, name, label, split=split):
                continue
            features, held_out = features_of(name, X, X_held, seed, tokenizer)
            found = all_accuracies(name, features, y, held_out, y_held, seed, options.draws)
            output.add(dataset, name, found, label, split=split)
            print(f"# {dataset}, {name}, {label}:", found, flush=True)


def main():
    """Run the folds, or the seeds on the test split, and print the table."""
    p = parser(__doc__, None)
    split_options(p, "test", "folds", "max-series", "cache")
    p.add_argument("--draws", type=int, default=5, help="of few labels, for each seed")
    p.add_argument("--representations", nargs="*", default=REPRESENTATIONS)
    p.add_argument("--yardsticks", nargs="*", default=YARDSTICKS, choices=YARDSTICKS)
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    datasets = options.datasets or (ON_TEST if options.test else DATASETS)
    for dataset in datasets:
        run(dataset, options, params, output)
    data = pd.DataFrame(output.rows).astype({"value": float})
    data = data[data["dataset"].isin(datasets)]
    data = data[data["split"] == ("test" if options.test else "validation")]
    table = data.pivot_table("value", ["method", "metric"], "dataset", sort=False)
    table.insert(0, "mean", table.mean(axis=1))
    rows = [[*row.Index, *(f"{value:.3f}" for value in row[1:])] for row in table.itertuples()]
    print_table(["features", "", *table.columns], rows)


if __name__ == "__main__":
    main()
