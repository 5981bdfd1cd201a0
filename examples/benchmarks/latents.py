"""What the self-supervised loss should look at, and other ways to learn the tokenizer.

Each change of the default tokenizer is fitted on two thirds of a training split. Figures on the
third: accuracy of logistic regression on representations, and the reconstruction error. What
``--output`` holds already is not run again.

- before quantisation: the loss compares averages of latents that are not quantised;
- several scales: it compares, and adds up, the largest averages over 1, 4 and 16 columns.

    python examples/benchmarks/latents.py --folds 1 --threads 1 \\
        --output examples/benchmarks/results/latents.csv
"""

import dataclasses

import pandas as pd
import torch.nn.functional as F
from common import Results, parser, print_table, split_options, start, to_do
from ssl_weight import accuracy

from skncvqvae import NCVQVAETransformer
from skncvqvae.nn.projector import global_pool
from skncvqvae.nn.ssl import SSL_METHODS, SSLHead

DATASETS = ["GunPoint", "ECG200", "FacesUCR", "SyntheticControl", "Plane", "ToeSegmentation1"]
REPRESENTATIONS = ["ppv", "code_ppv", "embedding", "pooled"]


class BeforeQuantisation(SSLHead):
    """Compares latents that are not quantised."""

    def forward(self, views, encoder):
        """Return the loss."""
        latents = encoder(views.timefreq), views.latent_view
        pooled = (global_pool(z, self.pooling) for z in latents)
        return self.compare(*self.projector.project_views(*pooled))


class SeveralScales(SSLHead):
    """Compares the largest averages over stretches of several lengths."""

    def forward(self, views, encoder):
        """Return the loss."""
        loss = 0.0
        for width in (1, 4, 16):
            pooled = []
            for z in (views.latent, views.latent_view):
                columns = z.flatten(1, 2)
                width = min(width, columns.shape[-1])
                pooled.append(F.avg_pool1d(columns, width, 1).amax(-1))
            loss = loss + self.compare(*self.projector.project_views(*pooled))
        return loss / 3


def with_head(head):
    """Return Barlow Twins with another head."""
    return dataclasses.replace(SSL_METHODS["barlowtwins"], head=head)


VARIANTS = {
    "default": {},
    "before quantisation": {"ssl_method": with_head(BeforeQuantisation)},
    "several scales": {"ssl_method": with_head(SeveralScales)},
    "averages and maxima": {"ssl_pooling": "avg_max"},
    "warp": {"augmentations": "warp"},
    "batches of 128": {"batch_size": 128},
    "128 channels": {"code_dim": 128},
}


def main():
    """Print a table of the means over the sets."""
    p = parser(__doc__, DATASETS, seeds=False)
    split_options(p, "folds", "max-series")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output, resume=True)
    for dataset, label, seed, split, name in to_do(VARIANTS, options, output):
        given = params | VARIANTS[name] | {"random_state": seed, "device": "cpu"}
        model = NCVQVAETransformer(**given).fit(split[0])
        found = {each: accuracy(model, each, *split) for each in REPRESENTATIONS}
        found["reconstruction error"] = -model.score(split[2])
        print("#", dataset, label, name, found, flush=True)
        output.add(dataset, name, found, label)
    data = pd.DataFrame(output.rows).astype({"value": float})
    table = data.pivot_table("value", "method", "metric", sort=False)
    rows = [[row.Index, *(f"{value:.3f}" for value in row[1:])] for row in table.itertuples()]
    print_table(["change", *table.columns], rows)


if __name__ == "__main__":
    main()
