"""Both stages on a GPU: equal to the CPU's, repeatable, and faster than the authors' code.

First, models fitted on the CPU for a few epochs are moved to the GPU: reported are the largest
relative difference of the loss terms of one training step, the share of equal tokens, and the
largest relative differences of what `transform` and the priors' `score_samples` return; then
whether two fits on the GPU with one seed agree to the last bit. After that come seconds on the
wall of a whole fit of each stage with our defaults, of the reference preset in the authors' 1,000
epochs, and of the authors' code on the same card; the two last are told from the median epoch of
a few after one that warms up. "fit and 1,000 samples" is the default generator from series to
series.

    python examples/benchmarks/gpu.py --authors CHECKOUT --output gpu.csv

Without ``--authors`` their code is left out. ``--device cpu`` tries the script without a GPU.
"""

import copy
import sys
from pathlib import Path

import _authors
import _ours
import numpy as np
import torch
from common import Results, describe_machine, load_ucr, parser, print_table, timed
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skncvqvae import (
    AutoregressiveTokenPrior,
    MaskedTokenPrior,
    NCVQVAEGenerator,
    NCVQVAETransformer,
)

AUTHORS_EPOCHS = 1000
AUTHORS_SSL = "barlowtwins"


def relative(found, expected):
    """Return the largest difference in units of the largest expected magnitude."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def step_losses(module, X, device):
    """Return the loss terms of a training step on the series as they are."""
    module = copy.deepcopy(module).to(device).train()
    x = torch.from_numpy(np.asarray(X, np.float32)[:64, None]).to(device)
    terms = module(x, x.roll(1, -1))
    terms["loss"].backward()
    return np.array([float(value.detach()) for value in terms.values()])


def equality(X, y, device):
    """Return how far the GPU's figures are from the CPU's, and whether fits repeat."""
    X, y = X[:200], y[:200]
    few = {"max_epochs": 5, "random_state": 0}
    on_cpu = NCVQVAETransformer(device="cpu", **few).fit(X)
    on_gpu = copy.deepcopy(on_cpu).set_params(device=device)
    losses = [step_losses(on_cpu.module_, X, where) for where in ("cpu", device)]
    tokens = on_cpu.tokenize(X)
    found = {
        "losses of a step, difference": relative(losses[1], losses[0]),
        "equal tokens": float(np.mean(on_gpu.tokenize(X) == tokens)),
        "transform, difference": relative(on_gpu.transform(X), on_cpu.transform(X)),
    }
    for name, prior in (("causal", AutoregressiveTokenPrior), ("masked", MaskedTokenPrior)):
        prior = prior(device="cpu", **few).fit(tokens, y, layout=on_cpu.layout_)
        moved = copy.deepcopy(prior).set_params(device=device)
        scores = [each.score_samples(tokens, y) for each in (moved, prior)]
        found[f"{name} score_samples, difference"] = relative(*scores)
    for name, precision in (("", False), (", bf16", True)):
        twice = [
            NCVQVAEGenerator(
                NCVQVAETransformer(device=device, mixed_precision=precision, **few),
                device=device,
                random_state=0,
            )
            .set_params(prior__max_epochs=5)
            .fit(X, y)
            .sample(20, random_state=0)[0]
            for _ in range(2)
        ]
        found[f"two fits equal{name}"] = float(np.array_equal(*twice))
    return found


def epochs_seconds(lap, n_laps):
    """Return what the authors' number of epochs would take, from some after a warm-up."""
    return AUTHORS_EPOCHS * float(np.median([timed(lap) for _ in range(1 + n_laps)][1:]))


def times(X, y, device, options):
    """Yield each contender's name, and the seconds of one of its stages as they are measured."""
    for name, precision in (("default", False), ("default, bf16", True)):
        transformer = NCVQVAETransformer(device=device, mixed_precision=precision, random_state=0)
        generator = NCVQVAEGenerator(transformer, device=device, random_state=0)
        generator.set_params(prior__mixed_precision=precision)
        # The first use of a GPU loads its libraries.
        clone(generator).set_params(transformer__max_epochs=2, prior__max_epochs=2).fit(X, y)
        both = clone(generator)
        end_to_end = timed(lambda: both.fit(X, y).sample(1000, random_state=0))  # noqa: B023
        yield name, "fit and 1,000 samples (s)", end_to_end
        yield name, "stage 1 (s)", timed(lambda: transformer.fit(X))  # noqa: B023
        generator.set_params(transformer=FrozenEstimator(transformer))
        yield name, "stage 2 (s)", timed(lambda: generator.fit(X, y))  # noqa: B023
    for name, precision in (("reference", False), ("reference, bf16", True)):
        arguments = (X, y, "reference", precision, len(X))
        laps = _ours.stage1(*arguments, AUTHORS_SSL, device)(1 + options.laps)
        yield name, "stage 1 (s)", AUTHORS_EPOCHS * float(np.median(laps[1:]))
        laps = _ours.stage2(*arguments, device)(1 + options.laps)
        yield name, "stage 2 (s)", AUTHORS_EPOCHS * float(np.median(laps[1:]))
    if options.authors is not None:
        lap = _authors.stage1(options.authors, X, y, AUTHORS_SSL, device)
        yield "authors", "stage 1 (s)", epochs_seconds(lap, options.laps)
        lap = _authors.stage2(options.authors, X, y, device)
        yield "authors", "stage 2 (s)", epochs_seconds(lap, options.laps)


def main():
    """Print a table of equality and one of times."""
    p = parser(__doc__, ["ECG5000", "FordA"], threads=4, seeds=False, epochs=False)
    p.add_argument("--authors", type=Path, help="checkout of Generative-SSL-VQVAE-modelling")
    p.add_argument("--laps", type=int, default=3, help="epochs timed")
    p.add_argument("--device", default="cuda")
    options = p.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("No GPU here: --device cpu tries the script on the CPU.")
    torch.set_num_threads(options.threads)
    output = Results(options.output)
    if options.device == "cuda":
        output.origin["machine"] = f"{torch.cuda.get_device_name()}, {describe_machine()}"
    print(output.origin["machine"])
    rows = []
    for name in options.datasets:
        X, y, *_ = load_ucr(options.data, name)
        found = equality(X, y, options.device)
        output.add(name, "ours", found)
        print_table(["", name], [[key, f"{value:.2g}"] for key, value in found.items()])
        for contender, stage, seconds in times(X, y, options.device, options):
            output.add(name, contender, {stage: seconds})
            rows.append([name, contender, stage, f"{seconds:.1f}"])
            print("#", *rows[-1], flush=True)
    print_table(["data set", "", "", "s"], rows)


if __name__ == "__main__":
    main()
