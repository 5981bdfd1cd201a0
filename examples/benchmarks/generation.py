"""Unconditional generation as papers on time series compare it, and what that leaves out.

The published protocol: windows of stride 1, each channel mapped to [0, 1] by its range over the
whole series; a generator is fitted on all windows and draws as many; the scores compare the two.
"decoded" are the real windows, encoded and decoded again: what the tokens hold. "real halves" are
two random halves of the windows: what a perfect generator gets. Nothing is held out, so a copy of
the windows would get the best scores.

The held-out protocol fits on windows of the first four fifths of time (of Sines, on four fifths of
the series) and compares with windows of the last fifth. "training windows" in the samples' place
are its yardstick: where a series drifts, they are far away themselves. "nearest, relative" is
`nearest_neighbor_distance_ratio` at the 5 % quantile: towards 0 the more samples copy training
windows.

Scores are those of `skncvqvae.metrics`, with the published numbers of steps. The correlational
score is over random fifths of the windows, as published. Instead of Context-FID, which needs a
network of its own, a Fréchet distance on 2,000 random kernels is given, "FD": it compares rows of
one table only.

    python examples/benchmarks/generation.py --levels auto 1
    python examples/benchmarks/generation.py --quick
"""

import functools
import itertools
from pathlib import Path

import numpy as np
import torch
from common import Results, bare_parser, describe_machine, print_table, timed

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import (
    RocketFeatures,
    correlational_score,
    discriminative_score,
    frechet_distance,
    nearest_neighbor_distance_ratio,
    predictive_score,
    repeated_score,
)

N_SINES, SINES_CHANNELS = 10_000, 5
HELD_OUT = 0.2
# Windows of either side that distances between all of them are computed of.
MAX_NEIGHBOURS = 4000
# As printed by the authors of each, by length and data set.
PUBLISHED = {
    ("TimeGAN", "discriminative", 24): [0.011, 0.102, 0.114, 0.236],
    ("TimeVAE", "discriminative", 24): [0.041, 0.145, 0.209, 0.499],
    ("Diffusion-TS", "discriminative", 24): [0.006, 0.067, 0.061, 0.122],
    ("Diffusion-TS", "correlational", 24): [0.015, 0.004, 0.049, 0.856],
    ("Diffusion-TS", "discriminative", 64): [None, None, 0.106, 0.078],
    ("Diffusion-TS", "discriminative", 128): [None, None, 0.144, 0.143],
    ("FlowTS", "discriminative", 24): [0.005, 0.019, 0.011, 0.053],
}
PROTOCOLS = ["published", "held-out"]
DATASETS = ["sines", "stocks", "etth1", "energy"]
COLUMNS = ["minutes", "tokens", "MSE", "discriminative", "predictive", "correlational", "FD"]


def load(name, folder):
    """Return a data set as one series ``(length, n_channels)``, each channel in [0, 1]."""
    with np.load(folder / f"{name}.npz") as data:
        values = data["values"].astype(np.float64)
    lowest = values.min(axis=0)
    return (values - lowest) / (values.max(axis=0) - lowest + 1e-7)


def windows_of(series, length):
    """Return all windows of stride 1, ``(n, n_channels, length)``."""
    return np.lib.stride_tricks.sliding_window_view(series, length, axis=0).astype(np.float32)


def make_sines(length, seed=0):
    """Return sines of random frequency and phase, as the benchmark defines them."""
    rng = np.random.default_rng(seed)
    frequency, phase = rng.uniform(0, 0.1, (2, N_SINES, SINES_CHANNELS, 1))
    return ((np.sin(frequency * np.arange(length) + phase) + 1) / 2).astype(np.float32)


def split(name, length, protocol, folder):
    """Return training windows, and windows to compare samples with."""
    if name == "sines":
        windows = make_sines(length)
        cut = int((1 - HELD_OUT) * len(windows))
        train, test = windows[:cut], windows[cut:]
    else:
        series = load(name, folder)
        windows = windows_of(series, length)
        cut = int((1 - HELD_OUT) * len(series))
        # No window reaches over the cut.
        train, test = windows_of(series[:cut], length), windows_of(series[cut:], length)
    return (windows, windows) if protocol == "published" else (train, test)


def thin(windows, n, seed=0):
    """Return at most so many windows, drawn at random."""
    if n is None or n >= len(windows):
        return windows
    return windows[np.random.default_rng(seed).choice(len(windows), n, replace=False)]


def scores(real, other, options):
    """Return the repeated scores of series in the samples' place, by name."""
    repeated = functools.partial(repeated_score, n_repeats=options.repeats)
    fifth = {"fraction": 1 / 5}
    return {
        "discriminative": repeated(
            discriminative_score, real, other, n_steps=options.discriminative_steps
        ),
        "predictive": repeated(predictive_score, real, other, n_steps=options.predictive_steps),
        "correlational": repeated(correlational_score, real, other, **fifth),
    }


def distance(real, other):
    """Return the Fréchet distance on random kernels."""
    n = min(len(real), len(other), MAX_NEIGHBOURS)
    real, other = thin(real, n), thin(other, n, seed=1)
    features = RocketFeatures(2000, random_state=0).fit(real)
    return frechet_distance(real, other, features=features)


def nearest(train, synthetic, held_out):
    """Return how near to training windows synthetic ones are, relative to held-out ones."""
    flat = (thin(X, MAX_NEIGHBOURS).reshape(-1, X[0].size) for X in (train, synthetic, held_out))
    return nearest_neighbor_distance_ratio(*flat, features=None, quantile=0.05)


def parameters(options):
    """Return the generator's parameters that options set."""
    given = {
        "transformer__max_epochs": options.epochs,
        "prior__max_epochs": options.prior_epochs,
    }
    return {name: value for name, value in given.items() if value is not None}


def run(name, length, protocol, levels, options, note):
    """Fit a generator on one data set, and note the figures of all rows."""
    suffix = "" if levels == "auto" else f", n_levels={levels}"
    train, test = split(name, length, protocol, options.data)
    train, test = thin(train, options.max_windows), thin(test, options.max_windows)
    generator = NCVQVAEGenerator(device="cpu", random_state=options.seed)
    n_levels = levels if levels == "auto" else int(levels)
    generator.set_params(**parameters(options), transformer__n_levels=n_levels)
    minutes = timed(lambda: generator.fit(train)) / 60
    transformer = generator.transformer_
    synthetic, _ = generator.sample(len(test), random_state=options.seed)
    fitted = {
        "minutes": minutes,
        "tokens": transformer.n_tokens_,
        "MSE": -transformer.score(test),
    }
    decoded = transformer.inverse_transform(transformer.tokenize(test))
    rng = np.random.default_rng(options.seed)
    if protocol == "published":
        first, second = np.array_split(rng.permutation(len(test)), 2)
        yardstick = "real halves", test[first], test[second]
    else:
        yardstick = "training windows", test, thin(train, len(test))
        fitted["nearest, relative"] = nearest(train, synthetic, test)
    rows = [("samples" + suffix, test, synthetic), ("decoded" + suffix, test, decoded)]
    if levels == options.levels[0]:
        rows.append(yardstick)
    for label, real, other in rows:
        if label.startswith("samples"):
            for metric, value in fitted.items():
                note(label, metric, value)
        for metric, score in scores(real, other, options).items():
            note(label, metric, score.mean, score.half_width)
        note(label, "FD", distance(real, other))


def main():
    """Print a table of all data sets, lengths and protocols."""
    p = bare_parser(__doc__)
    p.add_argument("--data", type=Path, default=Path("../shared/data/generation"))
    p.add_argument("--datasets", nargs="+", default=DATASETS, choices=DATASETS)
    p.add_argument("--lengths", nargs="+", type=int, default=[24])
    p.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    p.add_argument("--repeats", type=int, default=5, help="of each score")
    p.add_argument("--discriminative-steps", type=int, default=2000)
    p.add_argument("--predictive-steps", type=int, default=5000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--max-windows", type=int, help="a random part of the windows")
    p.add_argument("--epochs", type=int, help="of the tokenizer; the default is its own")
    p.add_argument("--prior-epochs", type=int, help="of the prior; the default is its own")
    p.add_argument("--levels", nargs="+", default=["auto"], help="n_levels, one fit for each")
    p.add_argument("--quick", action="store_true", help="few windows, epochs, steps and repeats")
    options = p.parse_args()
    if options.quick:
        options.repeats, options.max_windows = 2, 400
        options.discriminative_steps = options.predictive_steps = 50
        options.epochs, options.prior_epochs = 5, 5
    torch.set_num_threads(options.threads)
    print(describe_machine(), f"{options.threads} threads\n", sep=", ")
    output, table = Results(options.output), {}

    def note(name, length, protocol, label, metric, value, half_width=""):
        keys = {"length": length, "protocol": protocol, "spread": half_width}
        output.add(name, label, {metric: value}, options.seed, **keys)
        after = "" if half_width == "" else f" ± {half_width:.3f}"
        table.setdefault((name, length, protocol, label), {})[metric] = f"{value:.3f}{after}"
        print("#", name, length, protocol, label, metric, f"{value:.4f}{after}", flush=True)

    for key in itertools.product(options.datasets, options.lengths, options.protocols):
        for levels in options.levels:
            run(*key, levels, options, functools.partial(note, *key))
    for (model, metric, length), values in PUBLISHED.items():
        for name, value in zip(DATASETS, values, strict=True):
            if name in options.datasets and length in options.lengths and value is not None:
                note(name, length, "published", f"published, {model}", metric, value)
    print_table(
        ["data set", "length", "protocol", "", *COLUMNS],
        [[*key, *(found.get(c, "") for c in COLUMNS)] for key, found in sorted(table.items())],
    )


if __name__ == "__main__":
    main()
