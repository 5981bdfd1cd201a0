"""
From faithful to diverse
========================

Samples can keep to what is typical of their class, or vary as widely as real series do. One dial,
``diversity``, goes from the one to the other; a picture shows what it buys and what it costs.
"""

# %%
# The data and a generator. Test series are for the evaluation only.
import os

import matplotlib.pyplot as plt
from tslearn.datasets import CachedDatasets

from skncvqvae import NCVQVAEGenerator
from skncvqvae.plots import DiversityDisplay

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
X_train, X_test = X_train[..., 0], X_test[..., 0]
generator = NCVQVAEGenerator(random_state=0).set_params(
    transformer__max_epochs=int(EPOCHS or 200), prior__max_epochs=int(EPOCHS or 110)
)
generator.fit(X_train, y_train)
print(f"Nearer to the training series than new series: {generator.copying_:.2f} (0.5 is as near)")

# %%
# The same class at three settings of the dial: 0 is faithful, 1 is diverse, 0.5 leaves temperature
# and guidance as they are.
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), sharey=True, layout="constrained")
for ax, diversity in zip(axes, (0, 0.5, 1), strict=True):
    X_new, _ = generator.sample(12, y=2, diversity=diversity, random_state=0)
    ax.plot(X_new.T, color="#D55E00", linewidth=0.7, alpha=0.7)
    ax.set_title(f"diversity={diversity}")
figure.savefig("dial.png", dpi=120)

# %%
# Measured: precision is the share of samples near a real series, recall the share of real series
# near a sample, class fidelity the share of samples that a classifier trained on real series puts
# into their class.
display = DiversityDisplay.from_estimator(generator, X_test, y_test)
display.figure_.savefig("diversity.png", dpi=120)
for i, diversity in enumerate(display.diversities):
    print(
        f"diversity {diversity:.2f}:",
        *(f"{name} {values[i]:.2f}" for name, values in display.scores.items()),
    )

# %%
# Set it for good, or search it: ``{"sampler__diversity": [0.3, 0.5, 0.7]}``.
generator.set_params(sampler__diversity=0.3)
X_new, y_new = generator.sample(100)
print("Saved dial.png and diversity.png")
