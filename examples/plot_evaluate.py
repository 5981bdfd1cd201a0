"""
Evaluating a generator
======================

Are synthetic series faithful, diverse rather than memorised, and useful? One call answers with
every metric, beside the value that real held-out series get, and a picture shows where real and
synthetic series lie.
"""

# %%
# The data and a generator. Test series are for the evaluation only.
from tslearn.datasets import CachedDatasets

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import evaluate
from skncvqvae.plots import HistoryDisplay, ProjectionDisplay

X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
X_train, X_test = X_train[..., 0], X_test[..., 0]
generator = NCVQVAEGenerator(prior_max_epochs=400, random_state=0)
generator.set_params(transformer__max_epochs=200).fit(X_train, y_train)

# %%
# The column ``held_out`` is the yardstick: what real series get that the generator never saw.
table = evaluate(generator, X_train, y_train, X_test, y_test)
print(table.round(3).to_string())

# %%
# Where the series lie, on the first two principal components.
display = ProjectionDisplay.from_estimator(generator, X_test, y_test, random_state=0)
display.figure_.savefig("evaluate.png", dpi=120)

# %%
# How both stages learned.
HistoryDisplay.from_estimator(generator)
print("Saved evaluate.png")
