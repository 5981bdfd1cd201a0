"""Drives the authors' code, from a checkout outside this repository, with its own data pipeline.

Their training imports services and plotting packages; those are replaced by empty ones, and so are
the pictures that it draws in a few of its steps. Two things are changed: an argument that current
x-transformers no longer knows is left out, and data are loaded in the process itself instead of in
eight others, which two cores cannot run.
"""

import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
import yaml
from common import Trained, cpu_seconds, epochs_within, sampler_by_class


class _Lightning(torch.nn.Module):
    """What the authors' experiments use of `LightningModule`."""

    current_epoch = 0

    def lr_schedulers(self):
        return self.scheduler


def load(checkout):
    """Make the authors' modules importable."""
    sys.path.insert(0, str(checkout))
    for name in (
        "wandb",
        "umap",
        "umap.plot",
        "seaborn",
        "requests",
        "supervised_FCN",
        "supervised_FCN.example_pretrained_model_loading",
        "supervised_FCN.example_compute_FID",
        "supervised_FCN.example_compute_IS",
    ):
        sys.modules[name] = MagicMock()
    plots = sys.modules["matplotlib.pyplot"] = MagicMock()
    plots.subplots.side_effect = lambda *args, **kwargs: (MagicMock(), MagicMock())
    lightning = types.ModuleType("pytorch_lightning")
    lightning.LightningModule = _Lightning
    sys.modules["pytorch_lightning"] = lightning

    import x_transformers

    encoder = x_transformers.Encoder
    x_transformers.Encoder = lambda use_abs_pos_emb=None, **kwargs: encoder(**kwargs)


def make_config(checkout, ssl_method):
    """Return the authors' configuration with their `warp` augmentations."""
    config = yaml.safe_load(Path(checkout, "configs", "config.yaml").read_text())
    config["SSL"]["stage1_method"] = ssl_method or ""
    # Augmenter demands these two, which the configuration lacks; `warp` does not use them.
    config["augmentations"]["aug_params"].update(gaus_mean=0.0, gaus_std=0.05)
    return config


def make_loader(config, X, y, stage, augment):
    """Return the authors' data loader over given series instead of the archive's files."""
    from preprocessing.augmentations import Augmenter
    from preprocessing.preprocess_ucr import AugUCRDataset, UCRDataset

    _, labels = np.unique(y, return_inverse=True)
    scaled = (X - X.mean()) / X.std()
    importer = types.SimpleNamespace(X_train=scaled, Y_train=labels[:, None])
    if augment:
        dataset = AugUCRDataset("train", importer, Augmenter(**config["augmentations"]))
    else:
        dataset = UCRDataset("train", importer)
    batch_size = config["dataset"]["batch_sizes"][stage]
    return torch.utils.data.DataLoader(dataset, batch_size, shuffle=True)


def start(experiment):
    """Set training mode; return the optimiser, its schedule set as Lightning would."""
    optimisers = experiment.configure_optimizers()
    experiment.scheduler = optimisers["lr_scheduler"]
    experiment.train()
    return optimisers["optimizer"]


def _to(batch, device):
    """Move what a loader yields to a device, as Lightning does."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    return [_to(part, device) for part in batch]


def _epoch(experiment, loader, optimiser, device):
    for i, batch in enumerate(loader):
        batch = _to(batch, device)
        loss = experiment.training_step(batch, i)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def make_stage1(config, X, y):
    """Return stage 1's experiment and its loader."""
    from experiments.exp_siam_vqvae import Exp_SIAM_VQVAE
    from experiments.exp_vqvae import Exp_VQVAE

    ssl = config["SSL"]["stage1_method"]
    loader = make_loader(config, X, y, "stage1", augment=bool(ssl))
    experiment = (Exp_SIAM_VQVAE if ssl else Exp_VQVAE)(X.shape[1], config, len(X), loader, loader)
    return experiment, loader


def stage1(checkout, X, y, ssl_method, device="cpu"):
    """Return a function that trains stage 1 for one epoch."""
    load(checkout)
    experiment, loader = make_stage1(make_config(checkout, ssl_method), X, y)
    optimiser = start(experiment.to(device))
    return lambda: _epoch(experiment, loader, optimiser, device)


def _make_stage2(config, trained, X, y):
    """Return stage 2's experiment on the modules of a stage 1."""
    import models.stage2.maskgit as maskgit
    from experiments.exp_maskgit import ExpMaskGIT

    parts = {
        "encoder": trained.encoder,
        "decoder": trained.decoder,
        "vqmodel": trained.vq_model,
    }

    def load_in_memory(self, model, dirname, fname):
        (part,) = (part for name, part in parts.items() if name in fname)
        model.load_state_dict(part.state_dict())
        if hasattr(part, "upsample_size"):
            model.register_upsample_size(part.upsample_size)

    maskgit.MaskGIT.load = load_in_memory
    return ExpMaskGIT(X.shape[1], config, len(X), len(np.unique(y)))


def _make_untrained(checkout, X, y):
    """Return stage 2's experiment on an untrained stage 1, and the configuration."""
    load(checkout)
    # Without SSL: the tokenizer's training, and its memory, are not what is measured.
    config = make_config(checkout, None)
    trained, loader = make_stage1(config, X, y)
    # One forward pass tells the encoder and decoder their sizes, which the weights carry along.
    trained.train()
    trained(next(iter(loader)))
    return _make_stage2(config, trained, X, y), config


def _stage2_epoch(experiment, config, X, y, device="cpu"):
    """Return a function that trains an experiment of stage 2 for one epoch."""
    loader = make_loader(config, X, y, "stage2", augment=False)
    optimiser = start(experiment.to(device))
    maskgit = experiment.maskgit

    def epoch():
        # Some of their steps draw a sample, and leave all in evaluation mode.
        experiment.train()
        for part in (maskgit.encoder, maskgit.decoder, maskgit.vq_model):
            part.eval()
        _epoch(experiment, loader, optimiser, device)

    return epoch


def stage2(checkout, X, y, device="cpu"):
    """Return a function that trains stage 2 for one epoch."""
    experiment, config = _make_untrained(checkout, X, y)
    return _stage2_epoch(experiment, config, X, y, device)


def sampling(checkout, X, y, device="cpu"):
    """Return a function that samples so many series of the first class."""
    experiment, config = _make_untrained(checkout, X, y)
    from models.stage2.sample import conditional_sample

    experiment.to(device).eval()
    batch_size = config["dataset"]["batch_sizes"]["stage2"]
    return lambda n: conditional_sample(
        experiment.maskgit, n, device, class_index=0, batch_size=batch_size
    )


def _train_for(seconds, make, config, stage, seed):
    """Train an experiment for whole epochs; return it, the seconds of CPU, and how many.

    The configuration has the number of epochs, which sets the cosine schedule, before the
    experiment is made. So another one tells first how long an epoch takes.
    """
    _, epoch = make()
    n_epochs = epochs_within(epoch, seconds)
    config["trainer_params"]["max_epochs"][stage] = n_epochs
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 their augmentations draw from it
    experiment, epoch = make()
    spent = cpu_seconds(lambda: [epoch() for _ in range(n_epochs)])
    return experiment, spent, n_epochs


def train(checkout, X, y, ssl_method, seconds, seed):
    """Return what both stages, each trained for half of the seconds of CPU, have learnt."""
    load(checkout)
    config = make_config(checkout, ssl_method)

    def make_first():
        experiment, loader = make_stage1(config, X, y)
        optimiser = start(experiment)
        return experiment, lambda: _epoch(experiment, loader, optimiser, "cpu")

    def make_second():
        experiment = _make_stage2(config, first, X, y)
        return experiment, _stage2_epoch(experiment, config, X, y)

    first, *of_first = _train_for(seconds / 2, make_first, config, "stage1", seed)
    first.eval()
    second, *of_second = _train_for(seconds / 2, make_second, config, "stage2", seed)
    second.eval()
    from models.stage2.sample import conditional_sample
    from utils import quantize, time_to_timefreq

    mean, scale = X.mean(), X.std()
    batch_size = config["dataset"]["batch_sizes"]["stage2"]

    def draw(n, class_index):
        drawn = conditional_sample(second.maskgit, n, "cpu", class_index, batch_size)[:, 0]
        drawn = drawn.numpy()[:, : X.shape[1]] * scale + mean
        # Their inverse transform leaves out the last step of odd lengths.
        return np.pad(drawn, ((0, 0), (0, X.shape[1] - drawn.shape[1])), mode="edge")

    @torch.no_grad()
    def transform(series):
        x = torch.from_numpy((series - mean) / scale).float()[:, None]
        latent = first.encoder(time_to_timefreq(x, config["VQVAE"]["n_fft"], 1))
        return quantize(latent, first.vq_model)[0].mean((2, 3)).numpy()

    return Trained(
        of_first[0] + of_second[0],
        {"stage 1": of_first[1], "stage 2": of_second[1]},
        transform,
        sampler_by_class(draw, y),
    )
