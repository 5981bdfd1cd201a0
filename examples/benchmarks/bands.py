"""Do frequency bands with tokens of their own help, on sharp series and on others?

Fits a generator on part of a training split and reports on the rest of it. Sets of ``sharp.py``
are drawn anew for it; of sets of the UCR archive, half of the training split is set aside.
Figures: accuracy of a linear SVM on the default representation; mean squared reconstruction error
in units of the variance; Frechet distances by random convolution features, of the decoded training
series and of samples, to the series set aside, and as a yardstick that of the training series
themselves; TSTR, precision and coverage of the samples; seconds of processor time of the tokenizer
and of the prior.

    python examples/benchmarks/bands.py --output examples/benchmarks/results/bands.csv
"""

import numpy as np
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
from skncvqvae.bands import STFTBands, WaveletBands
from skncvqvae.metrics import coverage, frechet_distance, precision, tstr_score

# What blurs no edge for the low band, and keeps the place of edges for the high one.
OWN = {"augmentations": {"low": "slice", "high": ["jitter", "phase_shift"]}}
WIDE = {"downsampled_width": {"low": 16, "high": 64}}
SPLITS = {
    "STFT": {"bands": STFTBands()},
    "haar": {"bands": WaveletBands("haar")},
    "haar, level 2": {"bands": WaveletBands("haar", levels=2)},
    "db4": {"bands": WaveletBands("db4", levels=2)},
    "three haar": {"bands": WaveletBands("haar", levels=(4, 2))},
}
VARIANTS = {
    "no bands": {},
    "no bands, n_fft 4": {"n_fft": 4},
    "no bands, augmentations of the high band": {"augmentations": OWN["augmentations"]["high"]},
    **SPLITS,
    **{
        f"{name}, own augmentations, n_fft 4": {**params, **OWN, "n_fft": 4}
        for name, params in SPLITS.items()
    },
    **{f"{name}, n_fft 4": {**params, "n_fft": 4} for name, params in SPLITS.items()},
    "haar, shifted less": {**SPLITS["haar"], "random_shift": 0.25},
    **{f"{name}, own augmentations": {**params, **OWN} for name, params in SPLITS.items()},
    **{f"{name}, 16 + 64 columns": {**params, **WIDE} for name, params in SPLITS.items()},
}
COLUMNS = [
    "probe",
    "reconstruction error",
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
    figures["probe"] = probe_accuracy(transformer, X, y, X_rest, y_rest)
    figures["reconstruction error"] = -transformer.score(X_rest)
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
    p = parser(__doc__, [*SHARP, "CBF", "GunPoint"])
    p.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    p.add_argument("--n-series", type=int, default=300, help="training series of sharp sets")
    p.add_argument("--tokenizer-only", action="store_true", help="stage 1 only")
    options = p.parse_args()
    start(options)
    print(describe_machine())
    output, scores = Results(options.output), {}
    for name in options.datasets:
        for seed in range(options.seeds):
            split = load(name, seed, options)
            for variant in options.variants:
                figures = measure(split, VARIANTS[variant], seed, options)
                shown = {k: round(v, 3) for k, v in figures.items()}
                print("#", name, variant, seed, shown, flush=True)
                output.add(name, variant, figures, seed)
                for metric, value in figures.items():
                    scores.setdefault((name, variant), {}).setdefault(metric, []).append(value)
    columns = [c for c in COLUMNS if any(c in found for found in scores.values())]
    rows = [
        [*key, *(mean_and_spread(found.get(c, [np.nan])) for c in columns)]
        for key, found in scores.items()
    ]
    print_table(["data set", "", *columns], rows)


if __name__ == "__main__":
    main()
