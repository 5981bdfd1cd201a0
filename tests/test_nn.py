"""The torch modules by themselves, against definitions written another way."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers import make_prior_module
from hypothesis import given, settings
from hypothesis import strategies as st

from skncvqvae.nn.attention import Block, Dropout, RMSNorm
from skncvqvae.nn.autoencoder import Decoder, Encoder, count_downsamples
from skncvqvae.nn.autoregressive_prior import AutoregressivePrior
from skncvqvae.nn.masked_prior import MaskedPrior
from skncvqvae.nn.ppv import DilatedPPV, PPVConfig, StandardisedPPV
from skncvqvae.nn.quantizer import VectorQuantizer
from skncvqvae.nn.spectrogram import Spectrogram
from skncvqvae.nn.ssl import SSL_METHODS, SSLMethod
from skncvqvae.nn.token_transformer import MASKED, PriorConfig
from skncvqvae.nn.vqvae import NCVQVAE, LossWeights, NCVQVAEConfig


def make_vqvae(n_channels=1, n_timesteps=32, **sizes):
    sizes = {"code_dim": 8, "n_res_blocks": 1, "projector_dim": 8, **sizes}
    return NCVQVAE(NCVQVAEConfig(n_channels, n_timesteps, **sizes))


@settings(max_examples=30)
@given(
    length=st.integers(16, 200),
    n_channels=st.integers(1, 3),
    n_fft=st.sampled_from([4, 8, 12, 16]),
)
def test_spectrogram_is_torchs_stft_and_its_inverse(length, n_channels, n_fft):
    x = torch.randn(2, n_channels, length, generator=torch.Generator().manual_seed(length))
    spectrogram = Spectrogram(length, n_fft)
    u = spectrogram(x)
    window = torch.hann_window(n_fft)
    expected = torch.stft(x.flatten(0, 1), n_fft, window=window, return_complex=True)
    expected = torch.view_as_real(expected).unflatten(0, (2, n_channels))
    # Real and imaginary part of a channel follow each other.
    expected = expected.permute(0, 1, 4, 2, 3).flatten(1, 2)
    torch.testing.assert_close(u, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(spectrogram.inverse(u), x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("length", "width", "expected"),
    # The reference's downsample rates: ECG5000 8, FordA 16, ItalyPowerDemand 2.
    [(140, 8, 3), (500, 8, 4), (24, 8, 1), (8, 8, 1), (500, 32, 3)],
)
def test_downsampling_follows_the_references_rule(length, width, expected):
    assert count_downsamples(length, 8, width) == expected


@given(
    n_timesteps=st.integers(1, 150),
    n_fft=st.sampled_from([4, 8, 16]),
    width=st.integers(1, 40),
    axis=st.sampled_from(["fold", "keep"]),
)
def test_the_configuration_knows_the_grid(n_timesteps, n_fft, width, axis):
    config = NCVQVAEConfig(
        1,
        n_timesteps,
        n_fft,
        code_dim=4,
        n_res_blocks=1,
        downsampled_width=width,
        frequency_axis=axis,
        ssl_method=None,
    )
    assert NCVQVAE(config).latent(torch.zeros(2, 1, n_timesteps)).shape[2:] == config.grid_shape


def test_encoder_and_decoder_shapes():
    u = torch.randn(3, 2, 5, 71)
    z = Encoder(2, [8, 8, 16], n_res_blocks=2)(u)
    assert z.shape == (3, 16, 5, 8)
    for extra in (True, False):
        decoder = Decoder(2, [8, 8, 16], dilations=[1, 2], size=(5, 71), extra_upsample=extra)
        assert decoder(z).shape == u.shape


def test_dilated_blocks_see_as_far_as_their_dilations_reach():
    decoder = Decoder(2, [8], dilations=[4, 2, 1], size=(1, 82), kernel_height=1).eval()
    z = torch.randn(1, 8, 1, 41, requires_grad=True)
    decoder.blocks(z)[..., 20].sum().backward()
    seen = z.grad[0, :, 0].abs().sum(0).nonzero()[:, 0]
    assert torch.equal(seen, torch.arange(20 - 7, 20 + 8))


def test_dilations_stay_within_half_the_columns():
    module = make_vqvae(n_timesteps=64, n_res_blocks=5, decoder_dilation_growth=3)
    assert module.token_grid_shape == (5, 8)
    assert [block.body[1].dilation[1] for block in module.decoder.blocks] == [4, 4, 4, 3, 1]
    assert {block.body[1].dilation[1] for block in module.encoder.blocks} == {1}


def test_augmented_reconstruction_of_a_part_of_the_batch():
    torch.manual_seed(0)
    module = make_vqvae().eval()
    x, view = torch.randn(2, 8, 1, 32)
    expected = module(x[:4], view[:4])
    module.loss_weights = LossWeights(aug_recon_fraction=0.5)
    part = module(x, view)
    for name in ("aug_recon_time", "aug_recon_timefreq"):
        torch.testing.assert_close(part[name], expected[name])
    # The smallest fraction leaves the two series that batch normalisation needs.
    module.train().loss_weights = LossWeights(aug_recon_fraction=1e-3)
    assert module(x[:2], view[:2])["aug_recon_time"].isfinite()


class TestVectorQuantizer:
    def make(self, n_codes=4, **params):
        torch.manual_seed(0)
        return VectorQuantizer(n_codes, 3, **params)

    def test_nearest_code_and_commitment(self):
        quantizer = self.make().eval()
        z = torch.randn(5, 3, 2, 6)
        z_q, tokens, commitment = quantizer(z)
        flat = z.permute(0, 2, 3, 1)
        distance = (flat[..., None, :] - quantizer.codebook).square().sum(-1)
        assert torch.equal(tokens, distance.argmin(-1))
        torch.testing.assert_close(z_q, quantizer.codebook[tokens].permute(0, 3, 1, 2))
        assert commitment.item() == pytest.approx(distance.amin(-1).mean().item() / 3, rel=1e-5)

    def test_straight_through_gradient(self):
        quantizer = self.make().eval()
        z = torch.randn(2, 3, 1, 4, requires_grad=True)
        weight = torch.randn(2, 3, 1, 4)
        (quantizer(z)[0] * weight).sum().backward()
        torch.testing.assert_close(z.grad, weight)
        assert not quantizer.codebook.requires_grad

    def test_moving_average_is_the_published_one(self):
        quantizer = self.make(decay=0.8)
        codebook, total = quantizer.codebook.clone(), quantizer.ema_sum.clone()
        z = torch.randn(10, 3, 1, 5)
        _, tokens, _ = quantizer(z)
        flat, tokens = z.permute(0, 2, 3, 1).reshape(-1, 3), tokens.flatten()
        count = 0.2 * torch.bincount(tokens, minlength=4)
        for k in range(4):
            total[k] = 0.8 * total[k] + 0.2 * flat[tokens == k].sum(0)
        smoothed = (count + 1e-5) / (count.sum() + 4e-5) * count.sum()
        torch.testing.assert_close(quantizer.codebook, total / smoothed[:, None])
        assert not torch.equal(quantizer.codebook, codebook)

    def test_evaluation_does_not_move_the_codebook(self):
        quantizer = self.make(dead_code_threshold=1.0).eval()
        before = quantizer.codebook.clone()
        quantizer(torch.randn(4, 3, 1, 5))
        assert torch.equal(before, quantizer.codebook)

    def test_kmeans_finds_separated_clusters(self):
        centres = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [-9, -9, -9]])
        z = centres.repeat(50, 1) + 0.1 * torch.randn(200, 3)
        # Twice as many codes as clusters, since Lloyd's algorithm may leave a cluster without.
        quantizer = self.make(n_codes=8, init="kmeans", dead_code_threshold=1.0)
        for seed in range(20):
            quantizer(z.T[None, :, None], torch.Generator().manual_seed(seed))
        nearest = torch.cdist(centres, quantizer.codebook).amin(1)
        assert nearest.max() < 0.3

    def test_dead_codes_are_revived(self):
        quantizer = self.make(dead_code_threshold=1.0)
        quantizer.codebook[2:] += 1e4
        quantizer.ema_sum[2:] += 1e4
        for seed in range(10):
            z = torch.randn(1, 3, 1, 400, generator=torch.Generator().manual_seed(seed))
            _, tokens, _ = quantizer(z)
        assert len(tokens.unique()) == 4

    def test_fewer_latents_than_codes(self):
        quantizer = self.make(init="kmeans", dead_code_threshold=1.0)
        quantizer(torch.randn(1, 3, 1, 2))
        assert quantizer.codebook.isfinite().all()


def test_loss_is_the_weighted_sum_and_a_zero_weight_is_not_computed():
    torch.manual_seed(0)
    module = make_vqvae()
    x = torch.randn(6, 1, 32)
    module.loss_weights = LossWeights(commitment=2.0, aug_recon=0.0, ssl=0.0)
    terms = module(x, x + 0.1)
    assert "ssl" not in terms and "aug_recon_time" not in terms
    expected = terms["recon_time"] + terms["recon_timefreq"] + 2 * terms["commitment"]
    torch.testing.assert_close(terms["loss"], expected)


@pytest.mark.parametrize("ssl_method", ["barlowtwins", "vicreg", "vibcreg"])
def test_loss_and_gradients_are_those_of_the_formula(ssl_method):
    torch.manual_seed(0)
    params = {"n_codes": 5, "code_dim": 6, "n_res_blocks": 1, "projector_dim": 8}
    config = NCVQVAEConfig(2, 32, ssl_method=ssl_method, ssl_pooling="avg", **params)
    module = NCVQVAE(config).double().eval()
    x, view = torch.randn(2, 7, 2, 32, dtype=torch.float64)

    def decode_and_compare(z, x):
        u_hat = module.decoder(z)
        x_hat = module.spectrogram.inverse(u_hat)
        return (x_hat - x).square().mean(), (u_hat - module.spectrogram(x)).square().mean()

    z, z_view = (module.encoder(module.spectrogram(series)) for series in (x, view))
    flat = z.permute(0, 2, 3, 1)
    codes = module.quantizer.codebook
    nearest = codes[(flat[..., None, :] - codes).square().sum(-1).argmin(-1)].permute(0, 3, 1, 2)
    z_q = z + (nearest - z).detach()
    recon, aug_recon = decode_and_compare(z_q, x), decode_and_compare(z_view, view)
    commitment = (z - nearest).square().mean()
    # The quantised latent of the series meets the continuous one of the view.
    projections = (module.ssl.projector(latent.mean((2, 3))) for latent in (z_q, z_view))
    ssl = SSL_METHODS[ssl_method].loss(*projections)
    expected = sum(recon) + 0.5 * commitment + 0.3 * sum(aug_recon) + 2 * ssl

    module.loss_weights = LossWeights(commitment=0.5, aug_recon=0.3, ssl=2.0)
    terms = module(x, view)
    separate = [*recon, commitment, *aug_recon, ssl]
    for name, value in zip(module.term_names, separate, strict=True):
        torch.testing.assert_close(terms[name], value, msg=name)
    parameters = list(module.parameters())
    gradients = [torch.autograd.grad(loss, parameters) for loss in (terms["loss"], expected)]
    torch.testing.assert_close(*gradients)


def test_view_does_not_move_the_codebook():
    codebooks = []
    for view in (torch.zeros(6, 1, 32), torch.ones(6, 1, 32)):
        torch.manual_seed(0)
        module = make_vqvae()
        module(torch.randn(6, 1, 32), view)
        codebooks.append(module.quantizer.codebook)
    assert torch.equal(*codebooks)


def test_rms_norm_is_torchs():
    torch.manual_seed(0)
    ours, theirs = RMSNorm(7), torch.nn.RMSNorm(7)
    ours.weight.data = theirs.weight.data = torch.randn(7)
    x = torch.randn(2, 5, 7)
    x[0, 0] = 0
    x, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x_theirs))
    ours(x).pow(3).sum().backward()
    theirs(x_theirs).pow(3).sum().backward()
    torch.testing.assert_close(x.grad, x_theirs.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("ssl_method", SSL_METHODS)
def test_mixed_precision_agrees_to_the_digits_of_bfloat16(ssl_method):
    terms, dtypes = [], set()
    for mixed in (False, True):
        torch.manual_seed(0)
        config = NCVQVAEConfig(1, 64, n_res_blocks=1, ssl_method=ssl_method, projector_dim=64)
        module = NCVQVAE(config)
        module.decoder.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
        x = torch.randn(32, 1, 64)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            terms.append(module(x, x + 0.1 * torch.randn_like(x)))
        terms[-1]["loss"].backward()
        trained = [p for p in module.parameters() if p.requires_grad]
        assert all(p.grad.isfinite().all() for p in trained)
    # Tells that one of the two did use it.
    assert dtypes == {torch.float32, torch.bfloat16}
    for name, exact in terms[0].items():
        assert terms[1][name].dtype == torch.float32
        # Over seeds the SSL term, small differences of many numbers, is off by up to 5 %.
        tolerance = 0.2 if name == "ssl" else 0.05
        assert terms[1][name].item() == pytest.approx(exact.item(), rel=tolerance), name


@pytest.mark.parametrize("cls", [MaskedPrior, AutoregressivePrior])
def test_mixed_precision_of_the_prior_agrees_to_the_digits_of_bfloat16(cls):
    torch.manual_seed(0)
    prior = cls(PriorConfig(8, 12, 2, embedding_dim=6, hidden_dim=32)).eval()
    tokens, labels = torch.randint(8, (64, 12)), torch.randint(2, (64,))
    losses, gradients = [], []
    for mixed in (False, True):
        prior.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = prior.loss(tokens, labels, generator=torch.Generator().manual_seed(0))
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: p.grad.flatten() for name, p in prior.named_parameters()})
    assert losses[1] == pytest.approx(losses[0], rel=0.01) and losses[1] != losses[0]
    for name, exact in gradients[0].items():
        assert torch.cosine_similarity(gradients[1][name], exact, dim=0) > 0.99, name


@settings(max_examples=20)
@given(p=st.floats(0, 0.95), seed=st.integers(0, 100), n_columns=st.integers(1, 7))
def test_dropout_is_torchs(p, seed, n_columns):
    torch.manual_seed(seed)
    dropout = Dropout(p)
    x = torch.ones(5000, n_columns, requires_grad=True)
    y = dropout(x)
    y.sum().backward()
    # Kept values, and their gradients, are scaled up so that the mean stays.
    assert torch.equal(x.grad, y.detach())
    torch.testing.assert_close(y.unique()[-1].item(), 1 / (1 - p), rtol=1e-3, atol=0)
    n = x.numel()
    margin = 5 * np.sqrt(p * (1 - p) / n) + 1e-4
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=margin)
    # Neighbours, whose bits come from one random word, are independent.
    both = ((y[1:] == 0) & (y[:-1] == 0)).float().mean().item()
    assert both == pytest.approx(p**2, abs=2 * margin)
    torch.manual_seed(seed)
    assert torch.equal(y, dropout(torch.ones(5000, n_columns)))
    assert torch.equal(dropout.eval()(x), x)


def test_prior_starts_from_the_codebook_and_is_near_uniform():
    torch.manual_seed(0)
    codebook = 100 + 7 * torch.randn(16, 8)
    config = PriorConfig(16, 12, 3, embedding_dim=8, hidden_dim=16)
    prior = MaskedPrior(config, codebook)
    embedding = prior.token_embedding.weight[:16]
    correlation = np.corrcoef(embedding.detach().flatten(), codebook.flatten())[0, 1]
    assert correlation == pytest.approx(1, abs=1e-4)
    loss = prior.loss(torch.randint(16, (64, 12)), torch.randint(3, (64,)))
    assert loss.item() == pytest.approx(np.log(16), rel=0.35)


def test_prior_loss_and_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    config = PriorConfig(8, 12, 2, embedding_dim=6, hidden_dim=16)
    prior = MaskedPrior(config, torch.randn(8, 6)).double().eval()
    tokens, labels = torch.randint(8, (40, 12)), torch.randint(2, (40,))
    seen, forward = [], prior.forward
    prior.forward = lambda *inputs: seen.append(inputs) or forward(*inputs)
    loss = prior.loss(tokens, labels, torch.Generator().manual_seed(3))
    ((given, given_labels, masked),) = seen
    # At least one token is masked, in any place; in the mean 2 / pi of them.
    assert torch.equal(given, torch.where(masked, MASKED, tokens))
    assert torch.equal(given_labels, labels)
    assert masked.any(1).all() and masked.any(0).all()
    assert masked.double().mean().item() == pytest.approx(2 / np.pi, abs=0.15)

    every = forward(given, labels, torch.ones_like(masked)).view(40, 12, 8)
    log_p = every - every.exp().sum(-1, keepdim=True).log()
    expected = -log_p[torch.arange(40)[:, None], torch.arange(12), tokens][masked].mean()
    torch.testing.assert_close(loss, expected)
    parameters = [p for p in prior.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(value, parameters) for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_autoregressive_prior_is_near_uniform_at_the_start():
    torch.manual_seed(0)
    prior = AutoregressivePrior(PriorConfig(16, 12, 3, hidden_dim=32)).eval()
    loss = prior.loss(torch.randint(16, (64, 12)), torch.randint(3, (64,)))
    assert loss.item() == pytest.approx(np.log(16), rel=0.05)


def test_conditioned_block_is_that_of_the_formula():
    torch.manual_seed(0)
    block = Block(6, 2, 3, ff_mult=2, dropout=0.0, causal=True, conditioned=True).double()
    torch.nn.init.normal_(block.modulation.weight)
    x, condition = torch.randn(4, 5, 6).double(), torch.randn(4, 6).double()
    scale, move, gate, scale_ff, move_ff, gate_ff = (
        part[:, None] for part in block.modulation(condition).split(6, dim=1)
    )

    def normalise(x, weight):
        return weight * x / (x.square().mean(-1, keepdim=True)).sqrt()

    q, k, v = block.qkv(normalise(x, block.norm_attention.weight) * (1 + scale) + move).chunk(3, 2)
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = torch.einsum("nid,njd->nij", q[..., head], k[..., head]) / 3**0.5
        scores = torch.where(torch.ones(5, 5).tril().bool(), scores, -torch.inf)
        heads.append(scores.softmax(-1) @ v[..., head])
    x1 = x + gate * block.out(torch.cat(heads, dim=-1))
    inner = normalise(x1, block.norm_ff.weight) * (1 + scale_ff) + move_ff
    torch.testing.assert_close(block(x, block.modulate(condition)), x1 + gate_ff * block.ff(inner))


def test_condition_starts_without_effect():
    torch.manual_seed(0)
    block = Block(6, 2, 3, ff_mult=2, dropout=0.0, conditioned=True)
    x = torch.randn(4, 5, 6)
    torch.testing.assert_close(block(x, block.modulate(torch.randn(4, 6))), block(x))


def test_a_block_without_condition_says_that_it_has_none():
    block = Block(6, 2, 3, ff_mult=2, dropout=0.0)
    with pytest.raises(ValueError, match="conditioned=False"):
        block.modulate(torch.randn(4, 6))


def test_copies_are_drawn_alike_and_known_to_the_autoregressive_prior():
    prior = make_prior_module(AutoregressivePrior, n_copies=4)
    seen, forward, by_turn = [], prior.forward, prior.logits_by_turn
    prior.logits_by_turn = lambda *inputs: seen.append(inputs) or by_turn(*inputs)
    tokens = torch.randint(5, (4000, 4, 7))
    prior.loss(tokens, torch.zeros(4000, dtype=torch.long), torch.Generator().manual_seed(0))
    ((given, _, copies),) = seen
    assert torch.equal(given, tokens[torch.arange(4000), copies])
    shares = torch.bincount(copies) / 4000
    # Five standard deviations of a binomial draw.
    assert (shares - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
    # Without being told, it takes series for those that are not moved.
    one, labels = tokens[:5, 0], torch.zeros(5, dtype=torch.long)
    assert torch.equal(forward(one, labels), forward(one, labels, torch.zeros_like(labels)))
    assert not torch.allclose(forward(one, labels), forward(one, labels, labels + 1))


@pytest.mark.parametrize("n_layers", [1, 3])
def test_prior_computes_the_same_logits_for_some_tokens_as_for_all(n_layers):
    torch.manual_seed(0)
    config = PriorConfig(8, 12, 2, embedding_dim=6, hidden_dim=16, n_layers=n_layers)
    prior = MaskedPrior(config, torch.randn(8, 6)).double()
    # Some of them masked.
    tokens, labels = torch.randint(9, (5, 12)) - 1, torch.randint(3, (5,))
    wanted = torch.rand(5, 12) < 0.4
    every = prior(tokens, labels, torch.ones_like(wanted)).view(5, 12, 8)
    torch.testing.assert_close(prior(tokens, labels, wanted), every[wanted])
    assert not torch.allclose(every[0], every[1])


@pytest.mark.parametrize("cls", [MaskedPrior, AutoregressivePrior])
def test_likelihood_of_a_learnt_sequence_is_near_zero(cls):
    torch.manual_seed(0)
    tokens = torch.tensor([[0, 1, 2, 3]]).repeat(32, 1)
    labels = torch.zeros(32, dtype=torch.long)
    prior = cls(PriorConfig(4, 4, 1, embedding_dim=8, hidden_dim=16, n_layers=1))
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        prior.loss(tokens, labels).backward()
        optimiser.step()
    prior.eval()
    assert prior.log_likelihood(tokens[:1], labels[:1]).item() > -0.2
    wrong = tokens[:1].flip(1)
    assert prior.log_likelihood(wrong, labels[:1]).item() < -5


def test_causal_attention_is_that_of_each_position_over_those_before_it():
    torch.manual_seed(0)
    block = Block(16, n_heads=2, head_dim=8, ff_mult=2, dropout=0.0, causal=True).double()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    ours = block(x)
    for position in range(5):
        # A block that sees all, given only what the position may see.
        block.causal = False
        alone = block(x[:, : position + 1])[:, position]
        torch.testing.assert_close(ours[:, position], alone)


@pytest.mark.parametrize("cls", [MaskedPrior, AutoregressivePrior])
def test_barred_codes_have_no_probability_and_no_gradient_of_nan(cls):
    allowed = torch.zeros(7, 5, dtype=torch.bool)
    allowed[:3, :2] = allowed[3:, 2:] = True
    prior, barred = make_prior_module(cls), make_prior_module(cls, allowed=allowed)
    tokens = torch.where(torch.arange(7) < 3, 1, 4).repeat(6, 1)
    labels = torch.zeros(6, dtype=torch.long)
    wanted = [torch.ones_like(tokens, dtype=torch.bool)] if cls is MaskedPrior else []
    p = barred(tokens, labels, *wanted).view(6, 7, 5).softmax(-1)
    assert (p[:, ~allowed] == 0).all() and (p[:, allowed] > 0).all()
    barred.loss(tokens, labels).backward()
    assert all(q.grad.isfinite().all() for q in barred.parameters() if q.grad is not None)
    # What remains is shared out as without the bar.
    free, kept = (m.eval()(tokens, labels, *wanted).view(6, 7, 5) for m in (prior, barred))
    torch.testing.assert_close(free[:, allowed], kept[:, allowed])


def test_loss_and_likelihood_of_turns_are_those_of_all_logits():
    allowed = torch.zeros(7, 5, dtype=torch.bool)
    # The second turn has two codes that are no neighbours.
    allowed[:3, :2] = allowed[3:5, 1] = allowed[3:5, 3] = allowed[5:, 2:] = True
    prior = make_prior_module(AutoregressivePrior, allowed=allowed).double().eval()
    tokens = torch.tensor([[0, 1, 1, 3, 1, 4, 2], [1, 1, 0, 1, 3, 2, 3]])
    labels = torch.tensor([0, 1])
    log_p = prior(tokens, labels).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    torch.testing.assert_close(prior.loss(tokens, labels), -log_p.mean())
    torch.testing.assert_close(prior.log_likelihood(tokens, labels), log_p.sum(1))
    sizes = [logits.shape[1:] for logits, _ in prior.logits_by_turn(tokens, labels)]
    assert sizes == [(3, 2), (2, 3), (2, 3)]


def test_a_module_of_the_same_configuration_takes_over_the_weights():
    """Configuration and tensors are all there is to a module."""
    torch.manual_seed(0)
    for method in SSL_METHODS:
        module = make_vqvae(2, ssl_method=method, n_codes=5, frequency_axis="fold")
        x = torch.randn(6, 2, 32)
        module(x, x + 0.1)["loss"].backward()
        again = NCVQVAE(module.config)
        again.load_state_dict(module.state_dict())
        assert torch.equal(again.eval().tokenize(x), module.eval().tokenize(x))
    for cls in (MaskedPrior, AutoregressivePrior):
        prior = make_prior_module(cls)
        again = cls(prior.config).eval()
        again.load_state_dict(prior.state_dict())
        tokens, labels = torch.randint(5, (4, 7)), torch.tensor([0, 1, 2, 0])
        assert torch.equal(
            again.log_likelihood(tokens, labels), prior.log_likelihood(tokens, labels)
        )


def test_ssl_loss_of_any_callable_is_in_the_sum():
    torch.manual_seed(0)
    seen = []

    def loss(p, p_view):
        seen.append((p.shape, p_view.shape))
        return (p - p_view).square().mean()

    for method in (loss, SSLMethod(loss)):
        module = make_vqvae(ssl_method=method)
        x = torch.randn(6, 1, 32)
        module.loss_weights = LossWeights(ssl=3.0)
        with_ssl = module.eval()(x, x + 0.1)
        module.loss_weights = LossWeights(ssl=0.0)
        without = module(x, x + 0.1)
        torch.testing.assert_close(with_ssl["loss"] - without["loss"], 3 * with_ssl["ssl"])
    assert seen == [((6, 8), (6, 8))] * 2


@pytest.mark.parametrize(
    ("n_channels", "n_columns", "n_biases"), [(1, 40, 4), (12, 9, 3), (12, 40, 20)]
)
def test_shares_of_positive_values_are_those_of_the_formula(n_channels, n_columns, n_biases):
    x = torch.randn(5, n_channels, n_columns, generator=torch.Generator().manual_seed(0))
    ppv = DilatedPPV(PPVConfig(n_channels, n_columns, n_biases))
    ppv.fit(x)
    expected = []
    kernels = [set(taps) for taps in itertools.combinations(range(9), 3)]
    dilations = [dilation for dilation, _ in ppv.config.stages]
    # More than 18 biases have several draws of channels.
    assert dilations == ([1, 2, 4] if n_columns == 40 else [1]) * math.ceil(n_biases / 18)
    for stage, dilation in enumerate(dilations):
        mix = ppv.get_buffer(f"mix_{stage}").numpy()
        biases = ppv.get_buffer(f"bias_{stage}").numpy()
        # A channel that is summed is divided by its standard deviation.
        std = x.std((0, 2)).numpy()
        used = mix != 0
        np.testing.assert_allclose(mix[used], np.broadcast_to(1 / std, mix.shape)[used], rtol=1e-4)
        assert (used.sum(1) >= 1).all() and (used.sum(1) <= 9).all()
        for kernel, high in enumerate(kernels):
            weights = np.array([2.0 if tap in high else -1.0 for tap in range(9)])
            reach = 4 * dilation
            summed = np.pad(np.einsum("c,nct->nt", mix[kernel], x), [(0, 0), (reach, reach)])
            response = sum(
                weight * summed[:, tap * dilation : tap * dilation + n_columns]
                for tap, weight in enumerate(weights)
            )
            if (stage + kernel) % 2 and 2 * reach < n_columns:
                response = response[:, reach:-reach]
            expected += [(response > bias).mean(1) for bias in biases[kernel]]
    features = ppv(x).numpy()
    assert features.shape == (5, ppv.n_features)
    # Rounding may put a response that is as large as a bias on its other side.
    assert np.isclose(features, np.stack(expected, axis=1), atol=1e-5).mean() > 0.999


def test_biases_are_spread_over_the_responses():
    x = torch.randn(200, 3, 30, generator=torch.Generator().manual_seed(0))
    ppv = DilatedPPV(PPVConfig(3, 30))
    ppv.fit(x)
    shares = ppv(x).mean(0)
    # Quantiles that fill the interval evenly: shares of columns above them do as well.
    np.testing.assert_allclose(np.quantile(shares, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_standardised_shares():
    x = [torch.randn(50, 3, 30), torch.randn(50, 4, 12)]
    x[1][:, 2] = 1.5
    ppv = StandardisedPPV([PPVConfig(3, 30), PPVConfig(4, 12)])
    ppv.fit(x)
    features = ppv(x)
    assert features.shape == (50, ppv.n_features) and ppv.n_features == 2 * 84 * 18
    assert features.mean(0).abs().max() < 1e-4 and features.std(0).max() < 1.001
    again = StandardisedPPV(ppv.config)
    again.load_state_dict(ppv.state_dict())
    assert torch.equal(again(x), features)
