"""Series and the smallest estimators, for all tests."""

import numpy as np
import torch

from skncvqvae import AutoregressiveTokenPrior, NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae._codec import SeriesCodec
from skncvqvae.nn.masked_prior import MaskedPrior
from skncvqvae.nn.token_transformer import PriorConfig
from skncvqvae.nn.vqvae import NCVQVAE

# The smallest models that still have every part; a fit takes a fraction of a second.
TINY = {
    "max_epochs": 2,
    "batch_size": 32,
    "n_codes": 6,
    "code_dim": 8,
    "n_res_blocks": 1,
    "downsampled_width": 4,
    "projector_dim": 16,
    "device": "cpu",
    "random_state": 0,
}
TINY_PRIOR = {
    "max_epochs": 2,
    "hidden_dim": 16,
    "n_layers": 1,
    "n_heads": 1,
    "device": "cpu",
}


def tiny_transformer(**params):
    return NCVQVAETransformer(**{**TINY, **params})


def tiny_prior(prior_class=AutoregressiveTokenPrior, **params):
    """Return a prior without a seed, which a generator gives it."""
    return prior_class(**{**TINY_PRIOR, **params})


def tiny_generator(transformer=None, **params):
    """Return a generator of tiny parts; `params` may be nested, as ``prior__lr``."""
    transformer = tiny_transformer() if transformer is None else transformer
    generator = NCVQVAEGenerator(transformer, tiny_prior(), device="cpu", random_state=0)
    return generator.set_params(**params)


def make_prior_module(
    cls=MaskedPrior, n_codes=5, n_tokens=7, n_classes=2, seed=0, allowed=None, **sizes
):
    """Return an untrained prior whose logits differ by class, position and code."""
    torch.manual_seed(seed)
    sizes = {"embedding_dim": 8, "hidden_dim": 16, "n_layers": 1, "n_heads": 1, **sizes}
    prior = cls(PriorConfig(n_codes, n_tokens, n_classes, **sizes), allowed=allowed).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            # Some start at zero, and much would not be seen.
            parameter += 0.3 * torch.randn_like(parameter)
    torch.nn.init.normal_(prior.bias)
    torch.nn.init.normal_(prior.class_embedding.weight)
    return prior


def make_series(n=40, n_channels=None, length=32, seed=0, dtype=np.float64, max_phase=6):
    """Return noisy sines of random phase, in units far from standardised, and two classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    shape = (n, n_channels or 1, 1)
    time = np.arange(length)
    X = np.sin((0.2 + 0.3 * y[:, None, None]) * time + rng.uniform(0, max_phase, shape))
    X = 50 + 7 * (X + 0.1 * rng.normal(size=X.shape))
    return (X if n_channels else X[:, 0]).astype(dtype), y


def record_work(monkeypatch):
    """Return lists of the series that are read, standardised and tokenized from now on."""
    work = {}
    for owner, name in [
        (SeriesCodec, "fit_read"),
        (SeriesCodec, "read"),
        (SeriesCodec, "standardise"),
        (NCVQVAE, "tokenize"),
    ]:
        monkeypatch.setattr(
            owner, name, _recorded(getattr(owner, name), work.setdefault(name, []))
        )
    return work


def _recorded(method, seen):
    def recorded(self, series, *args):
        seen.append(np.asarray(series).copy())
        return method(self, series, *args)

    return recorded


def times_seen(seen, series):
    """Return how often these series are in a list that `record_work` keeps."""
    return sum(one.shape == series.shape and np.allclose(one, series, atol=1e-4) for one in seen)
