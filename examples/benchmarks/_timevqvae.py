"""Drives the TimeVQVAE package, from a checkout outside this repository, by its documentation.

The package has modules and losses but no training: the data loader, the optimiser and the sum of
the losses are ours.
"""

import sys

import numpy as np
import torch

BATCH_SIZE = 128


def _make_vqvae(checkout, X):
    sys.path.insert(0, str(checkout / "src"))
    from timevqvae.vqvae import VQVAE

    # The example of its README, which has the sizes of its configuration file.
    return VQVAE(in_channels=1, input_length=X.shape[1])


def _make_loader(X, y):
    _, labels = np.unique(y, return_inverse=True)
    x = torch.from_numpy((X - X.mean()) / X.std()).float()[:, None]
    dataset = torch.utils.data.TensorDataset(x, torch.from_numpy(labels)[:, None])
    return torch.utils.data.DataLoader(dataset, BATCH_SIZE, shuffle=True)


def stage1(checkout, X, y, ssl_method):
    """Return a function that trains stage 1 for one epoch; it has no SSL."""
    assert ssl_method is None
    model = _make_vqvae(checkout, X).train()
    loader = _make_loader(X, y)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)

    def epoch():
        for x, _ in loader:
            out = model(x)
            loss = sum(out.recons_loss.values())
            loss = loss + sum(vq["loss"] for vq in out.vq_losses.values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return epoch


def _make_maskgit(checkout, X, y):
    vqvae = _make_vqvae(checkout, X)
    from timevqvae.maskgit import MaskGIT, PriorModelConfig

    vqvae.train()
    vqvae(next(iter(_make_loader(X, y)))[0])
    shared = {"ff_mult": 1, "use_rmsnorm": True, "p_unconditional": 0.2}
    return MaskGIT(
        vqvae,
        lf_choice_temperature=10.0,
        hf_choice_temperature=0.0,
        lf_num_sampling_steps=10,
        hf_num_sampling_steps=10,
        lf_codebook_size=1024,
        hf_codebook_size=1024,
        transformer_embedding_dim=128,
        lf_prior_model_config=PriorModelConfig(hidden_dim=128, n_layers=4, heads=2, **shared),
        hf_prior_model_config=PriorModelConfig(hidden_dim=32, n_layers=1, heads=1, **shared),
        classifier_free_guidance_scale=1.0,
        n_classes=len(np.unique(y)),
    )


def stage2(checkout, X, y):
    """Return a function that trains stage 2 for one epoch."""
    model = _make_maskgit(checkout, X, y)
    loader = _make_loader(X, y)
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-4)
    model.train()
    model.vqvae.eval()

    def epoch():
        for x, labels in loader:
            loss = model(x, labels).total_mask_prediction_loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return epoch


def sampling(checkout, X, y):
    """Return a function that samples so many series of the first class, a multiple of 256."""
    model = _make_maskgit(checkout, X, y).eval()

    @torch.no_grad()
    def sample(n):
        for _ in range(n // 256):
            low, high = model.iterative_decoding(256, class_condition=0)
            model.decode_token_ind_to_timeseries(low, "lf")
            model.decode_token_ind_to_timeseries(high, "hf")

    return sample
