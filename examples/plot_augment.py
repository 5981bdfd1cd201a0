"""
Augmenting a small training set
===============================

``AugmentedClassifier`` trains a classifier on real series and on variations of them: half of a
series' tokens are drawn anew by the prior, so that every variation stays near a real series of
its class. Whether that helps depends on the data and the classifier, so it is asked of the
training set first.
"""

# %%
# Forty series of Trace, ten of each class.
import os

import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from tslearn.datasets import CachedDatasets

from skncvqvae import AugmentedClassifier, NCVQVAEGenerator

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X, y, X_test, y_test = CachedDatasets().load_dataset("Trace")
X, X_test = X[..., 0], X_test[..., 0]
X_train, _, y_train, _ = train_test_split(X, y, train_size=40, stratify=y, random_state=0)

# %%
# The same classifier on real series alone and with five variations of each. In every fold the
# generator is fitted on the training part of the fold only.
generator = NCVQVAEGenerator(random_state=0).set_params(
    transformer__max_epochs=int(EPOCHS or 150), prior__max_epochs=int(EPOCHS or 110)
)
classifier = RandomForestClassifier(200, random_state=0)
models = {
    f"{ratio} synthetic for each real series": AugmentedClassifier(
        classifier, generator, ratio=ratio, random_state=0
    )
    for ratio in (0, 5)
}
folds = StratifiedKFold(3, shuffle=True, random_state=0)
for name, model in models.items():
    validated = cross_val_score(model, X_train, y_train, cv=folds)
    tested = model.fit(X_train, y_train).score(X_test, y_test)
    print(f"{name}: cross-validation {validated.mean():.3f}, test {tested:.3f}")

# %%
# A series of each class and variations of it.
fitted = model.generator_
fig, axes = plt.subplots(2, 2, figsize=(9, 5), layout="constrained", sharex=True)
for ax, label in zip(axes.flat, fitted.classes_, strict=True):
    real = X_train[y_train == label][:1]
    variations = fitted.vary(real.repeat(5, axis=0), [label] * 5)
    ax.plot(variations.T, color="tab:orange", lw=0.8, label="variations")
    ax.plot(real[0], color="black", lw=1.2, label="real")
    ax.set_title(f"class {label}")
handles, names = ax.get_legend_handles_labels()
fig.legend(handles[-2:], names[-2:], loc="outside lower center", ncols=2)
fig.savefig("augment.png", dpi=120)
print("Saved augment.png")
