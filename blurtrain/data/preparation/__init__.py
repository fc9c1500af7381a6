"""From raw images to prepared datasets. Training never imports this."""

from blurtrain.data.preparation.prepare import prepare
from blurtrain.data.preparation.recipe import Recipe

__all__ = ["Recipe", "prepare"]
