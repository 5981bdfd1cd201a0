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


def _make_stage2(checkout, X, y):
    load(checkout)
    import models.stage2.maskgit as maskgit
    from experiments.exp_maskgit import ExpMaskGIT

    # Without SSL: the tokenizer's training, and its memory, are not what is measured.
    config = make_config(checkout, None)
    trained, loader = make_stage1(config, X, y)
    # One forward pass tells the encoder and decoder their sizes, which the weights carry along.
    trained.train()
    trained(next(iter(loader)))
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
    return ExpMaskGIT(X.shape[1], config, len(X), len(np.unique(y))), config


def stage2(checkout, X, y, device="cpu"):
    """Return a function that trains stage 2 for one epoch."""
    experiment, config = _make_stage2(checkout, X, y)
    loader = make_loader(config, X, y, "stage2", augment=False)
    optimiser = start(experiment.to(device))
    experiment.maskgit.encoder.eval()
    experiment.maskgit.decoder.eval()
    experiment.maskgit.vq_model.eval()
    return lambda: _epoch(experiment, loader, optimiser, device)


def sampling(checkout, X, y, device="cpu"):
    """Return a function that samples so many series of the first class."""
    experiment, config = _make_stage2(checkout, X, y)
    from models.stage2.sample import conditional_sample

    experiment.to(device).eval()
    batch_size = config["dataset"]["batch_sizes"]["stage2"]
    return lambda n: conditional_sample(
        experiment.maskgit, n, device, class_index=0, batch_size=batch_size
    )
