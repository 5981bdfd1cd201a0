"""
Parts of your own
=================

A self-supervised loss is a function of two projections, a sampler is a class with a method
``draw``, and the prior is any estimator over tokens. Here a loss and a sampler that the package
does not have work with the autoregressive prior, which knows the exact likelihood of tokens.
"""

# %%
# A loss: the two views of a series should point the same way, and the series of a batch in as
# many directions as there are (Tong et al., arXiv:2304.03977).
import os

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import normalize
from tslearn.datasets import CachedDatasets

from skncvqvae import AutoregressiveTokenPrior, NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae.samplers import Autoregressive, Sampler

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")


def coding_rate_loss(p, p_view):
    """Return the angle between views, less the volume that the batch takes up."""
    p, p_view = normalize(p), normalize(p_view)
    n, dim = p.shape
    volume = torch.logdet(torch.eye(n, device=p.device) + 5 * dim / n * p @ p.T) / 2
    return 1 - (p * p_view).sum(1).mean() - volume / 200


# %%
# A sampler: draw several rows of tokens and keep the likeliest. Arguments of the constructor are
# its parameters, as in any estimator of scikit-learn.
class BestOf(Sampler):
    def __init__(self, *, n_tries=10):
        self.n_tries = n_tries

    def draw(self, prior, tokens, labels, generator):
        once = Autoregressive()
        tries = [once(prior, tokens, labels, generator) for _ in range(self.n_tries)]
        likelihoods = torch.stack([prior.log_likelihood(rows, labels) for rows in tries])
        best = likelihoods.argmax(0)[None, :, None]
        return torch.stack(tries).take_along_dim(best, 0)[0]


# %%
# Both are parameters like any other: a search reaches ``sampler__n_tries``, and a call of
# ``sample`` may set ``n_tries`` for itself.
X, y, X_test, y_test = CachedDatasets().load_dataset("Trace")
X, X_test = X[..., 0], X_test[..., 0]
generator = NCVQVAEGenerator(
    NCVQVAETransformer(ssl_method=coding_rate_loss, max_epochs=int(EPOCHS or 200)),
    AutoregressiveTokenPrior(max_epochs=int(EPOCHS or 110)),
    BestOf(),
    observation_noise=0,
    random_state=0,
).fit(X, y)
drawn = {f"best of {n}": generator.sample(y=y_test, n_tries=n) for n in (1, 10)}

# %%
# Some single draws are odd, and the likelihood tells. The best of ten are about as likely as real
# series that the generator has not seen, and vary less.
series = {"real": (X_test, y_test), **drawn}
fig, axes = plt.subplots(
    2, 3, figsize=(10, 5.5), layout="constrained", sharey="row", height_ratios=[3, 2]
)
scores = {name: generator.score_samples(*given) for name, given in series.items()}
bins = np.linspace(*np.percentile(np.concatenate(list(scores.values())), [1, 100]), 30)
for (name, (some, labels)), (above, below) in zip(series.items(), axes.T, strict=True):
    above.plot(some[labels == 2][:12].T, lw=0.8)
    above.set_title(f"{name}, class 2")
    below.hist(scores[name], bins)
    below.axvline(np.median(scores[name]), color="k", ls=":")
    below.set_xlabel("log-likelihood in nats")
    print(f"{name}: median log-likelihood {np.median(scores[name]):.1f}")
axes[1, 0].set_ylabel("series of all classes")
fig.savefig("custom_parts.png", dpi=120)
print("Saved custom_parts.png")
