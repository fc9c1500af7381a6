"""The twelve Toybox categories as toys made of a few solids.

A toy looks along +x, y is up. A builder draws the proportions of one instance from its generator; what belongs to a
category (wheels, beak, rotor, handle) is in every instance.
"""

from collections.abc import Callable

import numpy as np

from blurtrain.data.preparation.standins.objects import Coat, Rng, ball, block, random_coat, ring, tube
from blurtrain.data.preparation.standins.render import Array, Part, Surface, limb, rotation
from blurtrain.data.preparation.standins.textures import plain

DARK, GLASS, PALE = (plain(np.array(c)) for c in ((0.09, 0.09, 0.1), (0.16, 0.24, 0.32), (0.85, 0.85, 0.82)))
ORANGE = plain(np.array((0.95, 0.5, 0.1)))


def instance_parts(category: str, rng: Rng) -> list[Part]:
    """The parts of one new toy of the category."""
    return BUILDERS[category](rng, random_coat(rng))


def wheels(places: list[float], y: float, z: float, r: float) -> list[Part]:
    """Tyres with pale hubs at the given x, on both sides."""
    parts = []
    for x in places:
        for side in (-z, z):
            parts.append(limb((x, y, side - 0.08), (x, y, side + 0.08), r, DARK, rounded=False))
            parts.append(limb((x, y, side - 0.1), (x, y, side + 0.1), r * 0.5, PALE, rounded=False))
    return parts


def eyes(x: float, y: float, z: float, r: float) -> list[Part]:
    """Two dark balls of radius r, at z on both sides."""
    return [ball(x, y, side, r, r, r, DARK) for side in (-z, z)]


def legs(
    rng: Rng, front: float, back: float, top: float, length: float, z: float, r: float, coat: Surface
) -> list[Part]:
    """Four legs with dark feet."""
    parts = []
    for x in (front, back):
        for side in (-z, z):
            lean = rng.uniform(-0.06, 0.06)
            parts.append(limb((x, top, side), (x + lean, top - length, side), r, coat))
            parts.append(ball(x + lean, top - length, side, r * 1.1, r * 0.9, r * 1.1, DARK))
    return parts


def airplane(rng: Rng, coat: Coat) -> list[Part]:
    """A body with a cockpit, two wings with an engine each, and a tail."""
    r, span, sweep = rng.uniform(0.15, 0.22), rng.uniform(0.85, 1.1), rng.uniform(0.0, 0.3)
    parts = [ball(0, 0, 0, 1.0, r, r, coat.main), ball(0.72, r * 0.5, 0, 0.17, r * 0.5, r * 0.7, GLASS)]
    for side in (-1, 1):
        wing = limb((0.15, 0, 0), (0.15 - sweep, 0.04, side * span), 0.2, coat.second)
        parts.append(Part("ellipsoid", wing.centre, (0.25, wing.radii[1], 0.04), coat.second, _flat(wing.axes)))
        parts.append(ball(0.2 - sweep / 2, -0.12, side * span / 2, 0.19, 0.085, 0.085, coat.first))
        parts.append(ball(-0.85, 0.05, side * 0.22, 0.13, 0.025, 0.26, coat.second))
    return [*parts, ball(-0.86, 0.24, 0, 0.15, 0.28, 0.03, coat.first)]


def _flat(axes: Array) -> Array:
    """Turn a limb about its length until its own z points up, so that it can be flattened into a wing."""
    along = axes[:, 1]
    across = np.cross(along, (0.0, 1.0, 0.0))
    across /= np.linalg.norm(across)
    return np.stack([across, along, np.cross(across, along)], axis=1)


def sphere_toy(rng: Rng, coat: Coat) -> list[Part]:
    """A ball, a little flattened or stretched."""
    squash = rng.uniform(0.94, 1.06)
    return [ball(0, 0, 0, 0.9, 0.9 * squash, 0.9, coat.main)]


def car(rng: Rng, coat: Coat) -> list[Part]:
    """A low body with a cabin, lamps, and four wheels."""
    h, cabin, back = rng.uniform(0.17, 0.25), rng.uniform(0.35, 0.5), rng.uniform(-0.25, 0.0)
    top = h + rng.uniform(0.22, 0.32)
    return [
        block(0, 0, 0, 0.85, h, 0.42, coat.main),
        ball(0.85, -0.03, 0, 0.14, h * 0.85, 0.41, coat.main),
        block(back, (h + top) / 2, 0, cabin, (top - h) / 2, 0.37, GLASS),
        block(back, top, 0, cabin * 0.92, 0.05, 0.38, coat.first),
        *(ball(0.95, 0.02, side, 0.06, 0.08, 0.09, PALE) for side in (-0.28, 0.28)),
        *wheels([-0.5, 0.52], -h, 0.4, rng.uniform(0.2, 0.26)),
    ]


def truck(rng: Rng, coat: Coat) -> list[Part]:
    """A box behind a cab, on six wheels."""
    cargo, cab = rng.uniform(0.4, 0.6), rng.uniform(0.28, 0.38)
    length = rng.uniform(0.55, 0.68)
    return [
        block(-0.95 + length, cargo - 0.15, 0, length, cargo, 0.42, coat.main),
        block(0.62, cab - 0.15, 0, 0.26, cab, 0.38, coat.second),
        block(0.7, 2 * cab - 0.35, 0, 0.2, 0.12, 0.4, GLASS),
        block(0, -0.2, 0, 0.85, 0.07, 0.34, DARK),
        *(ball(0.88, -0.08, side, 0.05, 0.07, 0.07, PALE) for side in (-0.25, 0.25)),
        *wheels([-0.65, -0.25, 0.6], -0.28, 0.36, rng.uniform(0.17, 0.21)),
    ]


def cat(rng: Rng, coat: Coat) -> list[Part]:
    """A body on four legs, a head with pointed ears and a snout, and a tail that is bent upwards."""
    body, head = rng.uniform(0.5, 0.62), rng.uniform(0.27, 0.34)
    hx, hy = body + 0.12, 0.36
    parts = [ball(0, 0, 0, body, 0.27, 0.26, coat.main), ball(hx, hy, 0, head * 0.9, head * 0.85, head, coat.main)]
    for side in (-1, 1):
        ear = limb(
            (hx - 0.02, hy + head * 0.5, side * head * 0.6),
            (hx - 0.04, hy + head * 1.5, side * head * 0.75),
            head * 0.42,
            coat.second,
            taper=1.0,
            rounded=False,
        )
        parts.append(ear)
    parts += eyes(hx + head * 0.75, hy + 0.08, head * 0.4, 0.06)
    parts += [
        ball(hx + head * 0.85, hy - 0.08, 0, 0.09, 0.08, 0.13, PALE),
        ball(hx + head * 1.1, hy - 0.03, 0, 0.04, 0.03, 0.05, DARK),
    ]
    parts += legs(rng, body * 0.65, -body * 0.65, -0.1, rng.uniform(0.36, 0.46), 0.15, 0.09, coat.first)
    bend = rng.uniform(0.1, 0.3)
    return [
        *parts,
        limb((-body * 0.9, 0.05, 0), (-body - 0.25, 0.35, 0), 0.075, coat.second),
        limb((-body - 0.25, 0.35, 0), (-body - 0.25 + bend, 0.8, 0), 0.07, coat.second),
    ]


def cup(rng: Rng, coat: Coat) -> list[Part]:
    """A cup that is wider at the top, with a straw."""
    height, r, taper = rng.uniform(0.7, 0.9), rng.uniform(0.45, 0.58), rng.uniform(0.28, 0.42)
    # Upside down, so that the wide end is the open one; the straw is in every cup and no mug.
    axes = np.diag([1.0, -1.0, -1.0])
    wall = Part("cylinder", (0, 0, 0), (r, height, r), coat.main, axes, taper)
    lean = rng.uniform(-0.25, 0.25)
    return [
        wall,
        tube(0, height, 0, r * 1.06, 0.06, coat.second),
        tube(0, height + 0.05, 0, r * 0.9, 0.03, DARK),
        limb((0, height * 0.5, 0), (lean, height + rng.uniform(0.4, 0.6), 0.1), 0.06, PALE, rounded=False),
    ]


def mug(rng: Rng, coat: Coat) -> list[Part]:
    """A straight mug with a handle."""
    height, r = rng.uniform(0.5, 0.66), rng.uniform(0.45, 0.56)
    loop = rng.uniform(0.26, 0.36)
    return [
        tube(0, 0, 0, r, height, coat.main),
        tube(0, height, 0, r * 1.03, 0.035, coat.second),
        tube(0, height + 0.03, 0, r * 0.88, 0.03, DARK),
        *ring(r + loop * 0.55, 0, loop, 0.085, coat.first),
    ]


def duck(rng: Rng, coat: Coat) -> list[Part]:
    """A body with folded wings and a tail, a head with a flat beak, and feet."""
    head, hx, hy = rng.uniform(0.27, 0.34), rng.uniform(0.4, 0.5), rng.uniform(0.5, 0.62)
    return [
        ball(0, -0.1, 0, 0.72, 0.42, 0.45, coat.main),
        ball(hx, hy, 0, head, head, head, coat.first),
        limb((hx - 0.05, 0.1, 0), (hx, hy, 0), head * 0.65, coat.first),
        ball(hx + head * 1.15, hy - 0.07, 0, 0.22, 0.07, 0.15, ORANGE),
        limb((-0.5, 0.05, 0), (-0.85, 0.35, 0), 0.15, coat.second),
        *(ball(-0.08, -0.02, side, 0.4, 0.2, 0.1, coat.second) for side in (-0.42, 0.42)),
        *eyes(hx + head * 0.6, hy + 0.1, head * 0.68, 0.06),
        *(ball(0.1, -0.52, side, 0.22, 0.06, 0.13, ORANGE) for side in (-0.2, 0.2)),
    ]


def giraffe(rng: Rng, coat: Coat) -> list[Part]:
    """A short body on long legs, a long neck, and a head with horns."""
    body, rise, lean = rng.uniform(0.36, 0.44), rng.uniform(0.85, 1.05), rng.uniform(0.2, 0.4)
    nx, ny = body * 0.7 + lean, rise
    return [
        ball(0, 0, 0, body, 0.23, 0.2, coat.main),
        limb((body * 0.6, 0.0, 0), (nx, ny, 0), 0.12, coat.main),
        ball(nx + 0.1, ny + 0.06, 0, 0.22, 0.1, 0.1, coat.main),
        ball(nx + 0.27, ny + 0.02, 0, 0.08, 0.07, 0.08, PALE),
        *(limb((nx, ny + 0.1, side), (nx - 0.03, ny + 0.3, side), 0.035, coat.second) for side in (-0.06, 0.06)),
        *eyes(nx + 0.14, ny + 0.1, 0.09, 0.035),
        *legs(rng, body * 0.7, -body * 0.7, -0.05, rng.uniform(0.75, 0.9), 0.12, 0.065, coat.first),
        limb((-body * 0.95, 0.05, 0), (-body - 0.12, -0.35, 0), 0.035, coat.second),
    ]


def horse(rng: Rng, coat: Coat) -> list[Part]:
    """A body on four legs, a neck with a mane, a head with ears, and a hanging tail."""
    body, rise = rng.uniform(0.52, 0.62), rng.uniform(0.5, 0.6)
    nx = body + 0.18
    return [
        ball(0, 0, 0, body, 0.27, 0.24, coat.main),
        limb((body * 0.7, 0.05, 0), (nx, rise, 0), 0.17, coat.main),
        limb((nx - 0.05, rise + 0.06, 0), (nx + 0.34, rise - 0.16, 0), 0.13, coat.main),
        limb((body * 0.45, 0.2, 0), (nx - 0.14, rise + 0.12, 0), 0.11, DARK),
        *(
            limb((nx - 0.02, rise + 0.1, side), (nx - 0.02, rise + 0.27, side), 0.04, coat.second)
            for side in (-0.08, 0.08)
        ),
        *eyes(nx + 0.12, rise + 0.04, 0.12, 0.04),
        *legs(rng, body * 0.7, -body * 0.7, -0.08, rng.uniform(0.6, 0.7), 0.15, 0.09, coat.first),
        limb((-body * 0.9, 0.12, 0), (-body - 0.22, -0.4, 0), 0.1, DARK),
    ]


def helicopter(rng: Rng, coat: Coat) -> list[Part]:
    """A cabin with a boom, a rotor of two crossed blades above it, and skids."""
    cabin, boom, turn = rng.uniform(0.4, 0.48), rng.uniform(0.75, 0.95), rng.uniform(0, np.pi)
    mast, skid = cabin * 0.75 + 0.2, -cabin * 0.75 - 0.15
    c, s = np.cos(turn) * 0.95, np.sin(turn) * 0.95
    return [
        ball(0.15, 0, 0, cabin * 1.15, cabin * 0.75, cabin * 0.75, coat.main),
        ball(0.4, 0.06, 0, cabin * 0.66, cabin * 0.52, cabin * 0.62, GLASS),
        limb((-0.1, 0.08, 0), (-boom, 0.14, 0), 0.09, coat.first),
        ball(-boom - 0.05, 0.25, 0, 0.1, 0.22, 0.03, coat.second),
        limb((0.1, 0.2, 0), (0.1, mast, 0), 0.05, DARK, rounded=False),
        limb((0.1 - c, mast, -s), (0.1 + c, mast, s), 0.045, DARK),
        limb((0.1 - s, mast, c), (0.1 + s, mast, -c), 0.045, DARK),
        *(limb((-0.35, skid, side), (0.6, skid, side), 0.04, PALE) for side in (-0.27, 0.27)),
        *(limb((x, -0.2, side * 0.6), (x, skid, side), 0.03, DARK) for side in (-0.27, 0.27) for x in (-0.05, 0.35)),
    ]


def spoon(rng: Rng, coat: Coat) -> list[Part]:
    """A hollow bowl at the end of a handle, inclined."""
    bowl, width, grip = rng.uniform(0.26, 0.34), rng.uniform(0.19, 0.25), rng.uniform(0.07, 0.1)
    slope = rotation(0.0, 0.0, 0.9)
    parts = [
        ball(0.7, 0, 0, bowl, 0.09, width, coat.second),
        ball(0.7, 0.05, 0, bowl * 0.8, 0.065, width * 0.78, GLASS),
        ball(-0.2, 0, 0, 0.68, 0.045, 0.05, coat.first),
        ball(-0.6, 0, 0, 0.42, 0.06, grip * 1.4, coat.main),
    ]
    return [Part(p.form, tuple(slope @ np.array(p.centre)), p.radii, p.surface, slope, gloss=0.6) for p in parts]


BUILDERS: dict[str, Callable[[Rng, Coat], list[Part]]] = {
    "airplane": airplane, "ball": sphere_toy, "car": car, "cat": cat, "cup": cup, "duck": duck, "giraffe": giraffe,
    "helicopter": helicopter, "horse": horse, "mug": mug, "spoon": spoon, "truck": truck,
}  # fmt: skip
