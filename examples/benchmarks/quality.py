"""What the defaults reach in how long, both stages, by the authors' protocol.

Fits a generator on the original training split and reports on the test split: accuracy of a
linear SVM on the pooled quantised latent; Frechet distance and inception score of as many samples
as test series, by an FCN trained on the real training split; and CAS, the accuracy of an FCN
trained on samples alone, as many of each class as the training split has and at least 1,000. All
FCNs make the same number of steps. Each generator samples by its defaults, with each of
--guidance-scales, and with --as-decoded once more without `match_moments`. The last rows are
yardsticks: the training split itself in the samples' place, and a MiniROCKET-type classifier
trained on it.

CAS is given twice. The authors publish a moving average of accuracies of batches, in which the
last batch, however few series it holds, counts as much as the others: so does "CAS, batches".

    python examples/benchmarks/quality.py
"""

import itertools

import numpy as np
import torch
from common import (
    Results,
    describe_machine,
    epochs_of,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    repeat_labels,
    timed,
)
from joblib import Parallel, delayed
from sklearn.frozen import FrozenEstimator

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import FCNClassifier, frechet_distance, inception_score, tstr_score

VARIANTS = {
    "default": {},
    "no SSL": {"transformer__ssl_method": None},
}
COLUMNS = ["minutes", "probe", "FID", "IS", "CAS", "CAS, batches"]
AUTHORS_BATCH_SIZE = 256
# What the ways to sample set otherwise.
BY_ITSELF = {"sampler": None, "match_moments": "auto", "match_marginals": "auto"}


def fit_fcn(X, y, seed, options):
    """Return a classifier trained for about so many steps, whatever the number of series."""
    epochs = epochs_of(options.fcn_steps, len(X), options.fcn_batch_size)
    classifier = FCNClassifier(
        epochs,
        batch_size=options.fcn_batch_size,
        mixed_precision=options.mixed_precision,
        device="cpu",
        random_state=seed,
    )
    return classifier.fit(X, y)


def accuracies(classifier, X_test, y_test):
    """Return the accuracy on the test split, and the mean of those of its batches."""
    correct = classifier.predict(X_test) == y_test
    starts = range(AUTHORS_BATCH_SIZE, len(correct), AUTHORS_BATCH_SIZE)
    batches = [batch.mean() for batch in np.split(correct, starts)]
    return {"CAS": float(correct.mean()), "CAS, batches": float(np.mean(batches))}


def distances(split, X_new, classifier):
    """Return FID and inception score of `X_new` by an FCN trained on the training split."""
    X, y, X_test, _ = split
    frozen = FrozenEstimator(classifier)
    return {
        "FID": frechet_distance(X_test, X_new, features=classifier),
        "IS": inception_score(X, y, X_new, classifier=frozen),
    }


def yardstick(split, seed, options):
    """Return figures of the real training split in the samples' place, and its FCN."""
    torch.set_num_threads(options.threads)
    X, y, X_test, y_test = split
    classifier = fit_fcn(X, y, seed, options)
    found = distances(split, X, classifier) | accuracies(classifier, X_test, y_test)
    found["MiniROCKET"] = tstr_score(
        X_real=X_test, y_real=y_test, X_synthetic=X, y_synthetic=y, random_state=seed
    )
    return found, classifier


def sampling_settings(options):
    """Return the parameters of each way to sample, by what its rows' labels end in."""
    settings = {"": {}}
    for scale in options.guidance_scales:
        settings[f", guidance {scale:g}"] = {"sampler__guidance_scale": scale}
    if options.as_decoded:
        settings[", as decoded"] = {"match_moments": False, "match_marginals": False}
    return settings


def run(split, variant, seed, classifier, options):
    """Fit one generator and return the figures of each way to sample."""
    torch.set_num_threads(options.threads)
    X, y, X_test, y_test = split
    params = VARIANTS[variant]
    if options.epochs is not None:
        params = params | {
            "transformer__max_epochs": options.epochs,
            "prior__max_epochs": options.epochs,
        }
    generator = NCVQVAEGenerator(device="cpu", random_state=seed).set_params(**params)
    fitted = {"minutes": timed(lambda: generator.fit(X, y)) / 60}
    transformer = generator.transformer_.set_params(representation="embedding")
    fitted["probe"] = probe_accuracy(transformer, X, y, X_test, y_test)

    labels = np.random.default_rng(seed).choice(y, len(X_test))
    found = {}
    for suffix, settings in sampling_settings(options).items():
        generator.set_params(**(BY_ITSELF | settings))
        X_new, _ = generator.sample(y=labels, random_state=seed)
        figures = distances(split, X_new, classifier)
        X_new, y_new = generator.sample(y=repeat_labels(y, 1000), random_state=seed + 1)
        figures |= accuracies(fit_fcn(X_new, y_new, seed, options), X_test, y_test)
        found[variant + suffix] = fitted | figures
    return found


def main():
    """Print a table of all data sets and variants."""
    p = parser(__doc__, ["ECG5000", "FordA", "FordB"])
    p.add_argument("--jobs", type=int, default=1, help="processes, of --threads threads each")
    p.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    p.add_argument("--guidance-scales", nargs="+", type=float, default=[])
    p.add_argument("--as-decoded", action="store_true", help="sample without match_moments too")
    p.add_argument("--fcn-steps", type=int, default=6000)
    p.add_argument("--fcn-batch-size", type=int, default=16)
    p.add_argument("--mixed-precision", action="store_true", help="of the FCNs")
    options = p.parse_args()
    print(describe_machine(), f"{options.jobs} x {options.threads} threads\n", sep=", ")
    output = Results(options.output)
    splits = {name: load_ucr(options.data, name) for name in options.datasets}
    parallel = Parallel(options.jobs, return_as="generator")
    keys = list(itertools.product(splits, range(options.seeds)))
    scores, classifiers = {}, {}

    def note(name, label, seed, found):
        print("#", name, label, seed, {k: round(v, 3) for k, v in found.items()}, flush=True)
        output.add(name, label, found, seed)
        for column, value in found.items():
            scores.setdefault((name, label), {}).setdefault(column, []).append(value)

    results = parallel(delayed(yardstick)(splits[name], seed, options) for name, seed in keys)
    for (name, seed), (found, classifier) in zip(keys, results, strict=True):
        classifiers[name, seed] = classifier
        note(name, "real training split", seed, found)
    keys = list(itertools.product(splits, range(options.seeds), options.variants))
    results = parallel(
        delayed(run)(splits[name], variant, seed, classifiers[name, seed], options)
        for name, seed, variant in keys
    )
    for (name, seed, _), found in zip(keys, results, strict=True):
        for label, figures in found.items():
            note(name, label, seed, figures)
    columns = [*COLUMNS, "MiniROCKET"]
    rows = [
        [*key, *(mean_and_spread(found[c]) if c in found else "" for c in columns)]
        for key, found in sorted(scores.items())
    ]
    print_table(["data set", "", *columns], rows)


if __name__ == "__main__":
    main()
