"""
Few labels, many series
=======================

Labels cost more than series. The tokenizer needs none: it learns from all series, and a linear
classifier of its representation learns from the labelled few. Then a token can be followed back
into the series, to see what decides.
"""

# %%
# Trace: 100 series of 275 steps, in four classes of transients. -1 marks a series whose label the
# classifier does not get, as in `sklearn.semi_supervised`.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from tslearn.datasets import CachedDatasets

from skncvqvae import NCVQVAETransformer, SemiSupervisedClassifier

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X, y, X_test, y_test = CachedDatasets().load_dataset("Trace")
X, X_test = X[..., 0], X_test[..., 0]


def hide_labels(y, n, seed):
    """Keep the labels of `n` series of each class."""
    rng = np.random.default_rng(seed)
    known = [rng.permutation(np.flatnonzero(y == label))[:n] for label in np.unique(y)]
    few = np.full_like(y, -1)
    few[np.concatenate(known)] = y[np.concatenate(known)]
    return few


# %%
# One line fits both: the tokenizer on all series, the classifier on three of each class.
model = SemiSupervisedClassifier(
    NCVQVAETransformer(max_epochs="auto" if EPOCHS is None else int(EPOCHS), random_state=0)
)
model.fit(X, hide_labels(y, 3, seed=0))
print(f"{model.n_labelled_} labels of {len(X)}: accuracy {model.score(X_test, y_test):.2f}")

# %%
# How many labels does it take? The fitted tokenizer serves for all draws of labels.
tokenizer = FrozenEstimator(model.transformer_)
numbers, draws = [1, 2, 3, 5, 10], range(5)
accuracy = {"representation": [], "raw values": []}
for n in numbers:
    few = [hide_labels(y, n, seed) for seed in draws]
    ours = [SemiSupervisedClassifier(tokenizer).fit(X, labels) for labels in few]
    raw = [
        LogisticRegression(max_iter=1000).fit(X[labels != -1], labels[labels != -1])
        for labels in few
    ]
    accuracy["representation"].append([model.score(X_test, y_test) for model in ours])
    accuracy["raw values"].append([model.score(X_test, y_test) for model in raw])

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for (name, values), colour in zip(accuracy.items(), ("C0", "0.5"), strict=True):
    mean, std = np.mean(values, axis=1), np.std(values, axis=1)
    left.errorbar(numbers, mean, std, marker="o", color=colour, label=name, capsize=3)
left.set(xlabel="labels of each class", ylabel="accuracy on test series", xticks=numbers)
left.legend(loc="lower right", title="linear classifier of")
ConfusionMatrixDisplay.from_estimator(model, X_test, y_test, ax=right, colorbar=False)
right.set_title("three labels of each class")
fig.savefig("few_labels.png", dpi=120)
print("Saved few_labels.png")

# %%
# What a code looks like that decides
# -----------------------------------
# Of the histogram of codes, each feature is a code. The code with the largest coefficient for a
# class is what the classifier looks for there.
transformer = model.transformer_.set_params(representation="histogram")
classifier = LogisticRegression(C=100, max_iter=1000).fit(transformer.transform(X), y)
tokens = transformer.tokenize(X)
(band,) = transformer.layout_.bands
fig, axes = plt.subplots(1, len(classifier.classes_), figsize=(12, 2.8), layout="constrained")
for ax, label, weights in zip(axes, classifier.classes_, classifier.coef_, strict=True):
    code = weights.argmax()
    rows = np.flatnonzero(y == label)
    row = rows[(tokens[rows] == code).sum(axis=1).argmax()]
    ax.plot(X[row], color="k", linewidth=0.9)
    width = X.shape[1] / band.columns
    for column in np.flatnonzero(tokens[row] == code):
        ax.axvspan(column * width, (column + 1) * width, color="C1", alpha=0.35, linewidth=0)
    ax.set(title=f"class {label}: code {code}", xlabel="time step")
axes[0].set_ylabel("value")
fig.savefig("deciding_codes.png", dpi=120)
print("Saved deciding_codes.png")
