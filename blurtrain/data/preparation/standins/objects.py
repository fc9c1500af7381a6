"""What all drawn things share: a random coat of colour and pattern, solids to build from, one photograph.

The ten simple bodies of imagenet-100 are built here, the twelve toys in `toys`.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from blurtrain.data.preparation.standins.render import (
    Part,
    Surface,
    compose,
    fitted,
    limb,
    random_light,
    render,
    rotation,
)
from blurtrain.data.preparation.standins.textures import (
    PATTERNS,
    backdrop,
    clutter,
    contrasting,
    patterned,
    plain,
    random_colour,
)

Rng = np.random.Generator


@dataclass(frozen=True)
class Coat:
    """What one instance wears: the patterned main surface, and plain surfaces in its two colours."""

    main: Surface
    first: Surface
    second: Surface


def random_coat(rng: Rng, pattern: str | None = None) -> Coat:
    """Two contrasting random colours in a random pattern of random period and direction.

    A named pattern is laid on more evenly, since then the pattern alone must tell classes apart.
    """
    first = random_colour(rng)
    second = contrasting(rng, first)
    name = pattern or list(PATTERNS)[rng.integers(len(PATTERNS))]
    period, angle = (
        (rng.uniform(0.24, 0.3), rng.normal(0, 0.15)) if pattern else (rng.uniform(0.2, 0.34), rng.uniform(0, np.pi))
    )
    main = patterned(PATTERNS[name], period, angle, first, second)
    return Coat(main, plain(first), plain(second))


def photograph(parts: list[Part], rng: Rng, size: int, cluttered: bool) -> Image.Image:
    """One view of a thing under a random rotation, light and background, moved and scaled a little."""
    view = rotation(rng.uniform(-1.0, 0.7), rng.uniform(0.05, 0.7), rng.normal(0, 0.12))
    shift, scale = fitted(parts, view, rng.uniform(0.74, 0.92))
    light = random_light(rng)
    background = clutter(rng, size) if cluttered else backdrop(rng, size)
    colour, coverage = render(parts, view, shift + rng.uniform(-0.06, 0.06, 2), scale, light, size)
    return compose(colour, coverage, background, light)


def ball(x: float, y: float, z: float, rx: float, ry: float, rz: float, surface: Surface) -> Part:
    """An ellipsoid at (x, y, z) with half axes (rx, ry, rz)."""
    return Part("ellipsoid", (x, y, z), (rx, ry, rz), surface)


def block(x: float, y: float, z: float, rx: float, ry: float, rz: float, surface: Surface) -> Part:
    """A box at (x, y, z) with half sides (rx, ry, rz)."""
    return Part("box", (x, y, z), (rx, ry, rz), surface)


def tube(x: float, y: float, z: float, r: float, half: float, surface: Surface, taper: float = 0.0) -> Part:
    """An upright cylinder at (x, y, z) of radius r, 2 * half high; taper: see `Part`."""
    return Part("cylinder", (x, y, z), (r, half, r), surface, taper=taper)


def ring(x: float, y: float, radius: float, thickness: float, surface: Surface, beads: int = 18) -> list[Part]:
    """A ring in the plane of x and y, made of short rods."""
    angles = np.arange(beads) * 2 * np.pi / beads
    # As long as a side of the polygon around the ring's outer edge, so that no gap opens there.
    reach = np.tan(np.pi / beads) * (radius + thickness * 0.7)
    return [
        limb(
            (x + radius * np.cos(a) + reach * np.sin(a), y + radius * np.sin(a) - reach * np.cos(a), 0),
            (x + radius * np.cos(a) - reach * np.sin(a), y + radius * np.sin(a) + reach * np.cos(a), 0),
            thickness,
            surface,
            rounded=False,
        )
        for a in angles
    ]


def solid(shape: str, rng: Rng, coat: Coat) -> list[Part]:
    """One of the ten simple bodies, `SOLIDS`, all over in the coat's pattern. Raises ValueError for another."""
    s, wide = coat.main, rng.uniform(0.9, 1.1)
    match shape:
        case "sphere":
            return [ball(0, 0, 0, 0.85, 0.85, 0.85, s)]
        case "cube":
            return [block(0, 0, 0, 0.65 * wide, 0.65, 0.65, s)]
        case "cylinder":
            return [tube(0, 0, 0, 0.42 * wide, 0.85, s)]
        case "cone":
            return [tube(0, 0, 0, 0.65 * wide, 0.85, s, taper=1.0)]
        case "ring":
            return ring(0, 0, 0.65, 0.25 * wide, s)
        case "cross":
            return [block(0, 0, 0, 0.9, 0.27 * wide, 0.27, s), block(0, 0, 0, 0.27 * wide, 0.9, 0.26, s)]
        case "dumbbell":
            return [
                *(ball(x, 0, 0, 0.4 * wide, 0.4 * wide, 0.4, s) for x in (-0.6, 0.6)),
                limb((-0.6, 0, 0), (0.6, 0, 0), 0.15, s),
            ]
        case "table":
            feet = [block(x, -0.15, z, 0.12, 0.55, 0.12, s) for x in (-0.65, 0.65) for z in (-0.5, 0.5)]
            return [block(0, 0.5, 0, 0.85, 0.18 * wide, 0.65, s), *feet]
        case "snowman":
            return [ball(0, y, 0, r * wide, r, r, s) for y, r in ((-0.5, 0.5), (0.15, 0.37), (0.65, 0.26))]
        case "stairs":
            return [
                block(x, (h - 1.2) / 2, 0, 0.27, h / 2, 0.45 * wide, s)
                for x, h in ((-0.54, 0.5), (0, 0.95), (0.54, 1.4))
            ]
    raise ValueError(f"no solid {shape!r}; one of {', '.join(SOLIDS)}")


SOLIDS = ("sphere", "cube", "cylinder", "cone", "ring", "cross", "dumbbell", "table", "snowman", "stairs")
