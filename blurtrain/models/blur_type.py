"""The network of the blur-type detector: one compact backbone for all tiles of a mosaic, and attention over them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blurtrain.blur_types.mosaic import TILES, WHOLE
from blurtrain.errors import SettingsError

_WHOLE = WHOLE[0] * TILES + WHOLE[1]
"""Place of the whole view among the tiles, row by row."""


class BlurType(nn.Module):
    """Mosaics [N, 3, 3 * tile, 3 * tile] to logits [N, num_classes].

    Each tile goes through the same backbone (of timm, without its last layer, which pools what it sees of a tile), and
    a linear layer to `width` features, to which those of its place are added. The whole view asks, the eight parts
    answer: one layer of attention with so many `heads` (Vaswani et al. 2017). A linear layer takes the whole view, what
    was answered, and the largest and mean of the parts.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "mobilenetv3_small_100",
        width: int = 128,
        heads: int = 4,
        **arguments: Any,
    ):
        super().__init__()
        from blurtrain.models import build

        if width % heads:
            raise SettingsError(f"network.arguments.width={width} must be a multiple of heads={heads}")
        self.backbone = build(f"timm/{backbone}", 0, arguments)
        self.tokens = nn.Linear(_features(self.backbone), width)
        self.places = nn.Parameter(torch.zeros(TILES**2, width))
        nn.init.normal_(self.places, std=0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, mosaics: Tensor) -> Tensor:
        n, channels, height, width = mosaics.shape
        if height % TILES or width % TILES:
            raise ValueError(f"a mosaic of {height} x {width} pixels has no {TILES} x {TILES} tiles")
        tiles = mosaics.reshape(n, channels, TILES, height // TILES, TILES, width // TILES).permute(0, 2, 4, 1, 3, 5)
        seen = self.backbone(tiles.reshape(n * TILES**2, channels, height // TILES, width // TILES))
        tokens = self.tokens(seen).relu().reshape(n, TILES**2, -1) + self.places
        whole = tokens[:, _WHOLE : _WHOLE + 1]
        parts = torch.cat([tokens[:, :_WHOLE], tokens[:, _WHOLE + 1 :]], 1)
        answer, _ = self.attention(whole, parts, parts, need_weights=False)
        known = torch.cat([whole[:, 0], answer[:, 0], parts.amax(1), parts.mean(1)], 1)
        return self.classifier(known)

    def completed(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a backbone alone, as those of the whole network: without its last layer, and with all others
        as they stand. Those of a whole network stay as they are."""
        own = self.state_dict()
        if any(name.startswith("backbone.") for name in stored):
            return dict(stored)
        last = self.backbone.pretrained_cfg.get("classifier", "classifier")
        given = {f"backbone.{name}": t for name, t in stored.items() if not name.startswith(f"{last}.")}
        return {**{name: t for name, t in own.items() if not name.startswith("backbone.")}, **given}


def _features(backbone: nn.Module) -> int:
    """How many a backbone without last layer gives for an image."""
    features: int = getattr(backbone, "head_hidden_size", 0) or getattr(backbone, "num_features", 0)
    return features
