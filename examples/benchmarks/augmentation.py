"""What synthetic series add to a training set: ours beside jitter and SMOTE.

A MiniROCKET-type classifier and an FCN are trained on the real training split alone, and with as
many synthetic series again by each method; all else, the classifier's training steps too, is
equal. The paired test compares accuracies over data sets and seeds with those on real series only.
With --validate N, training sets are N series of a training split, others for each seed, and the
rest of that split is what they are judged on. Test splits are not touched: that is how defaults
are chosen.

    python examples/benchmarks/augmentation.py --jobs 2 --threads 1
    python examples/benchmarks/augmentation.py --jobs 2 --threads 1 --validate 100 --seeds 2 \
        --datasets ECG5000 FordA FordB --classifiers MiniROCKET
"""

import numpy as np
import torch
from common import Results, load_ucr, mean_and_spread, parser, print_table, split_training, start
from imblearn.over_sampling import SMOTE
from joblib import Parallel, delayed
from scipy.stats import wilcoxon
from sklearn.base import clone

from skncvqvae import AugmentedClassifier, NCVQVAEGenerator
from skncvqvae.metrics import FCNClassifier
from skncvqvae.metrics._usefulness import clone_classifier

DATASETS = ["ECG200", "CBF", "ArrowHead", "BME", "GunPoint", "Plane", "ECG5000"]
# "variations" is the default.
OURS = {
    "samples, likelihood": {"mask_ratio": 1.0, "filter": "likelihood"},
    "samples": {"mask_ratio": 1.0, "filter": None},
    "samples, agreement": {"mask_ratio": 1.0, "filter": "agreement"},
    "variations": {"mask_ratio": 0.5, "filter": None},
    "variations, agreement": {"mask_ratio": 0.5, "filter": "agreement"},
}
METHODS = ["real only", "jitter", "SMOTE", *OURS]
# Labels of the last rows, what they show, and how.
SUMMARY = [
    ("mean", "accuracy", ".4f"),
    ("gain", "gain", "+.4f"),
    ("p (Wilcoxon)", "p (Wilcoxon)", ".2f"),
]


class Fitted(NCVQVAEGenerator):
    """A generator that is fitted once for all classifiers and methods on the same series."""

    _cache = {}

    def fit_encode(self, X, y=None):
        key = (X.tobytes(), str(self.get_params()))
        if key not in self._cache:
            self._cache.clear()
            encoded = NCVQVAEGenerator.fit_encode(self, X, y)
            self._cache[key] = vars(self).copy(), encoded
        state, encoded = self._cache[key]
        vars(self).update(state)
        return encoded


def jitter(X, y, seed):
    """Add noise, 0.03 of the standard deviation, as Um et al. (arXiv:1706.00527)."""
    noise = np.random.default_rng(seed).normal(0, 0.03 * X.std(), X.shape)
    return np.concatenate([X, X + noise]), np.concatenate([y, y])


def smote(X, y, seed):
    """Double every class of at least two series."""
    classes, counts = np.unique(y, return_counts=True)
    wanted = {label: 2 * n if n > 1 else n for label, n in zip(classes, counts, strict=True)}
    n_neighbors = min(5, counts[counts > 1].min() - 1)
    return SMOTE(
        sampling_strategy=wanted, k_neighbors=n_neighbors, random_state=seed
    ).fit_resample(X, y)


def make_classifiers(seed):
    """Return the two classifiers by name."""
    return {
        "MiniROCKET": clone_classifier(None, seed),
        "FCN": FCNClassifier(device="cpu", random_state=seed),
    }


def accuracy(method, classifier, split, seed, generator):
    """Train one classifier by one method and return its test accuracy."""
    X, y, X_test, y_test = split
    model = clone(classifier)
    if method in OURS:
        model = AugmentedClassifier(model, generator, random_state=seed, **OURS[method])
    elif method == "jitter":
        X, y = jitter(X, y, seed)
    elif method == "SMOTE":
        X, y = smote(X, y, seed)
    return model.fit(X, y).score(X_test, y_test)


def make_split(options, name, seed):
    """Return train and test data: the original split, or two parts of the training split."""
    X, y, X_test, y_test = load_ucr(options.data, name)
    if options.validate is None:
        return X, y, X_test, y_test
    return split_training(X, y, random_state=seed, train_size=options.validate)


def accuracies(name, seed, params, options):
    """Return the accuracy of each classifier by each method, keyed by both."""
    torch.set_num_threads(options.threads)
    split = make_split(options, name, seed)
    generator = Fitted(device="cpu", random_state=seed).set_params(**params)
    found = {
        (kind, method): accuracy(method, classifier, split, seed, generator)
        for kind, classifier in make_classifiers(seed).items()
        if kind in options.classifiers
        for method in METHODS
    }
    print(f"# {name}, seed {seed}:", {k: round(v, 3) for k, v in found.items()})
    return name, seed, found


def summarise(accuracies, real_only):
    """Return the mean of paired accuracies, their gain, and the p-value of the gain."""
    gains = accuracies - real_only
    p_value = wilcoxon(gains).pvalue if gains.any() else 1.0
    return {"accuracy": accuracies.mean(), "gain": gains.mean(), "p (Wilcoxon)": p_value}


def main():
    """Run everything; print a table for each classifier, and the tests."""
    p = parser(__doc__, DATASETS)
    p.add_argument("--validate", type=int, help="series of the training split to train on")
    p.add_argument("--classifiers", nargs="+", default=list(make_classifiers(0)))
    p.add_argument("--jobs", type=int, default=1, help="processes, of --threads threads each")
    options = p.parse_args()
    params = {f"transformer__{key}": value for key, value in start(options).items()}
    if options.epochs is not None:
        params["prior__max_epochs"] = options.epochs
    found = Parallel(options.jobs)(
        delayed(accuracies)(name, seed, params, options)
        for name in options.datasets
        for seed in range(options.seeds)
    )
    output = Results(options.output)
    split = "test" if options.validate is None else "validation"
    scores = {}
    for name, seed, values in found:
        for (kind, method), value in values.items():
            output.add(name, method, {"accuracy": value}, seed, classifier=kind, split=split)
            scores.setdefault((kind, name), {}).setdefault(method, []).append(value)
    for kind in options.classifiers:
        tables = [scores[kind, name] for name in options.datasets]
        print(f"\n{kind}\n")
        rows = [
            [name, *(mean_and_spread(table[m]) for m in METHODS)]
            for name, table in zip(options.datasets, tables, strict=True)
        ]
        means = {m: np.concatenate([table[m] for table in tables]) for m in METHODS}
        summary = {m: summarise(means[m], means["real only"]) for m in METHODS}
        for method, figures in summary.items():
            output.add("mean", method, figures, classifier=kind, split=split)
        for label, figure, digits in SUMMARY:
            rows.append([label, *(f"{summary[m][figure]:{digits}}" for m in METHODS)])
        print_table(["data set", *METHODS], rows)


if __name__ == "__main__":
    main()
