"""Series of several channels: how well they are classified, and what their samples keep.

Four sets: BasicMotions (6 channels) and JapaneseVowels (12, of unequal lengths), which come with
aeon, and two made by formulas: ``pairs`` (8), where the class is which two channels move together
and no channel tells anything by itself, and ``one of 16``, where the class is the shape of a bump
in one channel and the others are noise.

A default transformer is fitted without labels, and logistic regression and ridge are trained on
its representations. Yardsticks: aeon's MultiRocket, MiniROCKET, and the raw values, with the same
classifiers. Series of unequal lengths go to the transformer as they are, with
``irregular="interpolate"``; the yardsticks get them as it reads them, stretched to one length.

Then the default generator, with classes, as in ``class_fidelity.py``: TRTS and TSTR by MiniROCKET
and ridge beside those of decoded training series and of held-out ones, coverage, recall, and CPU
seconds of a fit of both stages.

By default on part of the training split only: fitted on two thirds of it, judged on the other
third. ``--test`` fits on the training split and judges on the test split. What ``--output`` holds
already is not run again.

    python examples/benchmarks/multivariate.py --folds 1 --threads 1
    python examples/benchmarks/multivariate.py --test --threads 1 \\
        --output examples/benchmarks/results/multivariate.csv
"""

import numpy as np
import pandas as pd
import torch
from aeon.datasets import load_basic_motions, load_japanese_vowels
from aeon.transformations.collection.convolution_based import MultiRocket
from class_fidelity import DECODED, HELD_OUT, Judge
from common import (
    Results,
    cpu_seconds,
    fitted_tokenizer,
    parser,
    print_table,
    split_options,
    splits_within,
    start,
)
from representation import accuracies

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import RocketFeatures

REPRESENTATIONS = ["ppv", "code_ppv", "codes"]
YARDSTICKS = ["MultiROCKET", "MiniROCKET", "raw values"]
N_TRAIN, N_TEST = 120, 200
LENGTH = 96
# Frequencies, in periods of a series, of which noise is made.
FREQUENCIES = np.arange(1, 11)


def smooth_noise(rng, shape):
    """Return sums of waves of random amplitudes and phases, of mean 0 and variance about 1."""
    phases = 2 * np.pi * np.outer(FREQUENCIES, np.arange(LENGTH)) / LENGTH
    amplitudes = rng.normal(size=(2, *shape, len(FREQUENCIES))) / np.sqrt(len(FREQUENCIES))
    return amplitudes[0] @ np.cos(phases) + amplitudes[1] @ np.sin(phases)


def pairs(n, seed):
    """Return noise of 8 channels; the class is which of four pairs of them moves together.

    Each channel by itself has the same law in all classes.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 4)
    X = smooth_noise(rng, (n, 8))
    rows = np.arange(n)
    # A correlation of 0.9.
    X[rows, 2 * y + 1] = 0.9 * X[rows, 2 * y] + np.sqrt(1 - 0.81) * X[rows, 2 * y + 1]
    return X, y


def one_of_16(n, seed):
    """Return noise of 16 channels; in the sixth is a bump, whose shape is the class."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 4)
    X = smooth_noise(rng, (n, 16))
    rise = np.linspace(0, 1, 24)
    shapes = rise, rise[::-1], 1 - np.abs(2 * rise - 1), np.full(24, 0.5)
    for series, label in zip(X[:, 5], y, strict=True):
        start = rng.integers(LENGTH - 24)
        series *= 0.3
        series[start : start + 24] += 4 * shapes[label]
    return X, y


def bundled(load):
    """Return both splits of a set that comes with aeon."""
    return *load(split="train"), *load(split="test")


def made(function):
    """Return both splits of a set that is made."""
    return *function(N_TRAIN, seed=0), *function(N_TEST, seed=1)


SETS = {
    "BasicMotions": lambda: bundled(load_basic_motions),
    "JapaneseVowels": lambda: bundled(load_japanese_vowels),
    "pairs": lambda: made(pairs),
    "one of 16": lambda: made(one_of_16),
}


def splits_of(dataset, options):
    """Yield the name and seed of each split, and its series with their labels."""
    data = SETS[dataset]()
    return splits_within(data, options, len(data[1]))


def features_of(name, X, X_held, tokenizer, seed):
    """Return features of both sets of series."""
    if name in REPRESENTATIONS:
        transformer = tokenizer.set_params(representation=name)
        return transformer.transform(X), transformer.transform(X_held)
    X, X_held = tokenizer.read(X), tokenizer.read(X_held)
    if name == "raw values":
        return X.reshape(len(X), -1), X_held.reshape(len(X_held), -1)
    if name == "MiniROCKET":
        transformer = RocketFeatures(10000, random_state=seed).fit(X)
    else:
        # As its authors have it, on series of mean 0 and variance 1 in each channel.
        centre, scale = X.mean((0, 2), keepdims=True), X.std((0, 2), keepdims=True)
        X, X_held = (X - centre) / scale, (X_held - centre) / scale
        transformer = MultiRocket(random_state=seed).fit(X)
    return transformer.transform(X), transformer.transform(X_held)


def classify(dataset, options, params, output):
    """Judge all features of a data set that the output does not hold yet."""
    split = "test" if options.test else "validation"
    for label, seed, (X, y, X_held, y_held) in splits_of(dataset, options):
        names = [
            name
            for name in options.representations + options.yardsticks
            if not output.holds(dataset, name, label, split=split)
        ]
        if not names:
            continue
        tokenizer = fitted_tokenizer(
            X, params | {"irregular": "interpolate", "random_state": seed}, options.cache
        )
        for name in names:
            features, held_out = features_of(name, X, X_held, tokenizer, seed)
            # aeon's MultiRocket sets it to the number of cores.
            torch.set_num_threads(options.threads)
            # Features of ours and of aeon's are arrays of 32 bits, in which ridge is less exact.
            features, held_out = features.astype(np.float64), held_out.astype(np.float64)
            found = accuracies(name, features, y, held_out, y_held, seed)
            output.add(dataset, name, found, label, split=split)
            print(f"# {dataset}, {name}, {label}:", found, flush=True)


def generate(dataset, options, params, output):
    """Judge the default generator of a data set, for the first seeds."""
    split = "test" if options.test else "validation"
    for label, seed, (X, y, X_held, y_held) in splits_of(dataset, options):
        names = [DECODED, HELD_OUT, "samples"]
        done = all(output.holds(dataset, name, label, split=split) for name in names)
        if done or (options.test and seed >= options.sample_seeds):
            continue
        generator = default_generator(options, params, seed)
        seconds = cpu_seconds(lambda generator=generator, X=X, y=y: generator.fit(X, y))
        transformer = generator.transformer_
        read, held_out = transformer.read(X), transformer.read(X_held)
        judge = Judge(read, y, held_out, y_held)
        decoded = transformer.decode(transformer.encode(read))
        figures = {
            DECODED: judge(decoded, y, seed),
            HELD_OUT: judge.of_held_out(),
            "samples": judge(*generator.sample(y=y, random_state=seed), seed)
            | {"fit (CPU s)": seconds},
        }
        for name, found in figures.items():
            if not output.holds(dataset, name, label, split=split):
                output.add(dataset, name, found, label, split=split)
                print(f"# {dataset}, {name}, {label}:", found, flush=True)


def default_generator(options, params, seed):
    """Return a generator with the defaults, but for lengths that differ."""
    generator = NCVQVAEGenerator(device="cpu", random_state=seed)
    generator.set_params(transformer__irregular="interpolate")
    generator.set_params(**{f"transformer__{name}": value for name, value in params.items()})
    if options.epochs is not None:
        generator.set_params(prior__max_epochs=options.epochs)
    return generator


def main():
    """Run the folds, or the seeds on the test split, and print the table."""
    p = parser(__doc__, list(SETS))
    split_options(p, "test", "folds", "cache")
    p.add_argument("--sample-seeds", type=int, default=1, help="of the seeds, so many generate")
    p.add_argument("--representations", nargs="*", default=REPRESENTATIONS)
    p.add_argument("--yardsticks", nargs="*", default=YARDSTICKS, choices=YARDSTICKS)
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    for dataset in options.datasets:
        classify(dataset, options, params, output)
        if options.sample_seeds:
            generate(dataset, options, params, output)
    data = pd.DataFrame(output.rows).astype({"value": float})
    data = data[data["split"] == ("test" if options.test else "validation")]
    table = data.pivot_table("value", ["method", "metric"], "dataset", sort=False)
    rows = [[*row.Index, *(f"{value:.3f}" for value in row[1:])] for row in table.itertuples()]
    print_table(["", "", *table.columns], rows)


if __name__ == "__main__":
    main()
