"""Loss terms of our reference preset against the authors' code: same weights, same batch.

python examples/benchmarks/agreement.py --authors CHECKOUT
"""

import argparse
from pathlib import Path

import _authors
import numpy as np
import torch
from common import load_ucr, print_table
from torch import nn

from skncvqvae import NCVQVAETransformer
from skncvqvae.nn.losses import REFERENCE_SSL_WEIGHTS
from skncvqvae.nn.vqvae import NCVQVAE

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Linear, nn.BatchNorm1d)
# Ours and what the authors call it.
TERMS = {
    "recon_time": "recons_loss.orig.time",
    "recon_timefreq": "recons_loss.orig.timefreq",
    "commitment": "commit_loss",
    "aug_recon_time": "recons_loss.aug.AE.time",
    "aug_recon_timefreq": "recons_loss.aug.AE.timefreq",
    "loss": "loss",
}


def copy_weights(source, target):
    """Copy the weights of layers in their order, which is the same in both."""
    pairs = [[m for m in module.modules() if isinstance(m, LAYERS)] for module in (source, target)]
    for theirs, ours in zip(*pairs, strict=True):
        ours.load_state_dict(theirs.state_dict())


def compare(checkout, X, y, ssl_method):
    """Return a dict of terms, each with the authors' value and ours."""
    torch.manual_seed(0)
    config = _authors.make_config(checkout, ssl_method)
    theirs, loader = _authors.make_stage1(config, X, y)
    batch = next(iter(loader))
    _authors.start(theirs)
    reference = NCVQVAETransformer.reference(ssl_method=ssl_method)
    ours = NCVQVAE(1, X.shape[1], **reference._architecture(len(X), resume=False))
    copy_weights(theirs.encoder, ours.encoder)
    copy_weights(theirs.decoder, ours.decoder)
    copy_weights(theirs.siam_ssl_method.projector, ours.projector)
    ours.quantizer.codebook.copy_(theirs.vq_model.codebook)
    weight = REFERENCE_SSL_WEIGHTS[ssl_method]
    ours.set_loss_weights(ssl=weight)
    (x, view), _ = batch
    terms = ours(x, view)
    expected = theirs.training_step(batch, 0)
    found = {name: (expected[TERMS[name]], terms[name]) for name in TERMS}
    found["ssl"] = expected[f"{ssl_method}_loss"], weight * terms["ssl"]
    return found


def main():
    """Print both losses and the largest relative difference of a term; fail above 0.01 %."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--authors", type=Path, required=True)
    p.add_argument("--data", type=Path, default=Path("../shared/data/ucr"))
    p.add_argument("--datasets", nargs="+", default=["ECG5000", "FordA"])
    options = p.parse_args()
    _authors.load(options.authors)
    rows = []
    differences = []
    for name in options.datasets:
        X, y, *_ = load_ucr(options.data, name)
        for ssl_method in REFERENCE_SSL_WEIGHTS:
            found = compare(options.authors, X, y, ssl_method)
            found = {term: [float(value) for value in pair] for term, pair in found.items()}
            relative = [abs(ours - theirs) / theirs for theirs, ours in found.values()]
            differences += relative
            shown = [f"{value:.6g}" for term in ("ssl", "loss") for value in found[term]]
            rows.append([name, ssl_method, *shown, f"{np.max(relative):.1e}"])
    columns = ["SSL term, authors", "ours", "loss, authors", "ours", "largest difference"]
    print_table(["data set", "SSL", *columns], rows)
    # Not the built-in max, which may drop a NaN.
    worst = np.max(differences)
    if not worst < 1e-4:
        raise SystemExit(f"The terms differ by up to {worst:.1e} of their value.")


if __name__ == "__main__":
    main()
