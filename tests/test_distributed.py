"""Two processes with half of each batch take the steps of one process with all of it."""

import datetime
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import TINY, make_series, tiny_generator, tiny_prior, tiny_transformer
from skorch.callbacks import Callback

from skncvqvae import AutoregressiveTokenPrior, MaskedTokenPrior
from skncvqvae.nn.autoregressive_prior import AutoregressivePrior
from skncvqvae.nn.banded import BandedConfig, BandedNCVQVAE
from skncvqvae.nn.bands import STFTSplitConfig
from skncvqvae.nn.distributed import average_gradients, average_terms, sharded
from skncvqvae.nn.masked_prior import MaskedPrior
from skncvqvae.nn.ssl import SSL_METHODS, SSLMethod
from skncvqvae.nn.token_transformer import PriorConfig
from skncvqvae.nn.vqvae import NCVQVAE, LossWeights, NCVQVAEConfig

N_PROCESSES, N_STEPS = 2, 4
# An odd number, which two processes cannot share out evenly.
N_SERIES = 13
X, Y = make_series(n=N_SERIES)
TOKENS = np.random.default_rng(0).integers(5, size=(N_SERIES, 6))


class LearntLoss(torch.nn.Module):
    """A loss of the user's, which has a parameter, and is no mean over series."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, p, p_view):
        return (self.scale * p.std(0) - p_view.std(0)).square().sum()


def make_tokenizer(method="barlowtwins", **params):
    config = {
        "n_channels": 1,
        "n_timesteps": 32,
        "n_codes": 6,
        "code_dim": 8,
        "n_res_blocks": 1,
        "downsampled_width": 4,
        "projector_dim": 16,
        "frequency_axis": "fold",
        # Of the maximum over places of one code, rounding decides which gets the gradient.
        "ssl_pooling": "avg",
        # All that a codebook can do.
        "codebook_init": "kmeans",
        "dead_code_threshold": 1.0,
        "ssl_method": method,
    }
    return NCVQVAE(NCVQVAEConfig(**config | params))


def make_banded():
    parts = tuple(make_tokenizer(n_codes=n).config for n in (5, 6))
    return BandedNCVQVAE(BandedConfig(STFTSplitConfig(n_fft=8, cutoffs=(1,)), parts))


def make_prior(cls):
    config = PriorConfig(5, 6, n_classes=2, embedding_dim=8, hidden_dim=16, n_layers=2, n_copies=2)
    return cls(config)


MODULES = {
    **{name: (make_tokenizer, name) for name in [*SSL_METHODS, None]},
    "learnt": (make_tokenizer, SSLMethod(LearntLoss())),
    "half of the views": (make_tokenizer, "vicreg"),
    "levels": (lambda _: make_tokenizer(n_levels=2), None),
    "bands": (lambda _: make_banded(), None),
    "masked prior": (make_prior, MaskedPrior),
    "causal prior": (make_prior, AutoregressivePrior),
}


def steps(name):
    """Train a module in double precision, and return all that a step changes, step by step."""
    torch.manual_seed(0)
    make, of = MODULES[name]
    module = make(of).double().train()
    is_prior = not hasattr(module, "bands")
    if name == "half of the views":
        module.loss_weights = LossWeights(aug_recon_fraction=0.4)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3 if not is_prior else 0.1)
    generator = torch.Generator().manual_seed(1)
    series = torch.from_numpy((X - X.mean()) / X.std())[:, None]
    tokens = torch.from_numpy(TOKENS)
    seen = {}
    for i in range(N_STEPS):
        with sharded(N_SERIES):
            if is_prior:
                copies = torch.stack([tokens, tokens.flip(1)], dim=1)
                terms = {"loss": module.loss(copies, torch.from_numpy(Y), generator)}
            else:
                view = series + 0.3 * torch.randn(series.shape, generator=generator).double()
                if name == "bands":
                    view = module.split_scaled(view)
                terms = module(series, view, generator)
        optimizer.zero_grad()
        terms["loss"].backward()
        average_gradients(module.parameters())
        optimizer.step()
        seen |= {f"{i}.term.{k}": v for k, v in average_terms(terms).items()}
        grads = {k: p.grad for k, p in module.named_parameters() if p.grad is not None}
        seen |= {f"{i}.grad.{k}": grad.clone() for k, grad in grads.items()}
        seen |= {f"{i}.state.{k}": v.clone() for k, v in module.state_dict().items()}
    return {k: v.detach().numpy() for k, v in seen.items()}


def work(rank, folder):
    """Do in one of the processes all that tests look at, and write it down."""
    folder = Path(folder)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=N_PROCESSES
    )
    found = {"steps": {name: steps(name) for name in MODULES}}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what each of the processes found."""
    folder = tmp_path_factory.mktemp("distributed")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=N_PROCESSES)
    return [torch.load(folder / f"{i}.pt", weights_only=False) for i in range(N_PROCESSES)]


@pytest.mark.parametrize("name", MODULES)
def test_several_processes_take_the_steps_of_one(found, name):
    alone = steps(name)
    for process in found:
        together = process["steps"][name]
        assert together.keys() == alone.keys()
        for key in alone:
            np.testing.assert_allclose(together[key], alone[key], rtol=1e-7, atol=1e-9, err_msg=key)
