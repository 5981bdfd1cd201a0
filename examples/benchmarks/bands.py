"""Do frequency bands with tokens of their own help, on sharp series and on others?

Fits a generator on part of a training split and reports on the rest of it. Sets of ``sharp.py``
are drawn anew for it; of sets of the UCR archive, half of the training split is set aside.
Figures: accuracy of a linear SVM on pooled codes (``probe``) and on the default representation
(``ppv``); mean squared reconstruction error in units of the variance, and what of it is in the low
and in the high band, by one and the same split for all; Frechet distances by random convolution
features, of the decoded training series and of samples, to the series set aside, and as a
yardstick that of the training series themselves; TSTR, precision and coverage of the samples;
seconds of processor time of the tokenizer and of the prior. What ``--output`` holds already is not
run again.

    python examples/benchmarks/bands.py --threads 1 --output examples/benchmarks/results/bands.csv
"""

import itertools

import numpy as np
import pandas as pd
from common import (
    Results,
    cpu_seconds,
    describe_machine,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    split_training,
    start,
)
from sharp import SHARP
from sklearn.frozen import FrozenEstimator

from skncvqvae import NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae.bands import STFTBands, WaveletBands, split_bands
from skncvqvae.metrics import coverage, frechet_distance, precision, tstr_score

# A second view of each band: the same for both, or what blurs no edge for the low band and keeps
# the place of edges for the high one.
BOTH = {"augmentations": {"low": "slice", "high": "slice"}}
OWN = {"augmentations": {"low": "slice", "high": ["jitter", "phase_shift"]}}
SPLITS = {
    "STFT": {"bands": STFTBands()},
    "haar": {"bands": WaveletBands("haar", levels=2)},
    "db4": {"bands": WaveletBands("db4", levels=2)},
}
VARIANTS = {
    "no bands": {},
    **SPLITS,
    "STFT, both augmented": {**SPLITS["STFT"], **BOTH},
    **{f"{name}, own augmentations": {**params, **OWN} for name, params in SPLITS.items()},
}
DATASETS = [*SHARP, "CBF", "GunPoint", "ECG200", "SyntheticControl", "FacesUCR"]
DATASETS += ["ToeSegmentation1"]
COLUMNS = [
    "probe",
    "ppv",
    "reconstruction error",
    "error, low",
    "error, high",
    "FID, real",
    "FID, decoded",
    "FID, samples",
    "TSTR",
    "precision",
    "coverage",
    "CPU seconds, stage 1",
    "CPU seconds, stage 2",
]


def load(name, seed, options):
    """Return ``X, y, X_rest, y_rest``, of which the second half is never trained on."""
    if name in SHARP:
        n = options.n_series
        X, y = SHARP[name](2 * n, 1000 + seed)
        return X[:n], y[:n], X[n:], y[n:]
    X, y, _, _ = load_ucr(options.data, name)
    return split_training(X, y, seed, test_size=0.5)


def measure(split, params, seed, options):
    """Fit a generator and return its figures."""
    X, y, X_rest, y_rest = split
    epochs = {} if options.epochs is None else {"max_epochs": options.epochs}
    transformer = NCVQVAETransformer(device="cpu", random_state=seed, **params, **epochs)
    figures = {"CPU seconds, stage 1": cpu_seconds(lambda: transformer.fit(X))}
    for column, representation in (("ppv", "ppv"), ("probe", "pooled")):
        transformer.set_params(representation=representation)
        figures[column] = probe_accuracy(transformer, X, y, X_rest, y_rest)
    figures["reconstruction error"] = -transformer.score(X_rest)
    lost = X_rest - transformer.inverse_transform(transformer.tokenize(X_rest))
    for name, part in split_bands(lost, "stft").items():
        figures[f"error, {name}"] = float(np.mean(part**2) / np.var(X))
    decoded = transformer.inverse_transform(transformer.tokenize(X))
    figures["FID, real"] = frechet_distance(X_rest, X)
    figures["FID, decoded"] = frechet_distance(X_rest, decoded)
    if options.tokenizer_only:
        return figures
    generator = NCVQVAEGenerator(FrozenEstimator(transformer), device="cpu", random_state=seed)
    figures["CPU seconds, stage 2"] = cpu_seconds(lambda: generator.fit(X, y))
    X_new, y_new = generator.sample(y=y_rest, random_state=seed)
    figures["FID, samples"] = frechet_distance(X_rest, X_new)
    figures["TSTR"] = tstr_score(
        X_real=X_rest, y_real=y_rest, X_synthetic=X_new, y_synthetic=y_new, random_state=seed
    )
    figures["precision"] = precision(X_rest, X_new)
    figures["coverage"] = coverage(X_rest, X_new)
    return figures


def main():
    """Print a table of all sets and variants."""
    p = parser(__doc__, DATASETS)
    p.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    p.add_argument("--n-series", type=int, default=100, help="training series of sharp sets")
    p.add_argument("--tokenizer-only", action="store_true", help="stage 1 only")
    options = p.parse_args()
    start(options)
    print(describe_machine())
    output = Results(options.output, resume=True)
    # Seed by seed, so that what is cut off has all sets.
    for seed, name in itertools.product(range(options.seeds), options.datasets):
        split = load(name, seed, options)
        for variant in options.variants:
            if not output.holds(name, variant, seed):
                figures = measure(split, VARIANTS[variant], seed, options)
                shown = {k: round(v, 3) for k, v in figures.items()}
                print("#", name, variant, seed, shown, flush=True)
                output.add(name, variant, figures, seed)
    data = pd.DataFrame(output.rows).astype({"value": float})
    columns = [column for column in COLUMNS if column in set(data["metric"])]
    rows = [
        [*key, *(mean_and_spread(group["value"][group["metric"] == c]) for c in columns)]
        for key, group in data.groupby(["dataset", "method"], sort=False)
    ]
    print_table(["data set", "", *columns], rows)


if __name__ == "__main__":
    main()
