"""
Quickstart: represent, classify, tune, generate
================================================

Trace, a data set of 100 training and 100 test series from four kinds of failure in a nuclear
power plant, comes with tslearn. We learn discrete tokens of the series, classify with them in a
scikit-learn pipeline, tune the weight of the self-supervised loss, and draw new series of each
class.
"""

# %%
# Series are rows of an array ``(n_series, length)``; ``(n_series, n_channels, length)`` works
# too.
import os
from time import perf_counter

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tslearn.datasets import CachedDatasets

from skncvqvae import NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae.plots import SamplesDisplay

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

start = perf_counter()
X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
X_train, X_test = X_train[..., 0], X_test[..., 0]

# %%
# Learn a representation
# ----------------------
# Labels are not used. Each series becomes a short row of tokens, indices into a codebook, from
# which it can be decoded again. ``verbose=1`` would show the progress.
transformer = NCVQVAETransformer(max_epochs=int(EPOCHS or 200), random_state=0).fit(X_train)
tokens = transformer.tokenize(X_test)
error = -transformer.score(X_test)
print(f"A series of {X_test.shape[1]} steps becomes {transformer.n_tokens_} tokens:")
print(tokens[0])
print(f"{transformer.perplexity_:.1f} of {len(transformer.codebook_)} codes in effective use")
print(f"Decoded test series miss {100 * error:.1f} % of the variance")

# %%
# Classify with it, and tune the self-supervised weight
# -----------------------------------------------------
# The transformer is a step of a pipeline like any other, and its parameters can be searched. In
# each fold it is fitted on that fold's training part only.
pipeline = Pipeline(
    [
        ("represent", NCVQVAETransformer(max_epochs=int(EPOCHS or 100), random_state=0)),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(max_iter=2000)),
    ]
)
search = GridSearchCV(pipeline, {"represent__ssl_weight": [0, 1, 5]}, cv=3)
search.fit(X_train, y_train)
for params, mean in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    print(f"ssl_weight={params['represent__ssl_weight']}: cross-validated accuracy {mean:.2f}")
print(f"Accuracy on the test series: {search.score(X_test, y_test):.2f}")

# %%
# Draw new series
# ---------------
# The generator learns a prior over tokens for each class. It would fit a transformer of its own;
# here it takes the one above as it is.
generator = NCVQVAEGenerator(FrozenEstimator(transformer), random_state=0)
generator.set_params(prior__max_epochs=int(EPOCHS or 110)).fit(X_train, y_train)
X_new, y_new = generator.sample(y=np.repeat(generator.classes_, 20))

display = SamplesDisplay.from_data(X_train, X_new, y_train, y_new, n_series=6)
display.figure_.savefig("real_beside_synthetic.png", dpi=120)
print(f"Saved real_beside_synthetic.png after {perf_counter() - start:.0f} s")

# %%
# A classifier trained on synthetic series alone tells how much of the classes they carry.
tstr = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
tstr.fit(transformer.transform(X_new), y_new)
accuracy = tstr.score(transformer.transform(X_test), y_test)
print(f"Trained on synthetic, tested on real: {accuracy:.2f}")
