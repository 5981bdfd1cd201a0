"""
Balancing an imbalanced data set
================================

``NCVQVAEGenerator`` is an over-sampler of imbalanced-learn's kind: inside its pipeline it fills up
the rare classes with synthetic series, in training only.
"""

# %%
# Trace with one class cut down to six training series.
import os

import matplotlib.pyplot as plt
import numpy as np
from imblearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from tslearn.datasets import CachedDatasets

from skncvqvae import MaskedTokenPrior, NCVQVAEGenerator

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
X_train, X_test = X_train[..., 0], X_test[..., 0]
rare = np.flatnonzero(y_train == 1)[6:]
X_train, y_train = np.delete(X_train, rare, axis=0), np.delete(y_train, rare)

# %%
# The same classifier, without and with over-sampling. From six series the masked prior learns more
# than the default one.
generator = NCVQVAEGenerator(prior=MaskedTokenPrior(), random_state=0).set_params(
    transformer__max_epochs=int(EPOCHS or 200), prior__max_epochs=int(EPOCHS or 400)
)
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
models = {
    "as it is": classifier,
    "balanced": make_pipeline(
        generator, StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)
    ),
}
fig, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    predicted = model.fit(X_train, y_train).predict(X_test)
    score = balanced_accuracy_score(y_test, predicted)
    ConfusionMatrixDisplay.from_predictions(y_test, predicted, ax=ax, colorbar=False)
    ax.set_title(f"{name}: balanced accuracy {score:.2f}")
    print(f"{name}: balanced accuracy {score:.3f}")
fig.savefig("imbalance.png", dpi=120)
print("Saved imbalance.png")
