"""The network of the blur-type detector: one compact backbone for all tiles of a mosaic, and attention over them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from blurtrain.blur_types.mosaic import TILES, WHOLE
from blurtrain.errors import SettingsError

_WHOLE = WHOLE[0] * TILES + WHOLE[1]
"""Place of the whole view among the tiles, row by row."""


class BlurType(nn.Module):
    """Mosaics [N, 3, 3 * tile, 3 * tile] to logits [N, num_classes].

    Each tile goes through the same `backbone`, which gives feature maps at several strides, of `channels`. Their means
    and standard deviations over the tile go through a linear layer to `width` features, to which those of its place are
    added: blur is seen in statistics of early layers, while the last ones of networks for objects ignore it. The whole
    view asks, the eight parts answer: one layer of attention with so many `heads` (Vaswani et al. 2017). A linear layer
    takes the whole view, what was answered, and the largest and mean of the parts.
    """

    def __init__(
        self, backbone: nn.Module, channels: Sequence[int], num_classes: int, width: int = 128, heads: int = 4
    ):
        super().__init__()
        if width % heads:
            raise SettingsError(f"network.arguments.width={width} must be a multiple of heads={heads}")
        self.backbone = backbone
        self.tokens = nn.Linear(2 * sum(channels), width)
        self.places = nn.Parameter(torch.zeros(TILES**2, width))
        nn.init.normal_(self.places, std=0.02)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.classifier = nn.Linear(4 * width, num_classes)

    def forward(self, mosaics: Tensor) -> Tensor:
        """Logits [N, num_classes]; raises ValueError for mosaics whose sides TILES does not divide."""
        n, channels, height, width = mosaics.shape
        if height % TILES or width % TILES:
            raise ValueError(f"a mosaic of {height} x {width} pixels has no {TILES} x {TILES} tiles")
        tiles = mosaics.reshape(n, channels, TILES, height // TILES, TILES, width // TILES).permute(0, 2, 4, 1, 3, 5)
        maps = self.backbone(tiles.reshape(n * TILES**2, channels, height // TILES, width // TILES))
        seen = torch.cat([statistic for each in maps for statistic in _statistics(each)], 1)
        tokens = self.tokens(seen).relu().reshape(n, TILES**2, -1) + self.places
        whole = tokens[:, _WHOLE : _WHOLE + 1]
        parts = torch.cat([tokens[:, :_WHOLE], tokens[:, _WHOLE + 1 :]], 1)
        answer, _ = self.attention(whole, parts, parts, need_weights=False)
        known = torch.cat([whole[:, 0], answer[:, 0], parts.amax(1), parts.mean(1)], 1)
        return self.classifier(known)

    def beside(self, stored: Mapping[str, Tensor]) -> list[str]:
        """The names of what is not of the backbone, where that alone is stored, by its own names; else none."""
        if any(name.startswith("backbone.") for name in stored):
            return []
        return [name for name in self.state_dict() if not name.startswith("backbone.")]

    def completed(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a backbone alone, as those of the whole network: without layers that are not used here, with
        what is not of the backbone as it stands."""
        own = self.state_dict()
        given = {f"backbone.{name}": tensor for name, tensor in stored.items() if f"backbone.{name}" in own}
        return {**{name: own[name] for name in self.beside(stored)}, **given}


def _statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over each map of [N, C, H, W], both [N, C]."""
    mean = maps.mean((2, 3), keepdim=True)
    return mean[..., 0, 0], ((maps - mean).square().mean((2, 3)) + 1e-6).sqrt()
