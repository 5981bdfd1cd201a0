"""Width, heads and steps of the prior, on a split of the training set.

One default tokenizer is fitted on 70 % of the training split, and each variant of the prior on its
tokens. On the other 30 %: the mean negative log-likelihood of masked tokens, in nats; Frechet
distance of as many samples, by random convolution kernels; and accuracy there of a MiniROCKET-type
classifier trained on samples alone. Test splits are not touched.

    python examples/benchmarks/prior.py
"""

import numpy as np
import torch
from common import (
    Results,
    describe_change,
    describe_machine,
    epochs_of,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    repeat_labels,
    split_training,
    start,
    timed,
)
from sklearn.frozen import FrozenEstimator

from skncvqvae import MaskedTokenPrior, NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae.metrics import frechet_distance, tstr_score

NARROW, WIDE = {"hidden_dim": 64}, {"hidden_dim": 128}
DIGITS = {"held-out loss (nats)": 3, "FID": 2, "TSTR": 3, "seconds": 0}
# Changes to the default, and optimiser steps.
VARIANTS = [
    (NARROW, 1500),
    (NARROW, 3000),
    (NARROW, 9000),
    (NARROW | {"n_heads": 2}, 3000),
    (NARROW | {"dropout": 0.0}, 3000),
    (WIDE, 3000),
    (WIDE | {"n_heads": 1}, 3000),
    (WIDE, 9000),
]


def held_out_loss(prior, tokens, y, n_draws=20):
    """Return the mean loss over masks drawn alike for all variants."""
    labels = torch.from_numpy(np.searchsorted(prior.classes_, y))
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        losses = [prior.module_.loss(tokens, labels, source).item() for _ in range(n_draws)]
    return float(np.mean(losses))


def run(transformer, change, epochs, seed, split, tokens_val):
    """Fit one prior and return its figures."""
    X, y, X_val, y_val = split
    generator = NCVQVAEGenerator(
        FrozenEstimator(transformer),
        MaskedTokenPrior(max_epochs=epochs, device="cpu", **change),
        device="cpu",
        random_state=seed,
    )
    found = {"seconds": timed(lambda: generator.fit(X, y))}
    found["held-out loss (nats)"] = held_out_loss(generator.prior_, tokens_val, y_val)
    labels = np.random.default_rng(seed).choice(y, len(X_val))
    X_new, _ = generator.sample(y=labels, random_state=seed)
    found["FID"] = frechet_distance(X_val, X_new)
    X_new, y_new = generator.sample(y=repeat_labels(y, 500), random_state=seed)
    found["TSTR"] = tstr_score(X_val, y_val, X_new, y_new)
    return found


def main():
    """Run all variants and print a table for each data set."""
    options = parser(__doc__, ["CBF", "Plane", "ECG5000", "FordA"]).parse_args()
    params = start(options)
    output = Results(options.output)
    print(describe_machine())
    for name in options.datasets:
        X, y, _, _ = load_ucr(options.data, name)
        split = split_training(X, y, random_state=0, test_size=0.3)
        transformer = NCVQVAETransformer(device="cpu", random_state=0, **params).fit(split[0])
        tokens_val = torch.from_numpy(transformer.tokenize(split[2]))
        rows = []
        for change, steps in VARIANTS:
            epochs = options.epochs or epochs_of(steps, len(split[0]), batch_size=64)
            found = []
            for seed in range(options.seeds):
                found.append(run(transformer, change, epochs, seed, split, tokens_val))
                label = describe_change(change).replace("`", "")
                output.add(name, label, found[-1], seed, steps=steps)
            cells = [mean_and_spread([f[key] for f in found], d) for key, d in DIGITS.items()]
            rows.append([describe_change(change), steps, *cells])
            print(f"# {name}: {rows[-1]}", flush=True)
        print(f"\n{name}, {len(split[0])} series\n")
        print_table(["change", "steps", *DIGITS], rows)


if __name__ == "__main__":
    main()
