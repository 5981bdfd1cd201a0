"""Drives the TimeVQVAE package, from a checkout outside this repository, by its documentation.

The package has modules and losses but no training: the data loader, the optimiser and the sum of
the losses are ours. Quality is that of its configuration's batches and learning rates.
"""

import math
import sys

import numpy as np
import torch
from common import Trained, cpu_seconds, epochs_within, sampler_by_class

BATCH_SIZE = 128
# Those of its configuration file, and the share of steps in which the rate rises.
QUALITY_BATCH_SIZE = 32
LR, MIN_LR, WARM_UP = 5e-3, 5e-4, 0.05


def _make_vqvae(checkout, X):
    sys.path.insert(0, str(checkout / "src"))
    from timevqvae.vqvae import VQVAE

    # The example of its README, which has the sizes of its configuration file.
    return VQVAE(in_channels=1, input_length=X.shape[1])


def _make_loader(X, y, batch_size=BATCH_SIZE):
    _, labels = np.unique(y, return_inverse=True)
    x = torch.from_numpy((X - X.mean()) / X.std()).float()[:, None]
    dataset = torch.utils.data.TensorDataset(x, torch.from_numpy(labels)[:, None])
    return torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)


def stage1(checkout, X, y, ssl_method):
    """Return a function that trains stage 1 for one epoch; it has no SSL."""
    assert ssl_method is None
    model = _make_vqvae(checkout, X).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    return _epoch(_stage1_loss(model), _make_loader(X, y), optimiser)


def _stage1_loss(model):
    def loss(x, _):
        out = model(x)
        return sum(out.recons_loss.values()) + sum(vq["loss"] for vq in out.vq_losses.values())

    return loss


def _stage2_loss(model):
    return lambda x, labels: model(x, labels).total_mask_prediction_loss


def _epoch(loss_of, loader, optimiser, schedule=None):
    """Return a function that makes a step on each batch."""

    def epoch():
        for x, labels in loader:
            loss = loss_of(x, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if schedule is not None:
                schedule.step()

    return epoch


def _make_untrained(checkout, X, y):
    """Return stage 2 on an untrained stage 1, which has seen a batch."""
    vqvae = _make_vqvae(checkout, X)
    vqvae.train()
    vqvae(next(iter(_make_loader(X, y)))[0])
    return _make_maskgit(vqvae, y)


def _make_maskgit(vqvae, y):
    from timevqvae.maskgit import MaskGIT, PriorModelConfig

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
    model = _make_untrained(checkout, X, y)
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-4)
    model.train()
    model.vqvae.eval()
    return _epoch(_stage2_loss(model), _make_loader(X, y), optimiser)


def sampling(checkout, X, y):
    """Return a function that samples so many series of the first class, a multiple of 256."""
    model = _make_untrained(checkout, X, y).eval()

    @torch.no_grad()
    def sample(n):
        for _ in range(n // 256):
            low, high = model.iterative_decoding(256, class_condition=0)
            model.decode_token_ind_to_timeseries(low, "lf")
            model.decode_token_ind_to_timeseries(high, "hf")

    return sample


def _rates(n_steps):
    """Return the learning rate of a step, in units of the largest."""
    rising = max(1, round(WARM_UP * n_steps))

    def rate(step):
        if step < rising:
            return (step + 1) / rising
        passed = min(1.0, (step - rising) / max(1, n_steps - rising))
        return (MIN_LR + (LR - MIN_LR) * (1 + math.cos(math.pi * passed)) / 2) / LR

    return rate


def _train_for(seconds, make, loss_of, loader, seed):
    """Train what `make` returns for whole epochs; return it, the seconds, and how many.

    The schedule has to know how many, so another model tells first how long one takes.
    """

    def prepare(n_epochs):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 its masks are drawn from it
        model = make()
        optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), LR)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rates(n_epochs * len(loader)))
        return model, _epoch(loss_of(model), loader, optimiser, schedule)

    _, epoch = prepare(1)
    n_epochs = epochs_within(epoch, seconds)
    model, epoch = prepare(n_epochs)
    spent = cpu_seconds(lambda: [epoch() for _ in range(n_epochs)])
    return model, spent, n_epochs


def train(checkout, X, y, ssl_method, seconds, seed):
    """Return what both stages, each trained for half of the seconds of CPU, have learnt."""
    assert ssl_method is None
    loader = _make_loader(X, y, QUALITY_BATCH_SIZE)

    def make_first():
        return _make_vqvae(checkout, X).train()

    def make_second():
        model = _make_maskgit(first, y).train()
        model.vqvae.eval()
        return model

    first, *of_first = _train_for(seconds / 2, make_first, _stage1_loss, loader, seed)
    second, *of_second = _train_for(seconds / 2, make_second, _stage2_loss, loader, seed)
    second.eval()
    mean, scale = X.mean(), X.std()

    @torch.no_grad()
    def draw(n, class_index):
        low, high = second.iterative_decoding(n, class_condition=class_index)
        drawn = second.decode_token_ind_to_timeseries(low, "lf")
        drawn = drawn + second.decode_token_ind_to_timeseries(high, "hf")
        return drawn[:, 0].numpy() * scale + mean

    def transform(series):
        x = torch.from_numpy((series - mean) / scale).float()[:, None]
        low, _ = second.encode_to_z_q(x, second.encoder_l, second.vq_model_l)
        high, _ = second.encode_to_z_q(x, second.encoder_h, second.vq_model_h)
        return torch.cat([low.mean((2, 3)), high.mean((2, 3))], 1).numpy()

    return Trained(
        of_first[0] + of_second[0],
        {"stage 1": of_first[1], "stage 2": of_second[1]},
        transform,
        sampler_by_class(draw, y),
    )
