"""Photos of the four blur types, made from sharp photos: what the blur-type detector is trained on.

All blur is done by `blurtrain.blur` in linear light; layers are composed as they hide each other; then every photo goes
through one camera, whose noise, exposure and JPEG say nothing of its class. A photo is a pure function of the seed, of
the sharp photos it is made from, and of its class and number.
"""

from blurtrain.data.preparation.blurred.drawing import Drawing, draw_blurred

__all__ = ["Drawing", "draw_blurred"]
