import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, make_series, record_work, times_seen, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skncvqvae import NCVQVAETransformer
from skncvqvae._representations import REPRESENTATIONS
from skncvqvae.augmentations import WindowWarp

OF_TOKENS = ["tokens", "histogram", "embedding", "codes"]


def test_learnt_attributes(series, fitted):
    X, _ = series
    assert fitted.codebook_.shape == (TINY["n_codes"], TINY["code_dim"])
    (band,) = fitted.layout_.bands
    assert fitted.n_tokens_ == fitted.layout_.n_tokens == band.rows * band.columns
    assert fitted.layout_.n_codes == TINY["n_codes"]
    assert fitted.codebook_usage_.sum() == pytest.approx(1)
    usage = np.bincount(fitted.tokenize(X).ravel(), minlength=TINY["n_codes"])
    np.testing.assert_allclose(fitted.codebook_usage_, usage / usage.sum())
    p = fitted.codebook_usage_[fitted.codebook_usage_ > 0]
    assert fitted.perplexity_ == pytest.approx(np.exp(-np.sum(p * np.log(p))))
    assert fitted.n_iter_ == len(fitted.history_) == TINY["max_epochs"]
    assert (fitted.codec_.n_channels_, fitted.codec_.n_timesteps_) == (1, X.shape[1])
    assert isinstance(fitted.module_, torch.nn.Module) and not fitted.module_.training


def test_history_logs_terms_that_add_up_to_the_loss(series):
    model = tiny_transformer(ssl_weight=0.7, aug_recon_weight=0.3, commitment_weight=0.5)
    row = model.fit(series[0]).history_[-1]
    total = (
        row["train_recon_time"]
        + row["train_recon_timefreq"]
        + 0.5 * row["train_commitment"]
        + 0.3 * (row["train_aug_recon_time"] + row["train_aug_recon_timefreq"])
        + 0.7 * row["train_ssl"]
    )
    assert row["train_loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("representation", OF_TOKENS)
def test_representations_agree_with_tokens_and_codebook(series, fitted, representation):
    X, _ = series
    tokens, codebook = fitted.tokenize(X), fitted.codebook_
    expected = {
        "tokens": tokens,
        "histogram": np.stack([(tokens == k).mean(1) for k in range(len(codebook))], axis=1),
        "embedding": codebook[tokens].mean(1),
        "codes": codebook[tokens].reshape(len(X), -1),
    }[representation]
    model = clone(fitted).set_params(representation=representation).fit(X)
    features = model.transform(X)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert np.issubdtype(features.dtype, np.integer) == (representation == "tokens")
    names = model.get_feature_names_out()
    assert len(names) == features.shape[1] == len(set(names))


def dense(features):
    return features.toarray() if issparse(features) else features


def test_pairs_are_counted_at_each_distance(series):
    X, _ = series
    model = tiny_transformer(representation="pairs", n_codes=3, downsampled_width=16).fit(X)
    tokens, n_columns = model.tokenize(X), model.layout_.bands[0].columns
    features, names = model.transform(X), model.get_feature_names_out()
    # A distance of 8 columns does not fit.
    assert issparse(features) and n_columns == 8
    expected = {
        f"pair_{a}_{b}_at_{distance}": np.sqrt(
            ((tokens[:, :-distance] == a) & (tokens[:, distance:] == b)).sum(axis=1)
        )
        for distance in (1, 2, 4)
        for a in range(3)
        for b in range(3)
    }
    assert set(names) == set(expected)
    np.testing.assert_allclose(
        features.toarray(), np.stack([expected[name] for name in names], axis=1)
    )


def test_representations_of_the_latent(series, fitted):
    X, _ = series
    x = torch.tensor((X - X.mean()) / X.std(), dtype=torch.float32)[:, None]
    with torch.no_grad():
        z = fitted.module_.latent(x).numpy()
    model = pickle.loads(pickle.dumps(fitted))
    latent = model.set_params(representation="latent").transform(X)
    expected = z.reshape(len(X), z.shape[1], -1).swapaxes(1, 2).reshape(len(X), -1)
    np.testing.assert_allclose(latent, expected, rtol=1e-4, atol=1e-5)
    pooled = model.set_params(representation="pooled").transform(X)
    grid = z.reshape(*z.shape[:2], -1)
    expected = [grid.mean(2), grid.max(2), grid.min(2), grid.std(2)]
    np.testing.assert_allclose(pooled, np.concatenate(expected, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_any_representation(series, fitted, representation):
    X, _ = series
    model = pickle.loads(pickle.dumps(fitted)).set_params(representation=representation)
    features = dense(model.transform(X))
    names = model.get_feature_names_out()
    assert features.shape == (len(X), len(names)) and len(set(names)) == len(names)
    assert np.isfinite(features).all()
    one_by_one = np.concatenate([dense(model.transform(X[i : i + 1])) for i in range(5)])
    np.testing.assert_allclose(one_by_one, features[:5], rtol=1e-4, atol=1e-4)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(dense(loaded.transform(X)), features)
    first = dense(clone(model).fit_transform(X))
    np.testing.assert_allclose(first, dense(clone(model).fit(X).transform(X)), atol=1e-6)


@pytest.mark.parametrize(("n_channels", "n_draws"), [(1, 1), (3, 1), (4, 2), (12, 4), (20, 6)])
def test_ppv_of_series_has_more_features_for_each_three_channels(n_channels, n_draws):
    X = np.random.default_rng(0).normal(size=(6, n_channels, 32))
    features = tiny_transformer(representation="ppv").fit_transform(X)
    # The others are of two layers of the encoder.
    assert features.shape == (6, 84 * 18 * (n_draws + 2))


@pytest.mark.parametrize("representation", ["ppv", "code_ppv"])
def test_shares_are_standardised(series, fitted, representation):
    model = pickle.loads(pickle.dumps(fitted)).set_params(representation=representation)
    features = model.transform(series[0])
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    # What differs little is left little.
    assert (features.std(axis=0) < 1.02).all() and np.median(features.std(axis=0)) > 0.5


def test_several_representations_stand_side_by_side(series, fitted):
    X, _ = series
    model = pickle.loads(pickle.dumps(fitted))

    def transform(representation):
        model.set_params(representation=representation)
        return model.transform(X), model.get_feature_names_out()

    names = ["histogram", "pooled"]
    both, both_names = transform(names)
    parts = [transform(name) for name in names]
    np.testing.assert_array_equal(both, np.hstack([part for part, _ in parts]))
    np.testing.assert_array_equal(both_names, np.hstack([part for _, part in parts]))
    mixed, _ = transform(("tokens", "pairs"))
    assert issparse(mixed) and mixed.dtype == X.dtype
    assert np.issubdtype(transform(["tokens"])[0].dtype, np.integer)
    assert np.issubdtype(transform(["tokens", "histogram"])[0].dtype, np.floating)
    for wrong in ([], ["codes", "codes"], ["codes", "latents"]):
        with pytest.raises(ValueError, match="representation="):
            transform(wrong)


def test_tokens_are_nearest_codes(series, fitted):
    X, _ = series
    x = torch.tensor((X - X.mean()) / X.std(), dtype=torch.float32)[:, None]
    with torch.no_grad():
        z = fitted.module_.latent(x)
    z = z.permute(0, 2, 3, 1).flatten(1, 2).numpy()
    distance = np.linalg.norm(z[:, :, None] - fitted.codebook_, axis=-1)
    np.testing.assert_array_equal(fitted.tokenize(X), distance.argmin(-1))


def test_inverse_transform_and_score(series, fitted):
    X, _ = series
    decoded = fitted.inverse_transform(fitted.tokenize(X))
    assert decoded.shape == X.shape and decoded.dtype == X.dtype
    assert fitted.score(X) == pytest.approx(-np.mean((X - decoded) ** 2) / X.var())


def test_pipeline_grid_search_without_labels_and_set_output(series):
    X, _ = series
    search = GridSearchCV(tiny_transformer(), {"ssl_weight": [0.0, 1.0]}, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    frame = tiny_transformer(representation="histogram").set_output(transform="pandas")
    frame = frame.fit_transform(pd.DataFrame(X, index=np.arange(len(X)) + 7))
    assert list(frame.columns[:2]) == ["code_0", "code_1"] and frame.index[0] == 7


def test_cross_validates_in_a_pipeline_in_parallel(series):
    X, y = series
    pipeline = make_pipeline(tiny_transformer(), LogisticRegression())
    serial = cross_val_score(pipeline, X, y, cv=2)
    # Results are the same for the same number of threads; workers have fewer by themselves.
    with joblib.parallel_config("loky", inner_max_num_threads=torch.get_num_threads()):
        parallel = cross_val_score(pipeline, X, y, cv=2, n_jobs=2)
    np.testing.assert_allclose(parallel, serial)


@pytest.mark.parametrize("method", ["barlowtwins", "vicreg", "vibcreg", "byol", None])
def test_ssl_methods(series, method):
    model = tiny_transformer(ssl_method=method).fit(series[0])
    assert ("train_ssl" in model.history_[-1]) == (method is not None)
    assert np.isfinite(model.score(series[0]))


def test_ssl_weight_changes_the_fit(series):
    X, _ = series
    reference = tiny_transformer(ssl_method="vicreg", ssl_weight="reference").fit(X)
    same = tiny_transformer(ssl_method="vicreg", ssl_weight=0.01).fit(X)
    other = tiny_transformer(ssl_method="vicreg", ssl_weight=3).fit(X)
    np.testing.assert_array_equal(reference.codebook_, same.codebook_)
    assert not np.allclose(reference.codebook_, other.codebook_)


@pytest.mark.parametrize(
    "augmentations",
    ["gauss", "warp", ["jitter", ("window_warp", {"window_ratio": 0.2})], WindowWarp(0.3)],
)
def test_augmentations(series, augmentations):
    assert np.isfinite(
        tiny_transformer(augmentations=augmentations).fit(series[0]).score(series[0])
    )


def test_user_augmentation_sees_standardised_batches(series):
    seen = []

    def record(X):
        seen.append(X.clone())
        return X

    tiny_transformer(augmentations=record, random_shift=0, max_epochs=1).fit(series[0])
    batch = torch.cat(seen)
    assert batch.shape == (40, 1, 32)
    assert abs(batch.mean()) < 1e-5 and abs(batch.std() - 1) < 1e-3


def test_reference_is_the_published_configuration():
    model = NCVQVAETransformer.reference(max_epochs=3, representation="tokens")
    assert (model.max_epochs, model.representation) == (3, "tokens")
    expected = {
        "n_fft": 8,
        "n_codes": 32,
        "code_dim": 64,
        "n_levels": 1,
        "n_res_blocks": 4,
        "decoder_dilation_growth": 1,
        "downsampled_width": 8,
        "codebook_decay": 0.9,
        "commitment_weight": 1.0,
        "aug_recon_weight": 0.1,
        "aug_recon_fraction": 1.0,
        "projector_dim": 4096,
        "ssl_pooling": "avg_max",
        "ssl_method": "barlowtwins",
        "lr": 1e-3,
        "weight_decay": 1e-3,
        "lr_schedule": "cosine",
        "batch_size": 128,
        "frequency_axis": "keep",
        "codebook_init": "random",
        "dead_code_threshold": 0.0,
    }
    assert {name: getattr(model, name) for name in expected} == expected
    X, _ = make_series(length=140)
    model = NCVQVAETransformer.reference(max_epochs=1, projector_dim=8, device="cpu").fit(X)
    # Five frequency rows, and 71 frames halved three times.
    (band,) = model.layout_.bands
    assert (band.rows, band.columns) == (5, 8)
    # As the authors' encoder has: three strided stages, then four blocks of 3x3 and 1x1.
    stages = (2 * 64 * 12 + 64) + 2 * (64 * 64 * 12 + 64) + 3 * 128
    blocks = 4 * ((64 * 64 * 9 + 64) + (64 * 64 + 64) + 2 * 128)
    assert sum(p.numel() for p in model.module_.encoder.parameters()) == stages + blocks


@settings(max_examples=20)
@given(
    n=st.integers(2, 9),
    n_channels=st.one_of(st.none(), st.integers(1, 3)),
    length=st.integers(8, 90),
    dtype=st.sampled_from([np.float32, np.float64]),
    n_fft=st.sampled_from([4, 8, 16]),
    width=st.sampled_from([2, 8, 64]),
    axis=st.sampled_from(["fold", "keep"]),
)
def test_any_shape_and_dtype_round_trips(n, n_channels, length, dtype, n_fft, width, axis):
    X, _ = make_series(n, n_channels, length, dtype=dtype)
    model = tiny_transformer(
        max_epochs=1, n_fft=n_fft, downsampled_width=width, frequency_axis=axis
    ).fit(X)
    tokens = model.tokenize(X)
    assert tokens.shape == (n, model.n_tokens_)
    decoded = model.inverse_transform(tokens)
    assert decoded.shape == X.shape and decoded.dtype == dtype
    assert np.isfinite(decoded).all()
    assert model.transform(X).dtype == dtype


def test_same_random_state_same_fit_and_global_state_untouched(series):
    X, _ = series
    np.random.seed(3)
    torch.manual_seed(3)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second = tiny_transformer().fit(X), tiny_transformer().fit(X)
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])
    assert torch.equal(torch_state, torch.get_rng_state())
    for a, b in zip(
        first.module_.state_dict().values(), second.module_.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    third = tiny_transformer(random_state=1).fit(X)
    assert not np.array_equal(first.codebook_, third.codebook_)


def test_pickle_and_joblib_keep_the_model(series, fitted, tmp_path):
    X, _ = series
    expected = fitted.transform(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), expected)
    joblib.dump(fitted, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib").transform(X), expected)


def test_prediction_does_not_depend_on_the_batch(series, fitted):
    X, _ = series
    single = np.concatenate([fitted.tokenize(X[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(single, fitted.tokenize(X)[:5])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (lambda model: np.zeros((2, model.n_tokens_ + 1), int), "n_tokens_"),
        (lambda model: np.full((2, model.n_tokens_), TINY["n_codes"]), "tokens hold 6"),
        (lambda model: np.full((2, model.n_tokens_), -1), "tokens hold -1"),
        (lambda model: np.full((2, model.n_tokens_), 0.5), r"tokens hold 0\.5"),
        (lambda model: np.full((2, model.n_tokens_), np.nan), "NaN"),
    ],
)
def test_inverse_transform_refuses_what_are_no_tokens(fitted, tokens, message):
    with pytest.raises(ValueError, match=message):
        fitted.inverse_transform(tokens(fitted))


def test_codes_are_checked_against_the_fitted_codebook(series):
    model = tiny_transformer().fit(series[0]).set_params(n_codes=99)
    with pytest.raises(ValueError, match="codes 0 to 5"):
        model.inverse_transform(np.full((1, model.n_tokens_), 50))


@pytest.mark.parametrize(
    "method",
    [
        "transform",
        "tokenize",
        "inverse_transform",
        "score",
        "get_feature_names_out",
        "read",
        "write",
        "encode",
        "decode",
    ],
)
def test_not_fitted(series, method):
    arguments = () if method == "get_feature_names_out" else (series[0],)
    with pytest.raises(NotFittedError):
        getattr(NCVQVAETransformer(), method)(*arguments)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ssl_method": "simclr"}, "ssl_method"),
        ({"lr_schedule": "linear"}, "lr_schedule"),
        ({"representation": "latents"}, "representation"),
        ({"ssl_weight": -1}, "ssl_weight"),
        ({"n_codes": 1}, "n_codes"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"lr": 0}, "lr"),
        ({"code_dim": True}, "code_dim is True"),
        ({"codebook_decay": 0.0}, "codebook_decay"),
        ({"augmentations": lambda X: X * np.nan}, "returned NaN"),
        ({"n_fft": 10}, "n_fft=10"),
        ({"augmentations": "wrap"}, "augmentations='wrap'.*Did you mean"),
        ({"augmentations": [("slope", {"x": 1})]}, "no parameter 'x'"),
        ({"device": "tpu0"}, "device='tpu0'"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
        ({"early_stopping": True, "validation_fraction": 0.97}, "validation_fraction=0.97"),
    ],
)
def test_wrong_parameters_are_named_and_keep_the_fit(series, params, message):
    X, _ = series
    model = tiny_transformer().fit(X)
    before = model.transform(X)
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(X)
    model.set_params(**{name: getattr(tiny_transformer(), name) for name in params})
    np.testing.assert_array_equal(model.transform(X), before)


def test_follows_a_function_step_that_changes_the_layout(series):
    X, _ = series
    pipeline = make_pipeline(FunctionTransformer(lambda X: X[:, None, :]), tiny_transformer())
    np.testing.assert_array_equal(pipeline.fit_transform(X), tiny_transformer().fit_transform(X))


def test_representation_set_after_fit_is_checked(series):
    model = tiny_transformer().fit(series[0]).set_params(representation="codez")
    for call in (lambda: model.transform(series[0]), model.get_feature_names_out):
        with pytest.raises(ValueError, match="representation"):
            call()


def test_score_counts_channels_alike():
    X, _ = make_series(n_channels=2)
    scaled = X * np.array([1, 1e4])[:, None]
    score = tiny_transformer().fit(X).score(X)
    assert tiny_transformer().fit(scaled).score(scaled) == pytest.approx(score, rel=1e-3)
    assert -1.5 < score < 0


def test_threads_do_not_disturb_each_other(series):
    X, _ = series
    torch.manual_seed(0)
    state = torch.get_rng_state()
    fits = joblib.Parallel(n_jobs=3, prefer="threads")(
        joblib.delayed(tiny_transformer().fit)(X) for _ in range(6)
    )
    for model in fits[1:]:
        np.testing.assert_array_equal(model.codebook_, fits[0].codebook_)
    assert torch.equal(state, torch.get_rng_state())


def test_no_second_view_without_weight(series):
    calls = []

    def record(X):
        calls.append(len(X))
        return X

    tiny_transformer(augmentations=record, ssl_weight=0, aug_recon_weight=0).fit(series[0])
    tiny_transformer(augmentations=record, ssl_method=None).fit(series[0])
    assert not calls
    tiny_transformer(augmentations=record, ssl_weight=0).fit(series[0])
    assert calls


def test_default_dtype_of_torch_does_not_matter(series):
    expected = tiny_transformer().fit(series[0]).n_tokens_
    torch.set_default_dtype(torch.float64)
    try:
        assert tiny_transformer().fit(series[0]).n_tokens_ == expected
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("random_shift", "largest"), [(0, 0), (0.5, 1), (1.0, 3), (1e3, 12)])
def test_random_shift_stays_within_its_share_of_a_token(random_shift, largest):
    # Ramps with six tokens of four steps each: what comes to stand in step 12 tells the shift.
    X = np.arange(24.0) + 100 * np.arange(40)[:, None]
    seen = []

    def record(x):
        seen.append(x[:, 0, 12])
        return x

    model = tiny_transformer(random_shift=random_shift, augmentations=record, max_epochs=30)
    model.fit(X)
    assert (model.layout_.bands[0].rows, model.layout_.bands[0].columns) == (1, 6)
    (scale,), (mean,) = model.codec_.scale_, model.codec_.mean_
    step = (torch.cat(seen) * scale + mean).round() % 100
    # Reflected at the ends, step 12 is up to 12 steps from where it was.
    assert abs(step - 12).max() == largest


def test_a_fit_reads_standardises_and_tokenizes_once(monkeypatch, series):
    X, _ = series
    work = record_work(monkeypatch)
    model = tiny_transformer(batch_size=40)
    for fit in (model.fit, model.fit_encode):
        fit(X)
        assert {name: len(seen) for name, seen in work.items()} == {
            "fit_read": 1,
            "read": 0,
            "standardise": 1,
            "tokenize": 1,
        }
        assert times_seen(work["tokenize"], ((X - X.mean()) / X.std())[:, None]) == 1
        for seen in work.values():
            seen.clear()
    model.set_params(representation=["codes", "histogram"]).fit_transform(X)
    assert len(work["tokenize"]) == 1


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_what_a_fit_returns_is_what_the_fitted_model_makes_of_the_series(data_format):
    series, _ = make_series(n_channels=2)
    X = series if data_format == "channels_first" else series.swapaxes(1, 2)
    model = tiny_transformer(data_format=data_format)
    encoded = model.fit_encode(X)
    np.testing.assert_array_equal(encoded.series, series)
    np.testing.assert_array_equal(encoded.tokens, model.tokenize(X))


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_array_level_doors_agree_with_those_for_users(data_format):
    series, _ = make_series(n_channels=2, dtype=np.float32)
    X = series if data_format == "channels_first" else series.swapaxes(1, 2)
    model = tiny_transformer(data_format=data_format).fit(X)
    np.testing.assert_array_equal(model.read(X), series)
    np.testing.assert_array_equal(model.write(series), X)
    tokens = model.encode(series)
    np.testing.assert_array_equal(tokens, model.tokenize(X))
    decoded = model.decode(tokens)
    assert decoded.shape == series.shape and decoded.dtype == np.float32
    np.testing.assert_array_equal(model.write(decoded), model.inverse_transform(tokens))


def test_parameters_are_checked_without_data():
    model = tiny_transformer()
    model.check_params()
    with pytest.raises(ValueError, match="n_fft=10"):
        model.set_params(n_fft=10).check_params()
    with pytest.raises(ValueError, match="'lr' parameter of NCVQVAETransformer"):
        tiny_transformer(lr=-1).check_params()
    with pytest.raises(ValueError, match=r"augmentations='wrap'"):
        tiny_transformer(augmentations="wrap").check_params()
