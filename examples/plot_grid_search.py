"""
Searching the self-supervised loss with GridSearchCV
====================================================

Which self-supervised loss and which augmentation suit a data set is not known beforehand. Both
are ordinary parameters, so scikit-learn's search finds out, with labels or without.
"""

# %%
# Noisy oscillations of three frequencies, at random phases: shape alone says little, what counts
# is the same anywhere along the series.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skncvqvae import NCVQVAETransformer
from skncvqvae.augmentations import AUGMENTATION_SETS, augment
from skncvqvae.metrics import alignment_uniformity_scorer

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 50)
frequency = 0.45 + 0.05 * y[:, None]
X = np.sin(frequency * np.arange(128) + rng.uniform(0, 6.3, (150, 1)))
X += rng.normal(0, 0.7, X.shape)

# %%
# The augmentations are public, so one can look at what they do before choosing.
fig, axes = plt.subplots(
    1, 1 + len(AUGMENTATION_SETS), figsize=(12, 2.6), sharey=True, layout="constrained"
)
axes[0].plot(X[0], color="k", linewidth=0.9)
axes[0].set_title("series")
for ax, name in zip(axes[1:], AUGMENTATION_SETS, strict=True):
    ax.plot(augment(X[:1], name, random_state=1)[0], linewidth=0.9)
    ax.set_title(f'augmentations="{name}"')
for ax in axes:
    ax.set_xlabel("time step")

# %%
# With labels: search for accuracy
# --------------------------------
pipeline = make_pipeline(
    NCVQVAETransformer("histogram", max_epochs=int(EPOCHS or 60), random_state=0),
    StandardScaler(),
    LogisticRegression(max_iter=1000),
)
grid = [
    {"ncvqvaetransformer__ssl_method": [None]},
    {
        "ncvqvaetransformer__ssl_method": ["barlowtwins", "vibcreg"],
        "ncvqvaetransformer__augmentations": list(AUGMENTATION_SETS),
    },
]
search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)

names = [
    ", ".join(str(value) for value in params.values()) for params in search.cv_results_["params"]
]
mean, std = search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"]
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.barh(names, mean, xerr=std, color=["0.6"] + ["C0"] * (len(names) - 1))
ax.axvline(1 / 3, color="k", linestyle=":", label="chance")
ax.invert_yaxis()
ax.set_xlabel("cross-validated accuracy (bars: standard deviation over folds)")
fig.legend(loc="outside upper right")
fig.savefig("grid_search.png", dpi=120)
print(f"Best: {search.best_params_}, accuracy {search.best_score_:.2f}")
print("Saved grid_search.png")

# %%
# Without labels: search for what tells series apart
# --------------------------------------------------
# `alignment_uniformity_scorer` asks two things of a representation: that two augmented views of a
# series are alike in it, and that different series are not. The views are the scorer's own, the
# same for all candidates. Here the labels only show what the search, which does not see them, has
# found.
search = GridSearchCV(
    NCVQVAETransformer("embedding", max_epochs=int(EPOCHS or 60), random_state=0),
    {"ssl_weight": [0, 1, 10]},
    scoring=alignment_uniformity_scorer,
    cv=ShuffleSplit(1, test_size=0.3, random_state=0),
    refit=False,
).fit(X)
(train, held_out), *_ = search.cv.split(X)
classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
for params, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    transformer = clone(search.estimator).set_params(**params).fit(X[train])
    classifier.fit(transformer.transform(X[train]), y[train])
    accuracy = classifier.score(transformer.transform(X[held_out]), y[held_out])
    print(f"{params}: alignment and uniformity {score:.2f}, accuracy {accuracy:.2f}")

# %%
# Without labels: search for reconstruction
# -----------------------------------------
# ``score`` is the negative reconstruction error, so a search needs no ``y``.
unlabelled = GridSearchCV(
    NCVQVAETransformer(max_epochs=int(EPOCHS or 60), random_state=0),
    {"n_codes": [4, 16, 64]},
    cv=3,
).fit(X)
for params, score in zip(
    unlabelled.cv_results_["params"], unlabelled.cv_results_["mean_test_score"], strict=True
):
    print(f"{params}: mean squared error {-score:.2f} of the variance")
