"""
Series of many channels
=======================

An accelerometer and a gyroscope at the wrist, six channels, while somebody stands, walks, runs or
plays badminton: BasicMotions of the UEA archive, which aeon brings along. From four channels on,
each place in time has several tokens, level after level, so that they hold all channels.
"""

# %%
# Half of the 80 series train, ten of each class; the others judge.
import os

import matplotlib.pyplot as plt
import numpy as np
from aeon.datasets import load_basic_motions
from sklearn.linear_model import RidgeClassifierCV

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import correlational_score, discriminative_score
from skncvqvae.plots import SamplesDisplay, TokensDisplay

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X, y = load_basic_motions(split="train")
X_test, y_test = load_basic_motions(split="test")
generator = NCVQVAEGenerator(random_state=0)
if EPOCHS:
    generator.set_params(transformer__max_epochs=int(EPOCHS), prior__max_epochs=int(EPOCHS))
generator.fit(X, y)
transformer = generator.transformer_
for band in transformer.layout_.bands:
    print(f"{band.name}: {band.n_tokens} tokens of {band.n_codes} codes")

# %%
# The representation tells the classes, and a classifier that is trained on samples alone learns
# them, too.
ridge = RidgeClassifierCV(np.logspace(-3, 3, 7))
features_test = transformer.transform(X_test)
samples, labels = generator.sample(y=np.repeat(y, 3), random_state=0)
for name, series, classes in (("series", X, y), ("samples", samples, labels)):
    ridge.fit(transformer.transform(series), classes)
    accuracy = ridge.score(features_test, y_test)
    print(f"trained on {name}: accuracy {accuracy:.2f}")

# %%
# Channels side by side, real above and new below; and the tokens of one series.
display = SamplesDisplay.from_data(
    X_test, generator.sample(y=y_test, random_state=1)[0], y_real=y_test, y_synthetic=y_test
)
display.figure_.savefig("channels_samples.png", dpi=120)
tokens = TokensDisplay.from_estimator(transformer, X_test, index=0)
tokens.figure_.savefig("channels_tokens.png", dpi=120)

# %%
# Do channels move together as they do in real series? The correlational score tells how much such
# matrices differ (Ni et al., arXiv:2006.05421); that of the series that trained, how much of it is
# chance.
decoded = transformer.inverse_transform(transformer.tokenize(X_test))
shown = {"real": X_test, "decoded": decoded, "samples": samples, "training": X}
fig, axes = plt.subplots(1, len(shown), figsize=(12, 3.4), layout="constrained", sharey=True)
for ax, (name, series) in zip(axes, shown.items(), strict=True):
    matrix = np.corrcoef(series.swapaxes(0, 1).reshape(series.shape[1], -1))
    image = ax.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    score = correlational_score(X_test, series)
    ax.set_title(name if name == "real" else f"{name}, score {score:.2f}")
    ax.set_xlabel("channel")
axes[0].set_ylabel("channel")
fig.colorbar(image, ax=axes, label="correlation")
fig.savefig("channels_correlations.png", dpi=120)

# %%
# A small network is trained to tell samples from real series: 0 where it cannot, 0.5 where it
# always can. With 40 series on each side it hardly learns; papers have thousands of windows.
score = discriminative_score(
    X_test, generator.sample(len(X_test), random_state=2)[0], n_steps=300, random_state=0
)
print(f"told from real series: {score:.2f}")
print("Saved channels_samples.png, channels_tokens.png and channels_correlations.png")
