"""Which representation serves a linear classifier best: the choice of the default.

A default transformer is fitted without labels, and logistic regression and ridge are trained on
each of its representations (as it returns them; tokens one-hot encoded, since their numbers mean
nothing, and what is not standardised yet standardised). MiniROCKET and the raw values are the
yardsticks. With few labels, the classifiers see only that many series of each class, drawn anew
five times; the transformer still sees all.

By default on part of the training split only: fitted on two thirds of it, judged on the other
third. ``--test`` fits on the training split and judges once on the test split.

    python examples/benchmarks/representation.py --folds 1 --threads 1
    python examples/benchmarks/representation.py --test --seeds 3 --threads 1
"""

import numpy as np
from common import Results, fitted_tokenizer, folds_of, load_ucr, parser, print_table, start
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, StandardScaler

from skncvqvae.metrics import RocketFeatures

REPRESENTATIONS = ["ppv", "latent", "pooled", "code_ppv", "codes", "embedding", "histogram"]
REPRESENTATIONS += ["pairs", "tokens"]
YARDSTICKS = ["MiniROCKET", "raw values"]
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
N_DRAWS = 5


def accuracies(name, features, y_train, held_out, y_test):
    """Return the accuracy of two linear classifiers on given features."""
    classifiers = {
        "logistic": LogisticRegression(max_iter=2000),
        "ridge": RidgeClassifierCV(np.logspace(-3, 3, 10)),
    }
    scores = {}
    for kind, classifier in classifiers.items():
        model = make_pipeline(SCALERS.get(name, StandardScaler()), classifier)
        scores[kind] = model.fit(features, y_train).score(held_out, y_test)
    return scores


def few_of_each(y, n, seed):
    """Return the indices of `n` series of each class, or of as many as there are."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == label))[:n] for label in np.unique(y)]
    return np.concatenate(chosen)


def all_accuracies(name, features, y_train, held_out, y_test):
    """Return accuracies with all labels, and their means over draws of few."""
    found = accuracies(name, features, y_train, held_out, y_test)
    for n in FEW:
        draws = []
        for seed in range(N_DRAWS):
            few = few_of_each(y_train, n, seed)
            draws.append(accuracies(name, features[few], y_train[few], held_out, y_test))
        for kind in draws[0]:
            found[f"{kind}, {n} labels"] = float(np.mean([draw[kind] for draw in draws]))
    return found


def parts_of(X, y, options):
    """Yield a name for each split, and the indices of its training and held-out series."""
    for fold, (train, test) in enumerate(folds_of(y, options.max_series, options.folds)):
        yield f"fold {fold}", X[train], y[train], X[test], y[test]


def main():
    """Run the folds, or the seeds on the test split, and print the table."""
    p = parser(__doc__, None)
    p.add_argument("--test", action="store_true", help="judge on the test split")
    p.add_argument("--folds", type=int, default=3, help="of the three folds, so many")
    p.add_argument("--max-series", type=int, default=1000, help="of a training split, at most")
    p.add_argument("--cache", help="directory that keeps fitted tokenizers")
    p.add_argument("--representations", nargs="+", default=REPRESENTATIONS)
    options = p.parse_args()
    params = start(options)
    output = Results(options.output)
    names, rows = options.representations + YARDSTICKS, []
    for dataset in options.datasets or (ON_TEST if options.test else DATASETS):
        X, y, X_test, y_test = load_ucr(options.data, dataset)
        scores = {name: [] for name in names}
        splits = (
            [(seed, X, y, X_test, y_test) for seed in range(options.seeds)]
            if options.test
            else parts_of(X, y, options)
        )
        for i, (split, X_fit, y_fit, X_held, y_held) in enumerate(splits):
            seed = i if options.test else 0
            model = fitted_tokenizer(X_fit, params | {"random_state": seed}, options.cache)
            rocket = RocketFeatures(10000, random_state=seed).fit(X_fit)
            for name in names:
                if name == "raw values":
                    function = np.asarray
                elif name == "MiniROCKET":
                    function = rocket.transform
                else:
                    function = model.set_params(representation=name).transform
                found = all_accuracies(name, function(X_fit), y_fit, function(X_held), y_held)
                scores[name].append([found["logistic"], found["ridge"]])
                output.add(dataset, name, found, split)
        means = {name: np.mean(values, axis=0) for name, values in scores.items()}
        rows.append([dataset, *(f"{a:.2f} / {b:.2f}" for a, b in means.values())])
        print("#", *rows[-1], flush=True)
    output.add_means("method", "metric")
    print_table(["data set", *names], rows)


if __name__ == "__main__":
    main()
