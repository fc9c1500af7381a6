"""A network: takes `classes`, and whatever `network.arguments` say."""

from itertools import pairwise

from torch import Tensor, nn

from parity.layers import block


class Stack(nn.Module):
    def __init__(self, classes: int, width: int = 8, depth: int = 2):
        super().__init__()
        widths = [3, *(width * 2**k for k in range(depth))]
        self.features = nn.Sequential(*(block(a, b) for a, b in pairwise(widths)))
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean((2, 3)))
