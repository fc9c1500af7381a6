"""Surface patterns of fine detail, surfaces made of them, and backgrounds.

A pattern maps plane coordinates (u, v), in units of its period, to a mixing weight in 0..1. Periods are chosen so
that a pattern is plain at 64 pixels and gone after a Gaussian blur of two or three pixels.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from blurtrain.data.preparation.standins.render import Array, Surface

Pattern = Callable[[Array, Array], Array]


def plain(colour: Array) -> Surface:
    """A surface of one colour (RGB 0..1)."""
    return lambda points, normals: colour[:, None]


def patterned(pattern: Pattern, period: float, angle: float, first: Array, second: Array) -> Surface:
    """A surface that mixes two colours by a pattern, laid on from the axis that each point's normal is nearest to.

    `period` is in object units, `angle` (radians) turns the pattern on the surface.
    """
    cos, sin = np.cos(angle) / period, np.sin(angle) / period

    def surface(points: Array, normals: Array) -> Array:
        facing = np.abs(normals).argmax(axis=0)
        u = np.where(facing == 0, points[2], points[0])
        v = np.where(facing == 1, points[2], points[1])
        weight = pattern(cos * u - sin * v, sin * u + cos * v)
        return first[:, None] + (second - first)[:, None] * weight

    return surface


def random_colour(rng: np.random.Generator) -> Array:
    """A lively colour (RGB): random hue, saturation 0.3-0.9, value 0.45-1."""
    hue, saturation, value = rng.uniform(0, 6), rng.uniform(0.3, 0.9), rng.uniform(0.45, 1.0)
    ramp = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return np.asarray(value * (1 - saturation + saturation * np.clip(ramp, 0, 1)))


def contrasting(rng: np.random.Generator, colour: Array) -> Array:
    """A random colour about 0.45 lighter or darker than `colour` (mean of RGB), so that patterns show."""
    other = random_colour(rng)
    lightness = float(colour.mean())
    target = lightness + 0.45 if lightness < 0.5 else lightness - 0.45
    return np.clip(other * target / max(float(other.mean()), 0.05), 0.03, 1.0)


def backdrop(rng: np.random.Generator, size: int, roughness: int = 5) -> Array:
    """An out-of-focus background [size, size, 3]: a random colour field of `roughness` cells a side, interpolated."""
    base = rng.uniform(0.3, 0.8) + rng.normal(0, 0.09, 3)
    grey = rng.normal(0, rng.uniform(0.05, 0.16), (roughness, roughness, 1))
    cells = np.clip(base + grey + rng.normal(0, 0.05, (roughness, roughness, 3)), 0, 1)
    image = Image.fromarray((cells * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image) / 255.0


def clutter(rng: np.random.Generator, size: int, pieces: int = 5) -> Array:
    """A background [size, size, 3] crossed by patterned and plain patches of random place, form and colour."""
    picture = backdrop(rng, size)
    x, y = np.meshgrid(*(np.linspace(-1, 1, size),) * 2)
    names = list(PATTERNS)
    for _ in range(pieces):
        angle, period = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4)
        centre, radii, power = rng.uniform(-1, 1, 2), rng.uniform(0.25, 0.8, 2), rng.choice([2, 6])
        u = (np.cos(angle) * (x - centre[0]) - np.sin(angle) * (y - centre[1])) / radii[0]
        v = (np.sin(angle) * (x - centre[0]) + np.cos(angle) * (y - centre[1])) / radii[1]
        inside = np.clip((1 - np.abs(u) ** power - np.abs(v) ** power) * 6, 0, 1)[..., None]
        first = random_colour(rng) * 0.8
        weight = PATTERNS[names[rng.integers(len(names))]](u * radii[0] / period, v * radii[1] / period)[..., None]
        patch = first + (contrasting(rng, first) - first) * weight * rng.uniform(0, 0.5)
        picture = picture * (1 - inside) + patch * inside
    return picture


def _edge(x: Array) -> Array:
    """0 below, 1 above zero, with a slope about a pixel wide at the usual periods."""
    return np.clip(0.5 + 4 * x, 0, 1)


def _saw(x: Array) -> Array:
    """Distance from the nearest whole number, 0..0.5."""
    return np.abs(x - np.round(x))


def stripes(u: Array, v: Array) -> Array:
    """Stripes along v, one a period."""
    return _edge(_saw(u) - 0.25)


def checks(u: Array, v: Array) -> Array:
    """A chequerboard, its squares half a period a side."""
    a, b = _edge(_saw(u) - 0.25), _edge(_saw(v) - 0.25)
    return a + b - 2 * a * b


def dots(u: Array, v: Array) -> Array:
    """Dots in rows that are offset against each other."""
    # Every second row is moved by half a period, so that dots differ from a grid when blurred too.
    return _edge(0.3 - np.hypot(_saw(u + 0.5 * (np.round(v) % 2)), _saw(v)))


def rings(u: Array, v: Array) -> Array:
    """Rings around the origin, one a period."""
    return _edge(_saw(np.hypot(u, v)) - 0.25)


def zigzag(u: Array, v: Array) -> Array:
    """Stripes along v that run in zigzag."""
    return _edge(_saw(u + 1.2 * _saw(v * 0.6)) - 0.25)


def bricks(u: Array, v: Array) -> Array:
    """The joints of a wall, whose rows are offset against each other."""
    row = np.floor(v * 1.2)
    return np.maximum(_edge(0.1 - _saw(v * 1.2)), _edge(0.07 - _saw(u * 0.6 + 0.5 * (row % 2))))


def weave(u: Array, v: Array) -> Array:
    """A chequerboard of patches of stripes, along u and along v in turn."""
    over = (np.floor(u) + np.floor(v)) % 2
    across, along = 0.5 + 0.5 * np.cos(6.283 * v * 2), 0.5 + 0.5 * np.cos(6.283 * u * 2)
    return np.where(over == 1, _edge(across - 0.5), _edge(along - 0.5))


def mesh(u: Array, v: Array) -> Array:
    """Thin lines along u and v."""
    return np.maximum(_edge(0.1 - _saw(u)), _edge(0.1 - _saw(v)))


def marble(u: Array, v: Array) -> Array:
    """Stripes that are bent at random."""
    return _edge(_saw(0.5 * u + 2.2 * _noise(0.6 * u, 0.6 * v)) - 0.3)


def speckle(u: Array, v: Array) -> Array:
    """Spots of random form and place."""
    return _edge(_noise(1.7 * u, 1.7 * v) - 0.58)


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern
    for pattern in (stripes, checks, dots, rings, zigzag, bricks, weave, mesh, marble, speckle)
}
_LATTICE = np.random.Generator(np.random.Philox(20250901)).random((64, 64))


def strands(u: Array, v: Array) -> Array:
    """Hair along v; not one of the patterns that name a class."""
    return _noise(u + 0.3 * np.sin(v), 0.15 * v)


def _noise(u: Array, v: Array) -> Array:
    """Value noise in 0..1: random numbers on the whole-number lattice (repeating after 64), smoothly interpolated."""
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    s, t = u - i, v - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    i0, j0, i1, j1 = i % 64, j % 64, (i + 1) % 64, (j + 1) % 64
    low = _LATTICE[i0, j0] * (1 - s) + _LATTICE[i1, j0] * s
    high = _LATTICE[i0, j1] * (1 - s) + _LATTICE[i1, j1] * s
    return low * (1 - t) + high * t
