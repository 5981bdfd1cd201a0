"""Two processes with half of each batch take the steps of one process with all of it."""

import contextlib
import datetime
import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import make_series, tiny_generator, tiny_prior, tiny_transformer
from skorch.callbacks import Callback

from skncvqvae import MaskedTokenPrior
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
# Seconds after which a process that waits for another gives up. It need not, where that one ends.
PATIENCE = 120

# What torchrun tells the processes that it starts.
LAUNCHED = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


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
        "dead_code_threshold": 5.0,
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
    "some of the views": (make_tokenizer, "vicreg"),
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
    if name == "some of the views":
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


class StopAt(Callback):
    """Raises an error at the end of an epoch, in the processes of these ranks."""

    def __init__(self, epoch, error, ranks=(0, 1)):
        self.epoch, self.error, self.ranks = epoch, error, ranks

    def on_batch_end(self, net, training, **kwargs):
        if dist.is_initialized() and dist.get_rank() not in self.ranks:
            return
        if training and len(net.history) == self.epoch:
            raise self.error


def state_of(estimator):
    return {k: v.numpy() for k, v in estimator.module_.state_dict().items()}


def losses_of(estimator):
    names = [name for name in estimator.history_[0] if "loss" in name or "recon" in name]
    return np.array([[row[name] for name in names] for row in estimator.history_])


# What is fitted by one process and by two, in batches of 7 and 6 series. Dropout is left out: each
# process draws its own.
FITS = {
    "tokenizer": lambda: tiny_transformer(
        mixed_precision=False, batch_size=8, lr=1e-3, early_stopping=True, validation_fraction=0.2
    ).fit(X),
    # Fewer validation series than processes.
    "bands": lambda: tiny_transformer(
        mixed_precision=False,
        bands="stft",
        batch_size=8,
        lr=1e-3,
        early_stopping=True,
        validation_fraction=0.05,
    ).fit(X),
    "bfloat16": lambda: tiny_transformer(
        mixed_precision=True, batch_size=8, lr=1e-3, max_epochs=1
    ).fit(X),
    "causal prior": lambda: tiny_prior(
        mixed_precision=False, batch_size=8, dropout=0.0, early_stopping=True, random_state=0
    ).fit(TOKENS, Y),
    "masked prior": lambda: tiny_prior(
        MaskedTokenPrior,
        mixed_precision=False,
        batch_size=8,
        dropout=0.0,
        early_stopping=True,
        random_state=0,
    ).fit(TOKENS, Y),
}


def without_seed():
    """Return what a generator has learnt, and draws, whose seed is drawn by itself."""
    generator = tiny_generator(random_state=None).fit(X, Y)
    drawn, _ = generator.sample(3, random_state=0)
    # Each process has a source of its own; after a fit they go on as one.
    source = np.random.RandomState(dist.get_rank())
    tiny_prior(random_state=source).fit(TOKENS, Y)
    return {
        **state_of(generator.transformer_),
        **state_of(generator.prior_),
        "drawn": drawn,
        "drawn from the user's source": source.randint(1000, size=5),
    }


def resume(folder):
    """Return a prior that was trained in one go, and one that was stopped and went on."""

    def make(**params):
        return tiny_prior(random_state=0, batch_size=4, max_epochs=3, **params)

    whole = make().fit(TOKENS, Y)
    params = {"checkpoint_dir": str(folder), "checkpoint_every": 0}
    with contextlib.suppress(ArithmeticError):
        make(callbacks=[StopAt(2, ArithmeticError())], **params).fit(TOKENS, Y)
    return state_of(whole), state_of(make(**params).fit(TOKENS, Y)), folder.exists()


def refusal(fit):
    """Return the message of an error."""
    try:
        fit()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def begin(rank, folder, name, **params):
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/{name}",
        rank=rank,
        world_size=N_PROCESSES,
        **params,
    )


def work(rank, folder):
    """Do in one of the processes all that tests look at, and write it down."""
    folder = Path(folder)
    torch.set_num_threads(1)
    begin(rank, folder, "meet")
    found = {"steps": {name: steps(name) for name in MODULES}}
    fitted = {name: make() for name, make in FITS.items()}
    found["fits"] = {name: (losses_of(e), state_of(e)) for name, e in fitted.items()}
    found["without seed"] = without_seed()
    found["resumed"] = resume(folder / f"checkpoints of {rank}")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        tiny_prior(verbose=2).fit(TOKENS, Y)
        tiny_prior(verbose=1).fit(TOKENS, Y)
    found["said"] = said.getvalue()
    found["other parameters"] = refusal(lambda: tiny_prior(lr=0.1 + rank).fit(TOKENS, Y))
    found["other data"] = refusal(lambda: tiny_transformer().fit(X[rank::2][:6]))
    interrupt = StopAt(1, KeyboardInterrupt())
    found["interrupted"] = refusal(lambda: tiny_prior(callbacks=[interrupt]).fit(TOKENS, Y))
    # Others may be busy meanwhile.
    found["alone"] = fitted["tokenizer"].transform(X) if rank == 0 else None
    dist.destroy_process_group()

    begin(rank, folder, "meet again", timeout=datetime.timedelta(seconds=PATIENCE))
    failing = StopAt(1, ArithmeticError("of one"), ranks=[1])
    began = time.monotonic()
    found["failed"] = refusal(lambda: tiny_prior(callbacks=[failing], batch_size=4).fit(TOKENS, Y))
    found["seconds"] = time.monotonic() - began
    torch.save(found, folder / f"{rank}.pt")


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
            np.testing.assert_allclose(
                together[key], alone[key], rtol=1e-7, atol=1e-9, err_msg=key
            )


@pytest.mark.parametrize("name", FITS)
def test_a_fit_of_several_processes_is_that_of_one(found, name):
    alone = FITS[name]()
    (losses, state), (other_losses, other_state) = (process["fits"][name] for process in found)
    tolerance = 2e-2 if name == "bfloat16" else 1e-3
    np.testing.assert_allclose(losses, losses_of(alone), rtol=tolerance, atol=tolerance)
    # Between processes, to the last bit.
    np.testing.assert_array_equal(losses, other_losses)
    assert state.keys() == other_state.keys()
    for key in state:
        np.testing.assert_array_equal(state[key], other_state[key], err_msg=key)


def test_processes_without_a_seed_learn_and_draw_the_same(found):
    first, second = (process["without seed"] for process in found)
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_a_training_that_was_stopped_goes_on_in_all_processes(found):
    for rank, process in enumerate(found):
        whole, resumed, has_written = process["resumed"]
        assert has_written == (rank == 0)
        for key in whole:
            np.testing.assert_array_equal(whole[key], resumed[key], err_msg=key)


def test_only_the_first_process_speaks(found):
    assert "in 2 processes" in found[0]["said"] and "100%" in found[0]["said"]
    assert found[1]["said"] == ""


def test_different_parameters_are_refused_in_all_processes(found):
    for process in found:
        message = process["other parameters"]
        assert message.startswith("ValueError")
        assert "process 1 differs from process 0 in lr. Pass all" in message


def test_parts_of_the_data_are_refused(found):
    for process in found:
        assert "differs from process 0 in the training data. Pass all" in process["other data"]


def test_an_interrupt_ends_the_fit(found):
    for process in found:
        message = "RuntimeError: Training of the prior in several processes was interrupted."
        assert process["interrupted"] == message


def test_a_process_alone_can_transform(found):
    np.testing.assert_array_equal(found[0]["alone"].shape, FITS["tokenizer"]().transform(X).shape)


def test_an_error_of_one_process_does_not_hang_the_other(found):
    assert found[1]["failed"] == "ArithmeticError: of one"
    # What it is called depends on who notices first that the other is gone.
    assert found[0]["failed"] is not None
    assert found[0]["seconds"] < 2 * PATIENCE


def test_a_launched_script_that_does_not_begin_together_is_warned(monkeypatch):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    with pytest.warns(UserWarning, match="one of 4 .* alone. Call torch.distributed.init_process"):
        tiny_prior().fit(TOKENS, Y)
