"""AlexNet as the blurry-to-clear study uses it."""

from typing import Literal

from torch import Tensor, nn


class AlexNetSup(nn.Module):
    """AlexNet's convolutional features, pooled to 6 x 6, and one linear layer ("AlexNet-Sup", Jenkins et al. 2025).

    No fc6 and fc7, no dropout; 2,469,696 convolutional parameters; weights Xavier-uniform, biases zero or, as in the
    study, uniform in +/- 1 / sqrt(fan in), which is how PyTorch draws them.
    Input [N, 3, H, W] with H, W >= 63; output logits [N, classes].
    """

    def __init__(self, classes: int, bias: Literal["zero", "uniform"] = "zero"):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Linear(256 * 6 * 6, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if bias == "zero":
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, 3, H, W]."""
        features = self.features(images)
        if features.shape[-2:] != (6, 6):  # at 224 px they are: the pooling has no deterministic gradient on GPUs
            features = self.pool(features)
        return self.classifier(features.flatten(1))
