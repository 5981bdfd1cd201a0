"""What a search over the weight of the self-supervised loss brings, and a choice without labels.

For each weight: a default transformer and logistic regression by cross-validation on the training
split, which chooses a weight with labels, and one more fit on the whole training split, judged on
the test split. That fit's average of the quantised latent, on the training series, chooses without
labels, by the largest of each criterion:

- RankMe: the effective rank of what is embedded (Garrido et al., arXiv:2210.02885);
- LiDAR: the effective rank of the linear-discriminant matrix whose classes are views of one series
  (Thilak et al., arXiv:2312.04000);
- alignment and uniformity: less the mean distance of two views of a series and the log of the mean
  potential of pairs of series (Wang and Isola, arXiv:2005.10242, section 4, with weights of 1).

Rows are added for the test accuracy of what each of them chose, of the default, and of the best
weight, which no choice can know. What ``--output`` holds already is not run again.

    python examples/benchmarks/ssl_weight.py --seeds 1 --threads 1 \\
        --output examples/benchmarks/results/ssl_weight.csv
"""

import numpy as np
import pandas as pd
from common import Results, fitted_tokenizer, folds_of, load_ucr, parser, print_table, start
from scipy.spatial.distance import pdist
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from skncvqvae.augmentations import augment

DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "ItalyPowerDemand", "Plane"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
DATASETS += ["Lightning7", "Fish"]
# The default first: it wins ties.
WEIGHTS = {"auto": "auto", "0": 0.0, "1": 1.0, "30": 30.0}
REPRESENTATIONS = ["ppv", "code_ppv", "embedding"]
# These come standardised.
PPV = ("ppv", "code_ppv")
CRITERIA = ["RankMe", "LiDAR", "alignment and uniformity"]
N_VIEWS = 8
# Series that the criteria are computed from.
N_SERIES = 500


def accuracy(model, name, X, y, X_test, y_test):
    """Return the accuracy of logistic regression on a representation."""
    model.set_params(representation=name)
    classifier = LogisticRegression(max_iter=2000)
    if name not in PPV:
        classifier = make_pipeline(StandardScaler(), classifier)
    return classifier.fit(model.transform(X), y).score(model.transform(X_test), y_test)


def effective_rank(spectrum):
    """Return the exponential of the entropy of a spectrum."""
    p = spectrum / spectrum.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def rank_me(embedded):
    """Return RankMe of embeddings ``(n, dim)``."""
    return effective_rank(np.linalg.svd(embedded, compute_uv=False))


def lidar(views, delta=1e-4):
    """Return LiDAR of embeddings ``(n_series, n_views, dim)``."""
    centres = views.mean(1)
    between = np.cov(centres, rowvar=False, bias=True)
    inside = (views - centres[:, None]).reshape(-1, views.shape[2])
    within = inside.T @ inside / (len(views) * (views.shape[1] - 1))
    # Relative to the scale of embeddings, which differs between tokenizers.
    scale = np.trace(between + within) / len(within)
    values, vectors = np.linalg.eigh(within + delta * scale * np.eye(len(within)))
    whiten = vectors / np.sqrt(values) @ vectors.T
    return effective_rank(np.linalg.eigvalsh(whiten @ between @ whiten).clip(min=0))


def alignment_and_uniformity(views):
    """Return how near views of a series are, and how evenly series are spread; more is better."""
    first, second = normalize(views[:, 0]), normalize(views[:, 1])
    alignment = ((first - second) ** 2).sum(1).mean()
    uniformity = np.mean([np.log(np.exp(-2 * pdist(x) ** 2).mean()) for x in (first, second)])
    return float(-alignment - uniformity)


def criteria(model, X, seed):
    """Return each criterion of a fitted tokenizer; no label is needed."""
    model.set_params(representation="embedding")
    rng = np.random.RandomState(seed)
    X = X[rng.permutation(len(X))[:N_SERIES]]
    views = [model.transform(augment(X, model.augmentations, rng)) for _ in range(N_VIEWS)]
    views = np.stack(views, axis=1).astype(float)
    # Centred by the series: what all have in common tells nothing.
    views -= views.mean((0, 1))
    embedded = model.transform(X).astype(float)
    figures = rank_me(embedded - embedded.mean(0)), lidar(views), alignment_and_uniformity(views)
    return dict(zip(CRITERIA, figures, strict=True))


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
    p.add_argument("--folds", type=int, default=3, help="of the three folds, so many")
    p.add_argument("--max-series", type=int, default=1000, help="of a training split, at most")
    p.add_argument("--cache", help="directory that keeps fitted tokenizers")
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
