"""Pictures of data, models and training, as scikit-learn's ``*Display`` classes.

A display holds what it draws. ``from_estimator`` and ``from_data`` compute that and draw it at
once; ``plot`` draws it again with other options, onto given axes or in a figure of its own. A
display keeps one picture: drawing again closes the figure that it made before, and leaves alone
those whose axes it was given.

matplotlib is needed: ``pip install 'skncvqvae[plots]'``. Legends and class names lie outside the
axes, so give axes of figures made with ``layout="constrained"``.
"""

from ._diversity import DiversityDisplay
from ._history import HistoryDisplay
from ._samples import ProjectionDisplay, SamplesDisplay
from ._tokens import CodebookDisplay, ReconstructionDisplay, TokensDisplay

__all__ = [
    "CodebookDisplay",
    "DiversityDisplay",
    "HistoryDisplay",
    "ProjectionDisplay",
    "ReconstructionDisplay",
    "SamplesDisplay",
    "TokensDisplay",
]
