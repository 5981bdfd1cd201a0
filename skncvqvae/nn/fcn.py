"""The fully convolutional network that judges synthetic series."""

import torch.nn.functional as F
from torch import Tensor, nn


class FCN(nn.Module):
    """Three convolutions, global average pooling and a linear layer.

    Source: Wang, Yan, Oates, arXiv:1611.06455, section II-B: 128, 256 and 128 filters of width
    8, 5 and 3, each followed by batch normalisation and ReLU; lengths are kept.

    Parameters
    ----------
    n_channels : int
    n_classes : int
    """

    convolutions: nn.Sequential
    head: nn.Linear

    n_features = 128

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = n_channels
        for n_out, width in ((128, 8), (256, 5), (self.n_features, 3)):
            layers += [
                nn.ConstantPad1d(((width - 1) // 2, width // 2), 0.0),
                nn.Conv1d(n_in, n_out, width),
                nn.BatchNorm1d(n_out),
                nn.ReLU(),
            ]
            n_in = n_out
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(self.n_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Map ``(n, n_channels, length)`` to the pooled features ``(n, n_features)``."""
        return self.convolutions(x).mean(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_channels, length)`` to logits ``(n, n_classes)``."""
        return self.head(self.features(x))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the class indices `labels`, ``(n,)``."""
        return F.cross_entropy(self(x), labels)
