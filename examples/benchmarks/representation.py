"""Which representation serves a linear classifier best: the choice of the default.

Part of the training split only: a default transformer is fitted on two thirds of it, logistic
regression and ridge are trained on each of its representations (standardised; tokens one-hot
encoded, since their numbers mean nothing), and judged on the other third. MiniROCKET and the
raw values are the yardsticks.

    python examples/benchmarks/representation.py --folds 1 --threads 1
"""

import numpy as np
from common import Results, fitted_tokenizer, folds_of, load_ucr, parser, print_table, start
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from skncvqvae.metrics import RocketFeatures

REPRESENTATIONS = ["ppv", "latent", "pooled", "code_ppv", "codes", "embedding", "histogram"]
REPRESENTATIONS += ["pairs", "tokens"]
YARDSTICKS = ["MiniROCKET", "raw values"]
DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "BME", "ItalyPowerDemand", "Plane"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
DATASETS += ["Lightning7", "SwedishLeaf", "Fish", "LargeKitchenAppliances", "WordSynonyms"]
SCALERS = {"tokens": OneHotEncoder(handle_unknown="ignore"), "pairs": MaxAbsScaler()}


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


def main():
    """Run the folds and print the table."""
    p = parser(__doc__, DATASETS, seeds=False)
    p.add_argument("--folds", type=int, default=3, help="of the three folds, so many")
    p.add_argument("--max-series", type=int, default=1000, help="of a training split, at most")
    p.add_argument("--cache", help="directory that keeps fitted tokenizers")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output)
    names, rows = REPRESENTATIONS + YARDSTICKS, []
    for dataset in options.datasets:
        X, y, _, _ = load_ucr(options.data, dataset)
        scores = {name: [] for name in names}
        for fold, (train, test) in enumerate(folds_of(y, options.max_series, options.folds)):
            model = fitted_tokenizer(X[train], params, options.cache)
            rocket = RocketFeatures(10000, random_state=0).fit(X[train])
            for name in names:
                if name == "raw values":
                    function = np.asarray
                elif name == "MiniROCKET":
                    function = rocket.transform
                else:
                    function = model.set_params(representation=name).transform
                found = accuracies(name, function(X[train]), y[train], function(X[test]), y[test])
                scores[name].append([found["logistic"], found["ridge"]])
                output.add(dataset, name, found, f"fold {fold}")
        means = {name: np.mean(values, axis=0) for name, values in scores.items()}
        rows.append([dataset, *(f"{a:.2f} / {b:.2f}" for a, b in means.values())])
        print("#", *rows[-1], flush=True)
    print_table(["data set", *names], rows)


if __name__ == "__main__":
    main()
