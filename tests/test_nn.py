"""The torch modules by themselves, against definitions written another way."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skncvqvae.nn.autoencoder import Decoder, Encoder, count_downsamples
from skncvqvae.nn.losses import SSL_LOSSES
from skncvqvae.nn.prior import Dropout, MaskedPrior, RMSNorm
from skncvqvae.nn.quantizer import VectorQuantizer
from skncvqvae.nn.spectrogram import Spectrogram
from skncvqvae.nn.vqvae import NCVQVAE


@settings(deadline=None, max_examples=30)
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
    module = NCVQVAE(1, 64, code_dim=8, n_res_blocks=5, decoder_dilation_growth=3, projector_dim=8)
    assert module.token_grid_shape == (5, 8)
    assert [block.body[1].dilation[1] for block in module.decoder.blocks] == [4, 4, 4, 3, 1]
    assert {block.body[1].dilation[1] for block in module.encoder.blocks} == {1}


def test_augmented_reconstruction_of_a_part_of_the_batch():
    torch.manual_seed(0)
    module = NCVQVAE(1, 32, code_dim=8, n_res_blocks=1, projector_dim=8).eval()
    x, view = torch.randn(2, 8, 1, 32)
    expected = module(x[:4], view[:4])
    module.set_loss_weights(aug_recon_fraction=0.5)
    part = module(x, view)
    for name in ("aug_recon_time", "aug_recon_timefreq"):
        torch.testing.assert_close(part[name], expected[name])
    # The smallest fraction leaves the two series that batch normalisation needs.
    module.train().set_loss_weights(aug_recon_fraction=1e-3)
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
    module = NCVQVAE(1, 32, code_dim=8, n_res_blocks=1, projector_dim=8)
    x = torch.randn(6, 1, 32)
    module.set_loss_weights(commitment=2.0, aug_recon=0.0, ssl=0.0)
    terms = module(x, x + 0.1)
    assert "ssl" not in terms and "aug_recon_time" not in terms
    expected = terms["recon_time"] + terms["recon_timefreq"] + 2 * terms["commitment"]
    torch.testing.assert_close(terms["loss"], expected)


@pytest.mark.parametrize("ssl_method", SSL_LOSSES)
def test_loss_and_gradients_are_those_of_the_formula(ssl_method):
    torch.manual_seed(0)
    params = {"n_codes": 5, "code_dim": 6, "n_res_blocks": 1, "projector_dim": 8}
    module = NCVQVAE(2, 32, ssl_method=ssl_method, ssl_pooling="avg", **params).double().eval()
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
    projections = (module.projector(latent.mean((2, 3))) for latent in (z_q, z_view))
    ssl = SSL_LOSSES[ssl_method](*projections)
    expected = sum(recon) + 0.5 * commitment + 0.3 * sum(aug_recon) + 2 * ssl

    module.set_loss_weights(commitment=0.5, aug_recon=0.3, ssl=2.0)
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
        module = NCVQVAE(1, 32, code_dim=8, n_res_blocks=1, projector_dim=8)
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


@pytest.mark.parametrize("ssl_method", ["barlowtwins", "vicreg", "vibcreg"])
def test_mixed_precision_agrees_to_the_digits_of_bfloat16(ssl_method):
    terms, dtypes = [], set()
    for mixed in (False, True):
        torch.manual_seed(0)
        module = NCVQVAE(1, 64, n_res_blocks=1, ssl_method=ssl_method, projector_dim=64)
        module.decoder.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
        x = torch.randn(32, 1, 64)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            terms.append(module(x, x + 0.1 * torch.randn_like(x)))
        terms[-1]["loss"].backward()
        assert all(p.grad.isfinite().all() for p in module.parameters())
    # Tells that one of the two did use it.
    assert dtypes == {torch.float32, torch.bfloat16}
    for name, exact in terms[0].items():
        assert terms[1][name].dtype == torch.float32
        # Over seeds the SSL term, small differences of many numbers, is off by up to 5 %.
        tolerance = 0.2 if name == "ssl" else 0.05
        assert terms[1][name].item() == pytest.approx(exact.item(), rel=tolerance), name


def test_mixed_precision_of_the_prior_agrees_to_the_digits_of_bfloat16():
    torch.manual_seed(0)
    prior = MaskedPrior(torch.randn(8, 6), 12, 2, hidden_dim=32).eval()
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


@settings(deadline=None, max_examples=20)
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
    prior = MaskedPrior(codebook, n_tokens=12, n_classes=3, hidden_dim=16)
    embedding = prior.token_embedding.weight[:16]
    correlation = np.corrcoef(embedding.detach().flatten(), codebook.flatten())[0, 1]
    assert correlation == pytest.approx(1, abs=1e-4)
    loss = prior.loss(torch.randint(16, (64, 12)), torch.randint(3, (64,)))
    assert loss.item() == pytest.approx(np.log(16), rel=0.35)


def test_prior_loss_and_gradients_are_those_of_the_formula():
    torch.manual_seed(0)
    prior = MaskedPrior(torch.randn(8, 6), 12, 2, hidden_dim=16).double().eval()
    tokens, labels = torch.randint(8, (40, 12)), torch.randint(2, (40,))
    seen, forward = [], prior.forward
    prior.forward = lambda *inputs: seen.append(inputs) or forward(*inputs)
    loss = prior.loss(tokens, labels, torch.Generator().manual_seed(3))
    ((given, given_labels, masked),) = seen
    # At least one token is masked, in any place; in the mean 2 / pi of them.
    assert torch.equal(given, torch.where(masked, prior.mask_token, tokens))
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


@pytest.mark.parametrize("n_layers", [1, 3])
def test_prior_computes_the_same_logits_for_some_tokens_as_for_all(n_layers):
    torch.manual_seed(0)
    prior = MaskedPrior(torch.randn(8, 6), 12, 2, hidden_dim=16, n_layers=n_layers).double()
    tokens, labels = torch.randint(9, (5, 12)), torch.randint(3, (5,))
    wanted = torch.rand(5, 12) < 0.4
    every = prior(tokens, labels, torch.ones_like(wanted)).view(5, 12, 8)
    torch.testing.assert_close(prior(tokens, labels, wanted), every[wanted])
    assert not torch.allclose(every[0], every[1])


@pytest.mark.parametrize("guidance_scale", [1.0, 0.0, 2.0])
def test_each_sample_has_the_class_of_its_label(guidance_scale):
    """A prior that knows nothing but that class k has code k, and no class code 3."""
    torch.manual_seed(0)
    prior = MaskedPrior(torch.eye(8)[:4], n_tokens=6, n_classes=3, hidden_dim=16).eval()

    def logits(tokens, labels, wanted):
        return 50 * torch.eye(4)[labels][:, None].expand(-1, 6, -1)[wanted]

    prior.forward = logits
    labels = torch.tensor([2, 0, 2, 1, 0])
    expected = torch.full_like(labels, 3) if guidance_scale == 0 else labels
    for n_steps in (1, 4):
        tokens = prior.sample(labels, n_steps=n_steps, guidance_scale=guidance_scale)
        assert torch.equal(tokens, expected[:, None].expand(-1, 6))


def test_pseudo_likelihood_of_a_learnt_sequence_is_near_zero():
    torch.manual_seed(0)
    tokens = torch.tensor([[0, 1, 2, 3]]).repeat(32, 1)
    labels = torch.zeros(32, dtype=torch.long)
    prior = MaskedPrior(torch.randn(4, 8), 4, 1, hidden_dim=16, n_layers=1)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        prior.loss(tokens, labels).backward()
        optimiser.step()
    prior.eval()
    assert prior.pseudo_log_likelihood(tokens[:1], labels[:1]).item() > -0.2
    wrong = tokens[:1].flip(1)
    assert prior.pseudo_log_likelihood(wrong, labels[:1]).item() < -5
