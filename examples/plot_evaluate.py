"""
Evaluating a generator
======================

Are synthetic series faithful, diverse rather than memorised, and useful? One call answers with
every metric, beside the value that real held-out series get, and a picture shows where real and
synthetic series lie.
"""

# %%
# The data and a generator. Test series are for the evaluation only.
import os

from tslearn.datasets import CachedDatasets

from skncvqvae import NCVQVAEGenerator
from skncvqvae.metrics import evaluate
from skncvqvae.plots import HistoryDisplay, ProjectionDisplay

# SKNCVQVAE_EXAMPLE_EPOCHS=2 in the environment makes a quick trial of this.
EPOCHS = os.environ.get("SKNCVQVAE_EXAMPLE_EPOCHS")

X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
X_train, X_test = X_train[..., 0], X_test[..., 0]
generator = NCVQVAEGenerator(random_state=0).set_params(
    transformer__max_epochs=int(EPOCHS or 200), prior__max_epochs=int(EPOCHS or 110)
)
generator.fit(X_train, y_train)

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
