"""
Low and high frequencies apart
==============================

With ``bands``, series are split into parts that sum to them, and each part has tokens of its own:
few for the low frequencies, more for the high ones. A prior learns all of them together, the low
band first. So the shape of a series and its detail can be drawn anew one by one.
"""

# %%
# Trace has oscillations and noise on slow shapes. The low band is a moving average of about 16
# steps here, row 0 of the spectrogram, and the high band is the rest. Wavelets split series too:
# see ``skncvqvae.bands.WaveletBands``.
import os

import matplotlib.pyplot as plt
import numpy as np
from tslearn.datasets import CachedDatasets

from skncvqvae import AutoregressiveTokenPrior, NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae.bands import STFTBands, split_bands
from skncvqvae.plots import ReconstructionDisplay, TokensDisplay

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X, y, X_test, y_test = CachedDatasets().load_dataset("Trace")
X, X_test = X[..., 0], X_test[..., 0]
bands = STFTBands(n_fft=16)
parts = split_bands(X_test, bands)
print("bands", *parts, "sum to the series:", np.allclose(sum(parts.values()), X_test))

# %%
# Several parameters of the tokenizer may be told band by band, by a mapping. What it leaves out
# has the default.
generator = NCVQVAEGenerator(
    NCVQVAETransformer(
        bands=bands,
        downsampled_width={"low": 8, "high": 32},
        augmentations={"low": "slice", "high": ["jitter", "phase_shift"]},
        max_epochs=int(EPOCHS or 150),
    ),
    AutoregressiveTokenPrior(max_epochs=int(EPOCHS or 60)),
    random_state=0,
).fit(X, y)
transformer = generator.transformer_
for band in transformer.layout_.bands:
    print(f"{band.name}: {band.n_tokens} tokens of {band.n_codes} codes")

# %%
# The displays know bands: here the tokens of each below a series of class 2.
(index,) = np.flatnonzero(y_test == 2)[:1]
tokens = TokensDisplay.from_estimator(transformer, X_test, index=index)
tokens.figure_.savefig("bands_tokens.png", dpi=120)
display = ReconstructionDisplay.from_estimator(transformer, X_test, indices=[index], by_band=True)
display.figure_.savefig("bands_reconstruction.png", dpi=120)

# %%
# ``vary`` draws the tokens of one band anew, given those of the other: new detail on the same
# shape, or a new shape under the same detail.
some, n = X_test[[index]].repeat(3, axis=0), 3
fig, axes = plt.subplots(2, 3, figsize=(11, 5), layout="constrained", sharex=True)
for row, drawn in zip(axes, ("high", "low"), strict=True):
    varied = generator.vary(
        some, y_test[[index]].repeat(n), mask_ratio=1, bands=drawn, random_state=1
    )
    series = {"series": (some, varied)}
    series |= {
        f"{name} band": (part, split_bands(varied, bands)[name])
        for name, part in split_bands(some, bands).items()
    }
    for ax, (title, (old, new)) in zip(row, series.items(), strict=True):
        ax.plot(new.T, lw=0.8, color="C1")
        ax.plot(old[0], lw=1.6, color="0.4")
        ax.set_title(title)
    row[0].set_ylabel(f"new {drawn} band")
fig.legend(
    handles=[axes[0, 0].lines[-1], axes[0, 0].lines[0]],
    labels=["real", "varied"],
    loc="outside lower center",
    ncols=2,
)
fig.savefig("bands.png", dpi=120)
print("Saved bands.png, bands_tokens.png and bands_reconstruction.png")
