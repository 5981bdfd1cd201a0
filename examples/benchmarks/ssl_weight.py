"""What a search over the weight of the self-supervised loss brings, and a choice without labels.

For each weight: a default transformer and logistic regression by cross-validation on the training
split, which chooses a weight with labels, and one more fit on the whole training split, judged on
the test split. That fit's average of the quantised latent, on the training series, chooses without
labels, by RankMe, by LiDAR, and by alignment and uniformity, of `skncvqvae.metrics`.

Rows are added for the test accuracy of what each of them chose, of the default, and of the best
weight, which no choice can know. What ``--output`` holds already is not run again.

    python examples/benchmarks/ssl_weight.py --seeds 1 --threads 1 \\
        --output examples/benchmarks/results/ssl_weight.csv
"""

import numpy as np
import pandas as pd
from common import (
    Results,
    fitted_tokenizer,
    folds_of,
    load_ucr,
    parser,
    print_table,
    split_options,
    start,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skncvqvae.metrics import alignment_uniformity, lidar, make_representation_scorer, rank_me

DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "ItalyPowerDemand", "Plane"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
DATASETS += ["Lightning7", "Fish"]
# The default first: it wins ties.
WEIGHTS = {"auto": "auto", "0": 0.0, "1": 1.0, "30": 30.0}
REPRESENTATIONS = ["ppv", "code_ppv", "embedding"]
# These come standardised.
PPV = ("ppv", "code_ppv")
# Each with the number of views of a series that it is computed from.
CRITERIA = {
    "RankMe": (rank_me, 2),
    "LiDAR": (lidar, 8),
    "alignment and uniformity": (alignment_uniformity, 2),
}


def accuracy(model, name, X, y, X_test, y_test):
    """Return the accuracy of logistic regression on a representation."""
    model.set_params(representation=name)
    classifier = LogisticRegression(max_iter=2000)
    if name not in PPV:
        classifier = make_pipeline(StandardScaler(), classifier)
    return classifier.fit(model.transform(X), y).score(model.transform(X_test), y_test)


def criteria(model, X, seed):
    """Return each criterion of a fitted tokenizer; no label is needed."""
    model.set_params(representation="embedding")
    return {
        name: make_representation_scorer(metric, n_views=n_views, random_state=seed)(model, X)
        for name, (metric, n_views) in CRITERIA.items()
    }


def run(dataset, seed, options, params, output):
    """Fit each weight in each fold and on the whole training split."""
    X, y, X_test, y_test = load_ucr(options.data, dataset)
    for label, weight in WEIGHTS.items():
        if output.holds(dataset, label, seed):
            continue
        given = params | {"ssl_weight": weight, "random_state": seed}
        in_folds = {name: [] for name in REPRESENTATIONS}
        for train, held_out in folds_of(y, options.max_series, options.folds):
            model = fitted_tokenizer(X[train], given, options.cache)
            for name, found in in_folds.items():
                split = X[train], y[train], X[held_out], y[held_out]
                found.append(accuracy(model, name, *split))
        model = fitted_tokenizer(X, given, options.cache)
        # In one row each, whatever is judged, so that an interrupted run starts at a weight.
        found = {f"{name}, CV": float(np.mean(values)) for name, values in in_folds.items()}
        for name in REPRESENTATIONS:
            found[f"{name}, test"] = accuracy(model, name, X, y, X_test, y_test)
        found |= criteria(model, X, seed)
        output.add(dataset, label, found, seed, split="test")
        print(f"# {dataset}, weight {label}, seed {seed}:", found, flush=True)


def choose(dataset, seed, output):
    """Add the test accuracy of what each choice takes."""
    data = pd.DataFrame(output.rows)
    data = data[(data["dataset"] == dataset) & (data["seed"].astype(str) == str(seed))]
    table = data.astype({"value": float}).pivot_table("value", "method", "metric", sort=False)
    table = table.loc[list(WEIGHTS)]
    for choice in ("default", "search", *CRITERIA, "best"):
        if output.holds(dataset, choice, seed):
            continue
        found = {}
        for name in REPRESENTATIONS:
            by = {"search": f"{name}, CV", "best": f"{name}, test"}.get(choice, choice)
            chosen = "auto" if choice == "default" else table[by].idxmax()
            found[f"{name}, test"] = table.loc[chosen, f"{name}, test"]
        output.add(dataset, choice, found, seed, split="test")


def main():
    """Run all data sets and seeds, and print the means of each choice."""
    p = parser(__doc__, DATASETS)
    split_options(p, "folds", "max-series", "cache")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    for dataset in options.datasets:
        for seed in range(options.seeds):
            run(dataset, seed, options, params, output)
            choose(dataset, seed, output)
    data = pd.DataFrame(output.rows).astype({"value": float})
    data = data[data["metric"].str.endswith(", test")]
    table = data.pivot_table("value", "method", "metric", sort=False)
    rows = [[row.Index, *(f"{value:.3f}" for value in row[1:])] for row in table.itertuples()]
    print_table(["weight, or what chose it", *table.columns], rows)


if __name__ == "__main__":
    main()
