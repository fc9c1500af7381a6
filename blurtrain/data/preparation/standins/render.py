"""A small ray caster: convex solids under an orthographic camera, with Lambert shading and a highlight.

Coordinates: x to the right, y up, z towards the camera; the picture spans -1..1 in x and y.
A scene is a list of `Part`s in object coordinates. Rays are intersected exactly, each part only inside its own
bounding box, at twice the final resolution; shading happens once, for the pixels that a part won.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array = NDArray[np.float64]
# Surface(points, normals) -> albedo: all [3, n], points and unit normals in object coordinates (so that a pattern runs
# on from part to part), albedo RGB in 0..1.
Surface = Callable[[Array, Array], Array]
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Part:
    """One convex solid. `radii` are half extents along its own axes, `axes` the rotation from those to the object.

    A cylinder stands along its own y; `taper` shrinks its radius towards +y (0 cylinder, 1 cone).
    """

    form: Literal["ellipsoid", "box", "cylinder"]
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    surface: Surface
    axes: Array = field(default_factory=lambda: np.eye(3))
    taper: float = 0.0
    gloss: float = 0.25

    def half_extent(self, view: Array) -> Array:
        """Half the size [3] of the bounding box after the rotation `view`."""
        columns = view @ self.axes * np.array(self.radii)
        if self.form == "box":
            return np.abs(columns).sum(axis=1)
        if self.form == "cylinder":
            return np.hypot(columns[:, 0], columns[:, 2]) + np.abs(columns[:, 1])
        return np.sqrt((columns**2).sum(axis=1))


@dataclass(frozen=True)
class Light:
    """A distant lamp and an even glow: unit `direction` towards the lamp, RGB `colour`, `ambient` share 0..1."""

    direction: Array
    colour: Array
    ambient: float


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """Rotation matrix [3, 3]: first yaw about y, then pitch about x, then roll about z (radians)."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def limb(
    start: Sequence[float],
    end: Sequence[float],
    radius: float,
    surface: Surface,
    taper: float = 0.0,
    rounded: bool = True,
) -> Part:
    """A rod from `start` to `end`: an ellipsoid that reaches a little past both (rounded) or a cylinder."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(b - a))
    y = (b - a) / length
    x = np.cross(y, (0.0, 0.0, 1.0) if abs(y[2]) < 0.9 else (1.0, 0.0, 0.0))
    x /= np.linalg.norm(x)
    axes = np.stack([x, y, np.cross(x, y)], axis=1)
    half = length / 2 * (1.2 if rounded else 1.0)
    middle = (a + b) / 2
    centre = (float(middle[0]), float(middle[1]), float(middle[2]))
    form: Literal["ellipsoid", "cylinder"] = "ellipsoid" if rounded else "cylinder"
    return Part(form, centre, (radius, half, radius), surface, axes, taper)


def fitted(parts: Sequence[Part], view: Array, reach: float) -> tuple[Array, float]:
    """Shift [2] and scale that centre the parts, seen under `view`, with their larger half extent at `reach`."""
    centres = np.array([view @ np.array(part.centre) for part in parts])
    extents = np.array([part.half_extent(view) for part in parts])
    low, high = (centres - extents).min(axis=0)[:2], (centres + extents).max(axis=0)[:2]
    scale = reach * 2 / float((high - low).max())
    return -scale * (low + high) / 2, scale


def render(
    parts: Sequence[Part], view: Array, shift: Sequence[float] | Array, scale: float, light: Light, size: int
) -> tuple[Array, Array]:
    """Picture of `parts`: colour [size, size, 3] premultiplied by coverage, and coverage [size, size] in 0..1."""
    n = size * SUPERSAMPLING
    grid = (np.arange(n) + 0.5) * 2 / n - 1
    depth = np.full((n, n), -np.inf)
    owner = np.full((n, n), -1, np.int16)
    hits = np.zeros((3, n, n))
    for index, part in enumerate(parts):
        centre = view @ np.array(part.centre) * scale + np.array([shift[0], shift[1], 0.0])
        extent = part.half_extent(view) * scale
        left, right = np.searchsorted(grid, (centre[0] - extent[0], centre[0] + extent[0]))
        top, bottom = np.searchsorted(grid, (-centre[1] - extent[1], -centre[1] + extent[1]))
        if left == right or top == bottom:
            continue
        window = np.s_[top:bottom, left:right]
        # From view coordinates to the part's unit coordinates, in which the solid is the unit sphere, cube, cylinder.
        to_unit = (view @ part.axes).T / (np.array(part.radii)[:, None] * scale)
        x, y = grid[left:right] - centre[0], -grid[top:bottom] - centre[1]
        origin = to_unit[:, 0, None, None] * x + to_unit[:, 1, None, None] * y[:, None]
        ray = to_unit[:, 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            z = _INTERSECT[part.form](origin, ray, part.taper)
            won = z + centre[2] > depth[window]  # a miss is nan, never larger
        depth[window][won] = z[won] + centre[2]
        owner[window][won] = index
        for axis in range(3):
            hits[axis][window][won] = origin[axis][won] + z[won] * ray[axis]
    colour = np.zeros((n * n, 3))
    towards = light.direction + np.array([0.0, 0.0, 1.0])
    half_way = towards / np.linalg.norm(towards)
    for index, part in enumerate(parts):
        pixels = np.flatnonzero(owner.ravel() == index)
        if not len(pixels):
            continue
        unit = hits.reshape(3, -1)[:, pixels]
        radii = np.array(part.radii)[:, None]
        normal = _turn(part.axes, _NORMAL[part.form](unit, part.taper) / radii)
        normal /= np.sqrt((normal**2).sum(axis=0))
        albedo = part.surface(_turn(part.axes, unit * radii) + np.array(part.centre)[:, None], normal)
        # Bring the directions to the object instead of every normal to the view.
        facing = _dot(view.T @ light.direction, normal)
        sky = 0.85 + 0.15 * _dot(view[1], normal)
        shade = light.ambient * sky + (1 - light.ambient) * np.maximum(facing, 0)
        highlight = part.gloss * np.maximum(_dot(view.T @ half_way, normal), 0) ** 24
        colour[pixels] = ((albedo * shade + highlight) * light.colour[:, None]).T
    colour = colour.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean(axis=(1, 3))
    coverage = (owner >= 0).reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean(axis=(1, 3))
    return colour, coverage


def compose(colour: Array, coverage: Array, background: Array, light: Light) -> Image.Image:
    """Put a rendered object before a background [size, size, 3] (0..1), with a soft shadow opposite the lamp."""
    size = len(coverage)
    mask = Image.fromarray((coverage * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(size / 20))
    dx, dy = light.direction[:2] * size / 14
    moved = mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, round(dx), 0, 1, -round(dy)))
    shadow = np.asarray(moved) / 255.0
    picture = background * (1 - 0.45 * shadow[..., None]) * (1 - coverage[..., None]) + colour
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


def random_light(rng: np.random.Generator, tint: float = 0.12, strength: tuple[float, float] = (0.85, 1.25)) -> Light:
    """A lamp before the object, mostly from above; `tint` is the spread of its white balance (sd of log RGB)."""
    direction = np.array([rng.uniform(-1, 1), rng.uniform(-0.2, 1.1), rng.uniform(0.5, 1.2)])
    colour = np.exp(rng.normal(0, tint, 3)) * rng.uniform(*strength)
    return Light(direction / np.linalg.norm(direction), colour, float(rng.uniform(0.3, 0.6)))


def _dot(vector: Array, columns: Array) -> Array:
    return vector[0] * columns[0] + vector[1] * columns[1] + vector[2] * columns[2]


def _turn(axes: Array, columns: Array) -> Array:
    return np.stack([_dot(row, columns) for row in axes])


def _ellipsoid(o: Array, d: Array, taper: float) -> Array:
    a, b, c = (d**2).sum(), _dot(d, o), o[0] ** 2 + o[1] ** 2 + o[2] ** 2 - 1
    return (np.sqrt(b * b - a * c) - b) / a


def _box(o: Array, d: Array, taper: float) -> Array:
    steps = np.where(np.abs(d) < 1e-9, 1e-9, d)[:, None, None]
    middle, half = -o / steps, np.abs(1 / steps)
    front = (middle + half).min(axis=0)
    return np.where(front >= (middle - half).max(axis=0), front, np.nan)


def _cylinder(o: Array, d: Array, taper: float) -> Array:
    slope, dy = taper / 2, d[1] if abs(d[1]) > 1e-9 else 1e-9
    radius = 1 - slope - slope * o[1]
    a = d[0] ** 2 + d[2] ** 2 - (slope * dy) ** 2
    b = d[0] * o[0] + d[2] * o[2] + slope * dy * radius
    c = o[0] ** 2 + o[2] ** 2 - radius**2
    root = np.sqrt(b * b - a * c)
    nearest = np.full(o.shape[1:], -np.inf)
    for z in ((-b + root) / a, (-b - root) / a):
        nearest = np.where((np.abs(o[1] + z * dy) <= 1) & (z > nearest), z, nearest)
    for end in (-1, 1):
        z = (end - o[1]) / dy
        inside = (o[0] + z * d[0]) ** 2 + (o[2] + z * d[2]) ** 2 <= (1 - slope - slope * end) ** 2
        nearest = np.where(inside & (z > nearest), z, nearest)
    return nearest


def _box_normal(p: Array, taper: float) -> Array:
    return np.where(np.abs(p) == np.abs(p).max(axis=0), np.sign(p), 0.0)


def _cylinder_normal(p: Array, taper: float) -> Array:
    side = np.stack([p[0], np.full_like(p[0], taper / 2) * np.hypot(p[0], p[2]), p[2]])
    cap = np.stack([np.zeros_like(p[0]), np.sign(p[1]), np.zeros_like(p[0])])
    return np.where(np.abs(p[1]) > 1 - 1e-6, cap, side)


_INTERSECT = {"ellipsoid": _ellipsoid, "box": _box, "cylinder": _cylinder}
_NORMAL: dict[str, Callable[[Array, float], Array]] = {
    "ellipsoid": lambda p, taper: p,
    "box": _box_normal,
    "cylinder": _cylinder_normal,
}
