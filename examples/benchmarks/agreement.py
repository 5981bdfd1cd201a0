"""Loss terms of our reference preset against the authors' code: same weights, same batch.

python examples/benchmarks/agreement.py --authors CHECKOUT
"""

from pathlib import Path

import _authors
import numpy as np
import torch
from common import Results, bare_parser, load_ucr, print_table
from torch import nn

from skncvqvae import NCVQVAETransformer
from skncvqvae.nn.vqvae import NCVQVAE

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Linear, nn.BatchNorm1d)
SSL_METHODS = ["barlowtwins", "vicreg", "vibcreg"]
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
    # A step on a few series, for the sizes and the weights of the loss terms.
    preset = NCVQVAETransformer.reference(ssl_method=ssl_method, max_epochs=1, device="cpu")
    preset = preset.fit(X[:2]).module_
    ours = NCVQVAE(preset.config)
    ours.loss_weights = preset.loss_weights
    copy_weights(theirs.encoder, ours.encoder)
    copy_weights(theirs.decoder, ours.decoder)
    copy_weights(theirs.siam_ssl_method.projector, ours.ssl.projector)
    ours.quantizer.codebook.copy_(theirs.vq_model.codebook)
    (x, view), _ = batch
    terms = ours(x, view)
    expected = theirs.training_step(batch, 0)
    found = {name: (expected[TERMS[name]], terms[name]) for name in TERMS}
    found["ssl"] = expected[f"{ssl_method}_loss"], ours.loss_weights.ssl * terms["ssl"]
    return found


def main():
    """Print both losses and the largest relative difference of a term; fail above 0.01 %."""
    p = bare_parser(__doc__)
    p.add_argument("--authors", type=Path, required=True)
    p.add_argument("--data", type=Path, default=Path("../shared/data/ucr"))
    p.add_argument("--datasets", nargs="+", default=["ECG5000", "FordA"])
    options = p.parse_args()
    _authors.load(options.authors)
    output = Results(options.output)
    rows = []
    differences = []
    for name in options.datasets:
        X, y, *_ = load_ucr(options.data, name)
        for ssl_method in SSL_METHODS:
            found = compare(options.authors, X, y, ssl_method)
            found = {term: [float(value) for value in pair] for term, pair in found.items()}
            relative = [abs(ours - theirs) / theirs for theirs, ours in found.values()]
            differences += relative
            for method, i in (("authors", 0), ("ours", 1)):
                figures = {"SSL term": found["ssl"][i], "loss": found["loss"][i]}
                output.add(name, method, figures, 0, ssl=ssl_method)
            largest = {"largest difference": np.max(relative)}
            output.add(name, "ours", largest, 0, ssl=ssl_method)
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
