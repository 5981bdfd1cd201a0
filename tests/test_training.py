"""Training controls: schedules, early stopping, callbacks, warm start, interruption."""

import numpy as np
import pytest
import torch
from conftest import make_series, tiny_generator, tiny_transformer
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback, EpochScoring


class Record(Callback):
    def initialize(self):
        self.lrs, self.sizes = [], []
        return self

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        if training:
            self.lrs.append(net.optimizer_.param_groups[0]["lr"])
            self.sizes.append(len(batch[0]))


class Interrupt(Callback):
    def __init__(self, batch):
        self.batch = batch

    def on_train_begin(self, net, **kwargs):
        self.seen = 0

    def on_batch_begin(self, net, **kwargs):
        self.seen += 1
        if self.seen == self.batch:
            raise KeyboardInterrupt


class Epochs(Callback):
    def on_epoch_begin(self, net, **kwargs):
        self.max_epochs = net.max_epochs
        raise KeyboardInterrupt


class Labels(Callback):
    def initialize(self):
        self.seen = set()
        return self

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        if training:
            self.seen |= set(batch[1].tolist())


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [
        ("constant", lambda lrs: np.ptp(lrs) == 0),
        ("cosine", lambda lrs: np.argmax(lrs) == 0 and lrs[-1] < 1e-2 * lrs[0]),
        ("onecycle", lambda lrs: 0.1 < np.argmax(lrs) / len(lrs) < 0.5 and lrs[-1] < lrs[0]),
    ],
)
def test_learning_rate_schedules(series, schedule, shape):
    record = Record()
    tiny_transformer(max_epochs=20, lr_schedule=schedule, callbacks=[record]).fit(series[0])
    assert shape(np.asarray(record.lrs))
    assert max(record.lrs) <= tiny_transformer().lr + 1e-12


def test_mixed_precision_learns_as_well(series):
    losses = []
    for mixed in (False, True):
        model = tiny_transformer(max_epochs=30, mixed_precision=mixed).fit(series[0])
        assert all(p.dtype == torch.float32 for p in model.module_.parameters())
        losses.append(model.history_[-1, "train_loss"])
    full, mixed = losses
    assert full != mixed
    assert mixed == pytest.approx(full, rel=0.2)


def test_mixed_precision_of_the_prior(series):
    X, y = series
    tokenizer = FrozenEstimator(tiny_transformer().fit(X))
    losses, samples, dtypes = [], [], set()
    for mixed in (False, True):
        model = tiny_generator(tokenizer, prior_max_epochs=30, prior_mixed_precision=mixed)
        model.fit(X, y)
        losses.append(model.history_[-1, "train_loss"])
        dtypes.clear()
        model.prior_.project_out.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
        samples.append(model.sample(5)[0])
        assert dtypes == {torch.bfloat16 if mixed else torch.float32}
        # Likelihoods are exact in either case.
        dtypes.clear()
        model.score(X, y)
        assert dtypes == {torch.float32}
    full, mixed = losses
    assert full != mixed
    assert mixed == pytest.approx(full, rel=0.2)
    assert np.isfinite(samples).all()


def test_batches_are_even(series):
    record = Record()
    tiny_transformer(max_epochs=1, batch_size=16, callbacks=[record]).fit(series[0])
    assert sorted(record.sizes) == [13, 13, 14]


def test_no_batch_of_one_series(series):
    record = Record()
    tiny_transformer(max_epochs=1, batch_size=2, callbacks=[record]).fit(series[0][:5])
    assert sorted(record.sizes) == [2, 3]


@pytest.mark.parametrize(("batch_size", "expected"), [(16, 500), (40, 1000)])
def test_auto_epochs_make_a_number_of_steps(series, batch_size, expected):
    epochs = Epochs()
    tiny_transformer(max_epochs="auto", batch_size=batch_size, callbacks=[epochs]).fit(series[0])
    # 1,500 steps: forty series are three batches of at most 16. But no more than 1,000 passes.
    assert epochs.max_epochs == expected


@pytest.mark.parametrize(
    ("n", "width", "n_epochs"),
    [(40, 64, 3000), (999, 64, 188), (1300, 128, 160), (5120, 128, 113)],
)
def test_prior_grows_with_the_data(n, width, n_epochs, series):
    tokenizer = FrozenEstimator(tiny_transformer().fit(series[0]))
    X = np.resize(series[0], (n, series[0].shape[1]))
    epochs = Epochs()
    automatic = dict.fromkeys(("prior_hidden_dim", "prior_n_heads", "prior_max_epochs"), "auto")
    model = tiny_generator(tokenizer, warm_start=True, **automatic)
    model.set_params(prior_batch_size=64, prior_callbacks=[epochs]).fit(X)
    assert epochs.max_epochs == n_epochs
    assert model.prior_.project_in.out_features == width
    assert model.prior_.blocks[0].n_heads == width // 64
    # Going on with fewer series does not change the width.
    model.set_params(prior_max_epochs=1).fit(X[:20])
    assert model.prior_.project_in.out_features == width


def test_automatic_heads_continue_with_the_fitted_number(series):
    tokenizer = FrozenEstimator(tiny_transformer().fit(series[0]))
    model = tiny_generator(tokenizer, warm_start=True, prior_n_heads=2).fit(series[0])
    model.set_params(prior_n_heads="auto").fit(series[0])
    assert model.prior_.blocks[0].n_heads == 2 and model.n_iter_ == 4


def test_early_stopping_stops_and_keeps_the_best_weights(series):
    X, _ = series
    model = tiny_transformer(
        max_epochs=200, early_stopping=True, n_iter_no_change=3, lr=0.05, lr_schedule="constant"
    ).fit(X)
    losses = np.array([row["valid_loss"] for row in model.history_])
    assert len(losses) < 200
    assert len(losses) - 1 - losses.argmin() == 3
    assert {"valid_recon_time", "valid_recon_timefreq", "valid_commitment"} <= set(
        model.history_[-1]
    )
    # The kept weights are those of the best epoch, not of the last.
    again = tiny_transformer(
        max_epochs=int(losses.argmin()) + 1,
        early_stopping=True,
        n_iter_no_change=300,
        lr=0.05,
        lr_schedule="constant",
    ).fit(X)
    np.testing.assert_allclose(model.codebook_, again.codebook_, rtol=1e-5)


def test_prior_early_stopping(series):
    X, y = series
    model = tiny_generator(
        prior_max_epochs=100,
        prior_early_stopping=True,
        prior_n_iter_no_change=2,
        prior_lr=0.05,
        prior_lr_schedule="constant",
    ).fit(X, y)
    assert len(model.history_) < 100 and "valid_loss" in model.history_[-1]


def test_prior_validation_draws_the_same_masks_in_every_epoch(series):
    """With a learning rate of nearly nothing, only new masks could change the loss."""
    X, y = series
    model = tiny_generator(prior_early_stopping=True, prior_lr=1e-12, prior_max_epochs=4)
    losses = [row["valid_loss"] for row in model.fit(X, y).history_]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_prior_early_stopping_trains_on_every_class():
    X, _ = make_series(40)
    y = np.array([0] * 36 + [1] * 3 + [2])
    for seed in range(5):
        record = Labels()
        tiny_generator(
            prior_early_stopping=True,
            prior_validation_fraction=0.3,
            prior_max_epochs=1,
            prior_callbacks=[record],
            random_state=seed,
        ).fit(X, y)
        assert record.seen == {0, 1, 2}


def test_callbacks_may_score(series):
    def codes_in_use(net, X, y):
        return len(torch.unique(net.module_.tokenize(torch.zeros(1, 1, 32))))

    scoring = EpochScoring(codes_in_use, name="codes_in_use", use_caching=False, on_train=True)
    model = tiny_transformer(callbacks=[scoring]).fit(series[0])
    assert model.history_[-1]["codes_in_use"] >= 1


def test_warm_start_continues(series):
    X, _ = series
    model = tiny_transformer(warm_start=True).fit(X)
    first = model.score(X)
    model.set_params(max_epochs=60).fit(X)
    assert model.n_iter_ == 62
    assert [row["epoch"] for row in model.history_] == list(range(1, 63))
    assert model.score(X) > first
    with pytest.raises(ValueError, match="n_codes \\(6 to 7\\)"):
        model.set_params(n_codes=7).fit(X)


def test_warm_start_of_the_prior_keeps_tokenizer_and_classes(series):
    X, y = series
    model = tiny_generator(warm_start=True).fit(X, y)
    tokenizer = model.transformer_
    model.fit(X, y)
    assert model.transformer_ is tokenizer and model.n_iter_ == 4
    with pytest.raises(ValueError, match=r"prior_n_layers \(1 to 2\)"):
        model.set_params(prior_n_layers=2).fit(X, y)
    model.set_params(prior_n_layers=1)
    with pytest.raises(ValueError, match=r"warm_start=True.*classes_"):
        model.fit(X, y + 1)
    np.testing.assert_array_equal(model.classes_, [0, 1])


def test_interrupt_keeps_what_was_learnt(series):
    X, _ = series
    with pytest.warns(UserWarning, match="interrupted"):
        model = tiny_transformer(max_epochs=50, batch_size=16, callbacks=[Interrupt(8)]).fit(X)
    # Seven of the batches were learnt: two whole epochs of three, and one batch more.
    assert model.n_iter_ == 2
    assert np.isfinite(model.score(X))


def test_interrupt_of_the_tokenizer_goes_on_to_the_prior(series):
    X, y = series
    transformer = tiny_transformer(max_epochs=50, batch_size=16, callbacks=[Interrupt(8)])
    with pytest.warns(UserWarning, match="interrupted"):
        model = tiny_generator(transformer).fit(X, y)
    assert (model.transformer_.n_iter_, model.n_iter_) == (2, 2)


def test_interrupt_of_the_prior_keeps_both_stages(series):
    X, y = series
    with pytest.warns(UserWarning, match="interrupted"):
        model = tiny_generator(prior_max_epochs=50, prior_callbacks=[Interrupt(3)]).fit(X, y)
    assert model.sample(2)[0].shape == (2, X.shape[1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_reported_and_keeps_the_fit(series):
    X, y = series
    model = tiny_transformer().fit(X)
    before = model.transform(X)
    with pytest.raises(FloatingPointError, match=r"Lower lr=1e\+30"):
        model.set_params(lr=1e30, max_epochs=20).fit(X)
    np.testing.assert_array_equal(model.transform(X), before)
    assert model.n_iter_ == 2
    with pytest.raises(FloatingPointError, match="Lower prior_lr"):
        tiny_generator(prior_lr=1e30, prior_max_epochs=50).fit(X, y)


def test_failed_refit_keeps_the_old_model(series):
    X, y = series
    model = tiny_generator(random_state=0).fit(X, y)
    before = model.sample(3, random_state=1)[0]
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.full_like(X, np.inf), y)
    np.testing.assert_array_equal(model.sample(3, random_state=1)[0], before)


def test_verbose_prints_the_losses_and_a_hundred_lines_at_most(series, capsys):
    X, _ = series
    tiny_transformer(max_epochs=3).fit(X)
    assert capsys.readouterr().out == ""
    tiny_transformer(max_epochs=250, n_res_blocks=0, verbose=1).fit(X)
    lines = capsys.readouterr().out.strip().splitlines()
    assert "tokenizer on 40 series, 250 epochs" in lines[0]
    assert 80 <= len(lines) <= 110
    assert "train_loss" in lines[1] and "train_ssl" not in lines[1]
    tiny_transformer(verbose=2).fit(X)
    assert "train_ssl" in capsys.readouterr().out


def test_predicts_on_the_cpu_when_the_device_of_the_fit_is_gone(series):
    X, y = series
    model = tiny_generator().fit(X, y)
    expected = model.sample(3, random_state=0)[0]
    # As a model fitted with device="cuda:7" looks once it is loaded elsewhere.
    model.device = model.transformer_.device = "cuda:7"
    with pytest.warns(UserWarning, match=r"device='cuda:7' cannot be used.*Predicting on the CPU"):
        np.testing.assert_array_equal(model.sample(3, random_state=0)[0], expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fitted_on_cuda_loads_on_cpu(series):
    import pickle

    X, y = series
    model = tiny_generator(tiny_transformer(device="cuda"), device="cuda").fit(X, y)
    assert next(model.prior_.parameters()).is_cuda
    loaded = pickle.loads(pickle.dumps(model))
    assert not next(loaded.prior_.parameters()).is_cuda
    assert loaded.sample(2)[0].shape == (2, X.shape[1])
