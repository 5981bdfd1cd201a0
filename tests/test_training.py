"""Training controls: schedules, early stopping, callbacks, warm start, interruption."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_prior, tiny_transformer
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback, EpochScoring
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from skncvqvae import AutoregressiveTokenPrior, MaskedTokenPrior
from skncvqvae.metrics import FCNClassifier


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
        self.max_epochs, self.lr = net.max_epochs, net.lr
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
        # A rise of ten steps of sixty, stable until the 24th, then down to nothing.
        (
            "wsd",
            lambda lrs: (
                np.ptp(np.diff(lrs[:9])) < 1e-12 < np.diff(lrs)[0]
                and np.ptp(lrs[10:24]) < 1e-12
                and (np.diff(lrs[25:]) < 0).all()
                and lrs[-1] < 1e-2 * lrs.max()
            ),
        ),
        # A rise of 50 steps, of which there are 60.
        (
            "warmup",
            lambda lrs: (
                np.ptp(np.diff(lrs[:48])) < 1e-12 < np.diff(lrs)[0] and np.ptp(lrs[50:]) == 0
            ),
        ),
    ],
)
def test_learning_rate_schedules(series, schedule, shape):
    record = Record()
    model = tiny_transformer(max_epochs=30, lr=3e-3, lr_schedule=schedule, callbacks=[record])
    model.fit(series[0])
    assert shape(np.asarray(record.lrs))
    assert max(record.lrs) <= 3e-3 + 1e-12


def make_triangle(optimizer, n_steps):
    """Return a schedule whose rate falls to zero in a straight line."""
    return LambdaLR(optimizer, lambda step: 1 - step / n_steps)


@pytest.mark.parametrize(
    ("estimator", "fit"),
    [
        (tiny_transformer, lambda model, tokens: model.fit(make_series()[0])),
        (tiny_prior, lambda model, tokens: model.fit(tokens)),
        (
            partial(tiny_prior, AutoregressiveTokenPrior),
            lambda model, tokens: model.fit(tokens),
        ),
    ],
)
def test_a_factory_makes_the_learning_rate(estimator, fit):
    asked, record = [], Record()

    def factory(optimizer, n_steps):
        asked.append((type(optimizer), n_steps))
        return make_triangle(optimizer, n_steps)

    model = estimator(
        max_epochs=5, batch_size=16, lr=0.01, lr_schedule=factory, callbacks=[record]
    )
    fit(model, np.random.default_rng(0).integers(4, size=(40, 6)))
    # Forty series are three batches of at most 16.
    assert asked == [(torch.optim.AdamW, 15)]
    # The scheduler has stepped before a callback of the user's sees the rate.
    expected = 0.01 * (1 - np.arange(1, 16) / 15)
    np.testing.assert_allclose(record.lrs, expected, atol=1e-9)


def test_a_factory_is_asked_anew_by_a_warm_start(series):
    asked = []

    def factory(optimizer, n_steps):
        asked.append(n_steps)
        return make_triangle(optimizer, n_steps)

    model = tiny_transformer(lr_schedule=factory, warm_start=True, batch_size=40).fit(series[0])
    model.set_params(max_epochs=7).fit(series[0])
    assert asked == [2, 7] and model.n_iter_ == 9
    assert clone(model).lr_schedule is factory


@pytest.mark.parametrize("lr", [1e30, 1e308])
def test_a_last_step_that_diverges_is_told(series, lr):
    X, y = series
    for model in (
        tiny_transformer(max_epochs=1, batch_size=40, lr=lr),
        tiny_generator(prior__max_epochs=1, prior__lr=lr),
        FCNClassifier(1, batch_size=40, lr=lr, device="cpu"),
    ):
        with pytest.raises(FloatingPointError, match="Lower its lr="):
            model.fit(X, y)
        assert not hasattr(model, "module_")


def test_a_factory_that_makes_no_scheduler_is_refused(series):
    with pytest.raises(TypeError, match=r"lr_schedule=.* must return a scheduler of torch.* 0.1"):
        tiny_transformer(lr_schedule=lambda optimizer, n_steps: 0.1).fit(series[0])


def test_a_factory_that_does_as_a_name_trains_as_it(series):
    named = tiny_transformer(lr_schedule="cosine").fit(series[0])
    own = tiny_transformer(
        lr_schedule=lambda optimizer, n_steps: CosineAnnealingLR(optimizer, n_steps)
    ).fit(series[0])
    np.testing.assert_array_equal(named.codebook_, own.codebook_)


def test_mixed_precision_learns_as_well(series):
    losses = []
    for mixed in (False, True):
        model = tiny_transformer(max_epochs=30, mixed_precision=mixed).fit(series[0])
        assert all(p.dtype == torch.float32 for p in model.module_.parameters())
        losses.append(model.history_[-1, "train_loss"])
    full, mixed = losses
    assert full != mixed
    assert mixed == pytest.approx(full, rel=0.2)


@pytest.mark.parametrize("prior_class", [AutoregressiveTokenPrior, MaskedTokenPrior])
def test_mixed_precision_of_the_prior(series, prior_class):
    X, y = series
    tokenizer = FrozenEstimator(tiny_transformer().fit(X))
    losses, samples, dtypes = [], [], set()
    for mixed in (False, True):
        prior = tiny_prior(prior_class, max_epochs=30, mixed_precision=mixed)
        model = tiny_generator(tokenizer, prior=prior)
        model.fit(X, y)
        losses.append(model.prior_.history_[-1, "train_loss"])
        dtypes.clear()
        last = model.prior_.module_.blocks[-1].ff
        last.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
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


@pytest.mark.parametrize("able", [False, True])
def test_mixed_precision_by_itself_where_the_processor_computes_in_it(series, monkeypatch, able):
    able_to = {"avx512_bf16": able}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able_to, raising=False)
    X, y = series
    tokens = tiny_transformer(mixed_precision=False).fit(X).tokenize(X)
    for make, data in ((tiny_transformer, (X,)), (tiny_prior, (tokens, y))):
        models = [
            make(mixed_precision=mixed, random_state=0).fit(*data)
            for mixed in ("auto", able, not able)
        ]
        automatic, same, other = (model.history_[-1, "train_loss"] for model in models)
        assert automatic == same != other


def test_a_prior_draws_in_single_precision_unless_told_otherwise(series, monkeypatch):
    able_to = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able_to, raising=False)
    model = tiny_generator().fit(*series)
    drawn, _ = model.sample(5, random_state=0)
    model.prior_.set_params(mixed_precision=False)
    np.testing.assert_array_equal(model.sample(5, random_state=0)[0], drawn)


class Threads(Callback):
    def on_train_begin(self, net, **kwargs):
        self.seen = torch.get_num_threads()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("processors", "expected"), [(1, 1), (2, 2), (64, 2)])
def test_no_more_threads_than_processors_for_this_process(monkeypatch, processors, expected):
    monkeypatch.setattr("joblib.cpu_count", lambda: processors)
    X, _ = make_series(16, length=200)
    threads = Threads()
    tiny_transformer(max_epochs=1, callbacks=[threads]).fit(X)
    assert threads.seen == expected
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("length", "expected"), [(64, 1), (200, 2)])
def test_one_thread_for_small_batches(length, expected):
    X, _ = make_series(16, length=length)
    threads = Threads()
    tiny_transformer(max_epochs=1, callbacks=[threads]).fit(X)
    assert threads.seen == expected


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_comes_back_after_a_fit_that_fails(series, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    with pytest.raises(FloatingPointError):
        tiny_transformer(lr=1e30, max_epochs=20).fit(series[0])
    assert torch.get_num_threads() == 2


def test_batches_are_even(series):
    record = Record()
    tiny_transformer(max_epochs=1, batch_size=16, callbacks=[record]).fit(series[0])
    assert sorted(record.sizes) == [13, 13, 14]


def test_no_batch_of_one_series(series):
    record = Record()
    tiny_transformer(max_epochs=1, batch_size=2, callbacks=[record]).fit(series[0][:5])
    assert sorted(record.sizes) == [2, 3]


@pytest.mark.parametrize(
    ("n", "batch_size", "n_epochs", "lr"),
    [
        (40, 16, 134, 1e-2),
        (40, "auto", 400, 1e-2),
        (999, "auto", 25, 1e-2),
        (1000, "auto", 188, 3e-3),
    ],
)
def test_tokenizers_train_longer_from_a_thousand_series_on(n, batch_size, n_epochs, lr, series):
    epochs = Epochs()
    X = np.resize(series[0], (n, series[0].shape[1]))
    automatic = {"max_epochs": "auto", "batch_size": batch_size, "lr": "auto"}
    tiny_transformer(callbacks=[epochs], lr_schedule="constant", **automatic).fit(X)
    # 400 or 1,500 steps: forty series are three batches of at most 16.
    assert epochs.max_epochs == n_epochs
    assert epochs.lr == pytest.approx(lr)


@pytest.mark.parametrize(
    ("n", "width", "n_epochs"),
    [(40, 64, 3000), (999, 64, 188), (1300, 128, 160), (5120, 128, 113)],
)
def test_masked_prior_grows_with_the_data(n, width, n_epochs, series):
    tokenizer = FrozenEstimator(tiny_transformer().fit(series[0]))
    X = np.resize(series[0], (n, series[0].shape[1]))
    automatic = dict.fromkeys(("hidden_dim", "n_heads", "max_epochs"), "auto")
    prior = tiny_prior(MaskedTokenPrior, batch_size=64, callbacks=[Epochs()], **automatic)
    model = tiny_generator(tokenizer, warm_start=True, prior=prior).fit(X)
    # The prior is a clone, and so are its callbacks.
    assert model.prior_.callbacks[0].max_epochs == n_epochs
    assert model.prior_.module_.project_in.out_features == width
    assert model.prior_.module_.blocks[0].n_heads == width // 64
    # Going on with fewer series does not change the width.
    model.set_params(prior__max_epochs=1).fit(X[:20])
    assert model.prior_.module_.project_in.out_features == width


@pytest.mark.parametrize(
    ("n", "n_epochs"), [(40, 165), (128, 120), (320, 90), (400, 70), (512, 60), (2000, 60)]
)
def test_autoregressive_prior_sees_larger_sets_less_often(n, n_epochs):
    epochs = Epochs()
    prior = tiny_prior(max_epochs="auto", batch_size=64, callbacks=[epochs])
    prior.fit(np.arange(n * 4).reshape(n, 4) % 3)
    assert epochs.max_epochs == n_epochs


class Weights(Callback):
    """Keeps the weights after each step."""

    def initialize(self):
        self.seen = []
        return self

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            self.seen.append([p.detach().clone() for p in net.module_.parameters()])


@pytest.mark.parametrize("decay", [0, 0.5, 0.98])
def test_training_of_the_autoregressive_prior_ends_with_averaged_weights(decay):
    record = Weights()
    prior = tiny_prior(average_decay=decay, max_epochs=20, batch_size=20, callbacks=[record])
    prior.fit(np.arange(160).reshape(40, 4) % 3)
    first, *others = record.seen
    assert len(others) == 39
    average = first
    for n, weights in enumerate(others, start=1):
        # At first, when the average is of few steps, they count for more.
        share = min(decay, n / (n + 10))
        average = [
            share * mean + (1 - share) * new for mean, new in zip(average, weights, strict=True)
        ]
    for ours, theirs in zip(prior.module_.parameters(), average, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_warm_start_goes_on_from_the_average():
    tokens = np.arange(160).reshape(40, 4) % 3
    prior = tiny_prior(warm_start=True, batch_size=40, random_state=0).fit(tokens)
    expected, record = [p.detach().clone() for p in prior.module_.parameters()], Weights()
    # Nothing moves by so small a rate.
    prior.set_params(lr=1e-12, weight_decay=0.0, callbacks=[record]).fit(tokens)
    for before, after in zip(expected, record.seen[-1], strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_automatic_heads_continue_with_the_fitted_number(series):
    tokenizer = FrozenEstimator(tiny_transformer().fit(series[0]))
    prior = tiny_prior(MaskedTokenPrior, n_heads=2)
    model = tiny_generator(tokenizer, warm_start=True, prior=prior).fit(series[0])
    model.set_params(prior__n_heads="auto").fit(series[0])
    assert model.prior_.module_.blocks[0].n_heads == 2 and model.prior_.n_iter_ == 4


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
        prior__max_epochs=100,
        prior__early_stopping=True,
        prior__n_iter_no_change=2,
        prior__lr=0.05,
        prior__lr_schedule="constant",
    ).fit(X, y)
    history = model.prior_.history_
    assert len(history) < 100 and "valid_loss" in history[-1]


def test_prior_validation_draws_the_same_masks_in_every_epoch(series):
    """With a learning rate of nearly nothing, only new masks could change the loss."""
    X, y = series
    model = tiny_generator(prior__early_stopping=True, prior__lr=1e-12, prior__max_epochs=4)
    losses = [row["valid_loss"] for row in model.fit(X, y).prior_.history_]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


def test_prior_early_stopping_trains_on_every_class():
    X, _ = make_series(40)
    y = np.array([0] * 36 + [1] * 3 + [2])
    for seed in range(5):
        model = tiny_generator(
            prior__early_stopping=True,
            prior__validation_fraction=0.3,
            prior__max_epochs=1,
            prior__callbacks=[Labels()],
            random_state=seed,
        ).fit(X, y)
        assert model.prior_.callbacks[0].seen == {0, 1, 2}


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
    assert model.transformer_ is tokenizer and model.prior_.n_iter_ == 4
    with pytest.raises(ValueError, match=r"n_layers \(1 to 2\)"):
        model.set_params(prior__n_layers=2).fit(X, y)
    model.set_params(prior__n_layers=1)
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
    assert (model.transformer_.n_iter_, model.prior_.n_iter_) == (2, 2)


def test_interrupt_of_the_prior_keeps_both_stages(series):
    X, y = series
    with pytest.warns(UserWarning, match="interrupted"):
        model = tiny_generator(prior__max_epochs=50, prior__callbacks=[Interrupt(3)]).fit(X, y)
    assert model.sample(2)[0].shape == (2, X.shape[1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_reported_and_keeps_the_fit(series):
    X, y = series
    model = tiny_transformer().fit(X)
    before = model.transform(X)
    with pytest.raises(FloatingPointError, match=r"tokenizer. Lower its lr=1e\+30"):
        model.set_params(lr=1e30, max_epochs=20).fit(X)
    np.testing.assert_array_equal(model.transform(X), before)
    assert model.n_iter_ == 2
    with pytest.raises(FloatingPointError, match=r"prior. Lower its lr=1e\+30"):
        tiny_generator(prior__lr=1e30, prior__max_epochs=50).fit(X, y)


def test_failed_refit_keeps_the_old_model(series):
    X, y = series
    model = tiny_generator(random_state=0).fit(X, y)
    before = model.sample(3, random_state=1)[0]
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.full_like(X, np.inf), y)
    np.testing.assert_array_equal(model.sample(3, random_state=1)[0], before)


def test_predicts_on_the_cpu_when_the_device_of_the_fit_is_gone(series):
    X, y = series
    model = tiny_generator().fit(X, y)
    expected = model.sample(3, random_state=0)[0]
    # As a model fitted with device="cuda:7" looks once it is loaded elsewhere.
    model.prior_.device = model.transformer_.device = "cuda:7"
    with pytest.warns(UserWarning, match=r"device='cuda:7' cannot be used.*Predicting on the CPU"):
        np.testing.assert_array_equal(model.sample(3, random_state=0)[0], expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_for_the_same_seed(series):
    X, y = series
    model = tiny_generator(tiny_transformer(device="cuda"), prior__device="cuda")
    samples = [model.fit(X, y).sample(9, random_state=0)[0] for _ in range(2)]
    np.testing.assert_array_equal(*samples)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fitted_on_cuda_loads_on_cpu(series):
    import pickle

    X, y = series
    model = tiny_generator(tiny_transformer(device="cuda"), prior__device="cuda").fit(X, y)
    assert next(model.prior_.module_.parameters()).is_cuda
    loaded = pickle.loads(pickle.dumps(model))
    assert not next(loaded.prior_.module_.parameters()).is_cuda
    assert loaded.sample(2)[0].shape == (2, X.shape[1])
