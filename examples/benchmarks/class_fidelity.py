"""Whether samples carry their class and vary as real series do: the choice of prior and finish.

Part of the training split only: tokenizer and prior are fitted on two thirds of it, and judged
with the other third. The judge is MiniROCKET with ridge regression. Accuracies are relative to
those of decoded training series; coverage, recall and authenticity are less those of held-out
series.

    python examples/benchmarks/class_fidelity.py --folds 1 --threads 1
"""

import time

import numpy as np
from common import Results, fitted_tokenizer, folds_of, load_ucr, parser, print_table, start
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skncvqvae import AutoregressiveTokenPrior, MaskedTokenPrior, NCVQVAEGenerator
from skncvqvae.metrics import RocketFeatures, authenticity, frechet_distance, prdc

DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "BME", "ItalyPowerDemand", "Plane"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
DATASETS += ["Lightning7", "SwedishLeaf", "Fish", "WordSynonyms"]
COLUMNS = ["trts ratio", "tstr ratio", "coverage", "recall", "authenticity", "fid", "seconds"]


def classifier():
    """Return the judge."""
    return make_pipeline(
        RocketFeatures(10000, random_state=0),
        StandardScaler(),
        RidgeClassifierCV(np.logspace(-3, 3, 10)),
    )


def judge(generator, X, y, X_test, y_test, decoded, sample_params):
    """Return the figures of two draws of as many samples as there are training series."""
    real = classifier().fit(X, y)
    trts, tstr = real.score(decoded, y), classifier().fit(decoded, y).score(X_test, y_test)
    features = RocketFeatures(random_state=0).fit(X)
    train, held_out = features.transform(X), features.transform(X_test)
    k = min(5, len(X_test) - 1)
    aim = prdc(train, held_out, features=None, n_neighbors=k)
    aim["authenticity"] = authenticity(train, held_out, features=None)
    draws = []
    for seed in range(2):
        samples, labels = generator.sample(y=y, random_state=seed, **sample_params)
        drawn = features.transform(samples)
        # As many as are held out: coverage and recall grow with the number.
        few = drawn[np.random.default_rng(seed).permutation(len(drawn))[: len(held_out)]]
        found = prdc(train, few, features=None, n_neighbors=k)
        draws.append(
            {
                "trts ratio": real.score(samples, labels) / trts,
                "tstr ratio": classifier().fit(samples, labels).score(X_test, y_test) / tstr,
                "coverage": found["coverage"] - aim["coverage"],
                "recall": found["recall"] - aim["recall"],
                "authenticity": authenticity(train, few, features=None) - aim["authenticity"],
                "fid": frechet_distance(held_out, drawn, features=None),
            }
        )
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def main():
    """Fit, judge, and print a table for each variant."""
    p = parser(__doc__, DATASETS, seeds=False)
    p.add_argument("--folds", type=int, default=3, help="of the three folds, so many")
    p.add_argument("--max-series", type=int, default=1000, help="of a training split, at most")
    p.add_argument("--cache", help="directory that keeps fitted tokenizers")
    p.add_argument("--prior-epochs", type=int, help="for a quick look")
    options = p.parse_args()
    params = start(options)
    epochs = {} if options.prior_epochs is None else {"max_epochs": options.prior_epochs}
    before = {"observation_noise": 1.0, "match_moments": True}
    variants = {
        "default": (NCVQVAEGenerator(prior=AutoregressiveTokenPrior(**epochs)), {}),
        "default, guidance 1.5": (None, {"guidance_scale": 1.5}),
        "default, noise 1": (None, {"observation_noise": 1.0}),
        "masked prior, noise 1": (
            NCVQVAEGenerator(prior=MaskedTokenPrior(**epochs), **before),
            {},
        ),
    }
    output, rows = Results(options.output), {name: [] for name in variants}
    for dataset in options.datasets:
        X, y, _, _ = load_ucr(options.data, dataset)
        for fold, (train, test) in enumerate(folds_of(y, options.max_series, options.folds)):
            tokenizer = fitted_tokenizer(X[train], params, options.cache)
            decoded = tokenizer.inverse_transform(tokenizer.tokenize(X[train]))
            for name, (template, sample_params) in variants.items():
                if template is not None:
                    start_time = time.process_time()
                    generator = template.set_params(
                        transformer=FrozenEstimator(tokenizer), random_state=0
                    ).fit(X[train], y[train])
                    seconds = time.process_time() - start_time
                found = judge(
                    generator, X[train], y[train], X[test], y[test], decoded, sample_params
                )
                found["seconds"] = seconds
                output.add(dataset, name, found, f"fold {fold}")
                rows[name].append([found[column] for column in COLUMNS])
                print(f"# {dataset}, {name}:", *(f"{v:.2f}" for v in rows[name][-1]), flush=True)
    means = [[name, *(f"{v:.3f}" for v in np.mean(rows[name], axis=0))] for name in variants]
    print_table(["mean", *COLUMNS], means)


if __name__ == "__main__":
    main()
