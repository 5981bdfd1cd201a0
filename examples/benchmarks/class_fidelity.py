"""Whether samples carry their class and vary as real series do: both priors on one tokenizer.

The generator's default tokenizer is fitted once for each data set and seed, and each prior at its
defaults on its tokens. Two yardsticks stand beside them: what is decoded from the tokens of the
training series, and the held-out series themselves. The judge of classes is MiniROCKET with ridge
regression; distances are between features of random kernels.

- nats a token: negative log-likelihood of held-out series, given their class. Exact for the
  autoregressive prior; for the masked one an upper bound, the mean over random orders of filling
  in (Uria, Murray, Larochelle, arXiv:1310.1757), estimated by 32 draws. Its pseudo-likelihood,
  each token given all others, is no bound, and stands apart;
- fit, sampling: CPU seconds of the second stage, and of 1,000 series;
- TRTS: accuracy on samples of what was trained on real series; TSTR: trained on samples, tested on
  held-out series. Of held-out series, both are the accuracy of what was trained on real ones;
- coverage, recall, authenticity of as many series as there are training and held-out ones;
  membership: area under the ROC curve of an attack that knows the samples;
- ratios: TRTS and TSTR to those of decoded training series, coverage and recall to those of
  held-out series; authenticity less theirs.

By default part of the training split only, fitted on two thirds and judged with the other third:
choices are made there. ``--test`` fits on the training split and judges with the test split. What
``--output`` holds already is not run again; two processes with different data sets may share it.

    python examples/benchmarks/class_fidelity.py --folds 1 --threads 1
    python examples/benchmarks/class_fidelity.py --test --seeds 3 --threads 1 \\
        --output examples/benchmarks/results/class_fidelity.csv
"""

import functools

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from common import (
    Results,
    cpu_seconds,
    fitted_tokenizer,
    parser,
    print_table,
    split_options,
    splits_of,
    start,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skncvqvae import AutoregressiveTokenPrior, MaskedTokenPrior, NCVQVAEGenerator
from skncvqvae.metrics import (
    RocketFeatures,
    authenticity,
    frechet_distance,
    membership_auc,
    prdc,
)

DATASETS = ["GunPoint", "CBF", "ECG200", "ArrowHead", "BME", "ItalyPowerDemand", "Plane"]
DATASETS += ["ToeSegmentation1", "MiddlePhalanxTW", "FacesUCR", "SyntheticControl"]
DATASETS += ["Lightning7", "SwedishLeaf", "Fish", "WordSynonyms"]
ON_TEST = [*DATASETS, "ECG5000"]
DECODED, HELD_OUT = "decoded training series", "held-out series"
# Name: prior, parameters of the generator, and of `sample`.
VARIANTS = {
    "autoregressive": (AutoregressiveTokenPrior, {}, {}),
    "masked": (MaskedTokenPrior, {}, {}),
    "autoregressive, guidance 1.5": (AutoregressiveTokenPrior, {}, {"guidance_scale": 1.5}),
    "autoregressive, noise 1": (AutoregressiveTokenPrior, {}, {"observation_noise": 1.0}),
    "masked, noise 1": (
        MaskedTokenPrior,
        {"observation_noise": 1.0, "match_moments": True},
        {},
    ),
}
# Tokens that are not known yet, as priors take them.
MASKED = -1
N_BOUND_DRAWS = 32
# Series that go through a prior at once.
BATCH = 256
N_TIMED = 1000


def classifier():
    """Return the judge of classes."""
    return make_pipeline(
        RocketFeatures(10000, random_state=0),
        StandardScaler(),
        RidgeClassifierCV(np.logspace(-3, 3, 10)),
    )


class Judge:
    """Judges samples beside real series.

    Parameters
    ----------
    X, y : ndarray
        Series that generators are fitted on.
    X_test, y_test : ndarray
        Those held out.
    """

    def __init__(self, X, y, X_test, y_test):
        self.test = X_test, y_test
        self.real = classifier().fit(X, y)
        self.features = RocketFeatures(random_state=0).fit(X)
        self.train, self.held_out = map(self.features.transform, (X, X_test))
        # Coverage and recall grow with the number of series.
        self.n = min(len(X), len(X_test))

    def __call__(self, samples, labels, seed):
        """Return the figures of samples."""
        drawn = self.features.transform(samples)
        return {
            "TRTS": self.real.score(samples, labels),
            "TSTR": classifier().fit(samples, labels).score(*self.test),
            "FID": frechet_distance(self.held_out, drawn, features=None),
            "membership": membership_auc(self.train, drawn, self.held_out, features=None),
        } | self._near(drawn, seed)

    def of_held_out(self):
        """Return the figures that real series get."""
        accuracy = self.real.score(*self.test)
        return {
            "TRTS": accuracy,
            "TSTR": accuracy,
            "FID": frechet_distance(self.held_out, self.train, features=None),
        } | self._near(self.held_out, seed=0)

    def _near(self, features, seed):
        few = features[np.random.default_rng(seed).permutation(len(features))[: self.n]]
        k = min(5, self.n - 1)
        found = prdc(self.train, few, features=None, n_neighbors=k)
        found["authenticity"] = authenticity(self.train, few, features=None)
        return {name: found[name] for name in ("precision", "coverage", "recall", "authenticity")}


def relative(found, decoded, held_out):
    """Return figures of samples relative to those of the yardsticks."""
    ratios = {f"{name} ratio": found[name] / decoded[name] for name in ("TRTS", "TSTR")}
    for name in ("coverage", "recall"):
        ratios[f"{name} ratio"] = found[name] / held_out[name]
    difference = found["authenticity"] - held_out["authenticity"]
    return ratios | {"authenticity difference": difference}


def nats_a_token(prior, tokens, y):
    """Return the mean negative log-likelihood of a token, or its bound, in nats."""
    mean = -float(prior.score_samples(tokens, y).mean()) / tokens.shape[1]
    if isinstance(prior, AutoregressiveTokenPrior):
        return {"nats a token": mean}
    return {"nats a token": bound_of_nats(prior, tokens, y), "pseudo nats a token": mean}


def bound_of_nats(prior, tokens, y):
    """Return the nats a token of a masked prior, in the mean over orders of filling in.

    With a number of masked tokens drawn uniformly, the mean loss of a masked token is that of a
    random step of a random order.
    """
    rows, labels = torch.from_numpy(tokens), torch.from_numpy(np.searchsorted(prior.classes_, y))
    source, losses = torch.Generator().manual_seed(0), []
    with torch.inference_mode():
        for _ in range(N_BOUND_DRAWS):
            for part, their_labels in zip(rows.split(BATCH), labels.split(BATCH), strict=True):
                n_masked = torch.randint(1, part.shape[1] + 1, (len(part), 1), generator=source)
                masked = torch.rand(part.shape, generator=source).argsort(1).argsort(1) < n_masked
                logits = prior.module_(part.masked_fill(masked, MASKED), their_labels, masked)
                loss = F.cross_entropy(logits, part[masked], reduction="none")
                losses.append(torch.stack([x.mean() for x in loss.split(masked.sum(1).tolist())]))
    return float(torch.cat(losses).mean())


def default_tokenizer(X, params, seed, cache):
    """Return a generator's default tokenizer, fitted on `X`."""
    template = NCVQVAEGenerator(device="cpu")
    template.set_params(transformer__random_state=seed)
    return fitted_tokenizer(X, template.transformer.get_params(deep=False) | params, cache)


def fitted_generator(name, tokenizer, X, y, options, seed):
    """Return a generator on a fitted tokenizer, and the CPU seconds that its fit took."""
    make_prior, generator_params, _ = VARIANTS[name]
    epochs = {} if options.prior_epochs is None else {"max_epochs": options.prior_epochs}
    generator = NCVQVAEGenerator(
        FrozenEstimator(tokenizer),
        make_prior(device="cpu", **epochs),
        random_state=seed,
        **generator_params,
    )
    return generator, cpu_seconds(lambda: generator.fit(X, y))


def run(dataset, options, params, output):
    """Judge what the output does not hold yet of a data set."""
    split = "test" if options.test else "validation"
    for label, seed, (X, y, X_held, y_held) in splits_of(dataset, options):
        names = [DECODED, HELD_OUT, *options.variants]
        if all(output.holds(dataset, name, label, split=split) for name in names):
            continue
        tokenizer = default_tokenizer(X, params, seed, options.cache)
        judge = Judge(X, y, X_held, y_held)
        series = tokenizer.inverse_transform(tokenizer.tokenize(X))
        decoded, held_out = judge(series, y, seed), judge.of_held_out()
        for name, found in ((DECODED, decoded), (HELD_OUT, held_out)):
            if not output.holds(dataset, name, label, split=split):
                output.add(dataset, name, found, label, split=split)
        for name in options.variants:
            if output.holds(dataset, name, label, split=split):
                continue
            generator, seconds = fitted_generator(name, tokenizer, X, y, options, seed)
            sample_params = VARIANTS[name][2]
            draws = [
                judge(*generator.sample(y=y, random_state=draw, **sample_params), draw)
                for draw in range(options.draws)
            ]
            found = {
                metric: float(np.mean([draw[metric] for draw in draws])) for metric in draws[0]
            }
            found |= relative(found, decoded, held_out)
            found |= nats_a_token(generator.prior_, tokenizer.tokenize(X_held), y_held)
            found["fit (CPU s)"] = seconds
            found["sampling (CPU s)"] = cpu_seconds(
                functools.partial(generator.sample, N_TIMED, random_state=seed, **sample_params)
            )
            output.add(dataset, name, found, label, split=split)
            print(f"# {dataset}, {name}, {label}:", found, flush=True)


def main():
    """Fit, judge, and print the means over data sets."""
    p = parser(__doc__, None)
    split_options(p, "test", "folds", "max-series", "cache")
    p.add_argument("--draws", type=int, default=2, help="samples are drawn so many times")
    p.add_argument("--prior-epochs", type=int, help="for a quick look")
    p.add_argument(
        "--variants", nargs="+", default=["autoregressive", "masked"], choices=list(VARIANTS)
    )
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    datasets = options.datasets or (ON_TEST if options.test else DATASETS)
    for dataset in datasets:
        run(dataset, options, params, output)
    data = pd.DataFrame(output.rows).astype({"value": float})
    data = data[data["dataset"].isin(datasets)]
    data = data[data["split"] == ("test" if options.test else "validation")]
    sets = data.pivot_table("value", ["metric", "dataset"], "method", sort=False)
    means = sets.groupby("metric", sort=False).mean()
    rows = [
        [row.Index, *("" if np.isnan(v) else f"{v:.3f}" for v in row[1:])]
        for row in means.itertuples()
    ]
    print_table([f"mean of {len(datasets)}", *means.columns], rows)


if __name__ == "__main__":
    main()
