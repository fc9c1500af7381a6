"""Faces: a head of a few ellipsoids whose features are painted on it.

What makes an identity is fixed in `Identity`; an image draws pose, light, expression, clothes and background.
Identities come in families that share what a blurred image still shows (head, hair, skin): relatives differ in fine
detail (eyes, brows, nose, mouth, freckles, moles, glasses, beard), and the light varies, so that colour tells little.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from blurtrain.data.preparation.standins.render import (
    Array,
    Part,
    Surface,
    compose,
    limb,
    random_light,
    render,
    rotation,
)
from blurtrain.data.preparation.standins.textures import (
    PATTERNS,
    backdrop,
    contrasting,
    patterned,
    plain,
    random_colour,
    strands,
)

SKINS = np.array([(0.95, 0.77, 0.65), (0.86, 0.65, 0.5), (0.7, 0.49, 0.36), (0.5, 0.33, 0.24)])
HAIRS = np.array([(0.11, 0.09, 0.08), (0.32, 0.19, 0.1), (0.75, 0.56, 0.27), (0.52, 0.23, 0.09), (0.6, 0.6, 0.6)])
IRISES = np.array([(0.25, 0.15, 0.08), (0.2, 0.42, 0.65), (0.25, 0.45, 0.25), (0.35, 0.38, 0.42)])
STYLES = ("short", "cap", "long", "bun")


@dataclass(frozen=True)
class Identity:
    """The lasting properties of one person; lengths are in units of the head's half width or half height."""

    skin: Array
    hair: Array
    iris: Array
    style: str
    head: tuple[float, float, float]
    hairline: float
    parting: float
    eye_spacing: float
    eye_width: float
    eye_height: float
    brow: tuple[float, float, float]  # thickness, arch, inner height above the eye
    nose: tuple[float, float]  # width, length
    mouth: tuple[float, float, float]  # half width, height on the face, fullness
    spots: Array  # [n, 3] freckles and moles: place on the face, radius
    glasses: float  # radius of the lenses, 0 for none
    square_glasses: bool
    beard: float  # 0 none .. 1 full
    moustache: bool


def random_identity(rng: np.random.Generator, number: int, family: np.random.Generator) -> Identity:
    """A new person of family `number`, which gives hair colour and style in turn, so that all occur.

    `family` draws what else relatives share, so each of them needs an equal one; `rng` draws what is their own.
    """
    freckles = rng.integers(25, 50) if rng.random() < 0.35 else 0
    side = rng.choice([-1, 1], freckles)
    freckle = np.stack(
        [
            side * rng.uniform(0.08, 0.6, freckles),
            rng.uniform(-0.32, 0.02, freckles),
            rng.uniform(0.02, 0.032, freckles),
        ],
        1,
    )
    moles = rng.integers(0, 4)
    mole = np.stack(
        [rng.uniform(-0.55, 0.55, moles), rng.uniform(-0.75, 0.5, moles), rng.uniform(0.04, 0.06, moles)], 1
    )
    return Identity(
        skin=SKINS[family.integers(len(SKINS))] * family.uniform(0.95, 1.05),
        hair=HAIRS[number % len(HAIRS)],
        iris=IRISES[rng.integers(len(IRISES))],
        style=STYLES[number % len(STYLES)],
        head=(family.uniform(0.47, 0.56), family.uniform(0.63, 0.72), 0.6),
        hairline=family.uniform(0.5, 0.72),
        parting=family.uniform(-0.5, 0.5),
        eye_spacing=rng.uniform(0.33, 0.45),
        eye_width=rng.uniform(0.15, 0.21),
        eye_height=rng.uniform(0.07, 0.11),
        brow=(rng.uniform(0.025, 0.08), rng.uniform(-0.05, 0.12), rng.uniform(0.16, 0.25)),
        nose=(rng.uniform(0.09, 0.17), rng.uniform(0.17, 0.27)),
        mouth=(rng.uniform(0.2, 0.36), rng.uniform(-0.58, -0.5), rng.uniform(0.03, 0.075)),
        spots=np.concatenate([freckle, mole]),
        glasses=float(rng.uniform(0.2, 0.27)) if rng.random() < 0.3 else 0.0,
        square_glasses=bool(rng.random() < 0.5),
        beard=float(rng.uniform(0.4, 0.8)) if rng.random() < 0.3 else 0.0,
        moustache=bool(rng.random() < 0.2),
    )


def portrait(person: Identity, rng: np.random.Generator, size: int) -> Image.Image:
    """One photograph of a person: new pose, expression, light, clothes and background."""
    view = rotation(rng.uniform(-0.5, 0.5), rng.uniform(-0.2, 0.2), rng.normal(0, 0.08))
    light = random_light(rng, tint=0.14, strength=(0.65, 1.4))
    parts = head_parts(person, rng)
    scale, shift = rng.uniform(1.0, 1.2), rng.uniform(-0.07, 0.07, 2) - np.array((0.0, 0.05))
    colour, coverage = render(parts, view, shift, scale, light, size)
    # The room has the lamp's colour too; else the background would tell the white balance.
    return compose(colour, coverage, backdrop(rng, size, 4) * light.colour, light)


def head_parts(person: Identity, rng: np.random.Generator) -> list[Part]:
    """Head, hair and shoulders; the generator draws expression and clothes."""
    w, h, d = person.head
    skin, hair = plain(person.skin), hair_surface(person.hair)
    shirt = random_colour(rng)
    cloth = patterned(
        PATTERNS["stripes"], 0.16, rng.uniform(0, np.pi), shirt, contrasting(rng, shirt) * 0.4 + shirt * 0.6
    )
    nose_width, nose_length = person.nose
    parts = [
        Part("ellipsoid", (0, 0, 0), (w, h, d), face_surface(person, rng), gloss=0.1),
        Part(
            "ellipsoid",
            (0, -0.17 * h, d * 0.97),
            (nose_width * w, nose_length * h, 0.1),
            skin,
            rotation(0, -0.25),
            gloss=0.15,
        ),
        *(Part("ellipsoid", (side * w, 0, -0.05), (0.07, 0.14, 0.1), skin, gloss=0.05) for side in (-1, 1)),
        limb((0, -h * 0.6, -0.12), (0, -h - 0.5, -0.15), 0.27, skin, rounded=False),
        Part("ellipsoid", (0, -h - 0.52, -0.15), (0.85, 0.42, 0.42), cloth, gloss=0.05),
    ]
    if person.style != "short":
        parts.append(Part("ellipsoid", (0, 0.2 * h, -0.13), (w * 1.13, h * 0.96, d * 0.95), hair))
    if person.style == "long":
        parts += [
            Part("ellipsoid", (side * w * 0.93, -0.35 * h, -0.22), (0.15, h * 0.95, 0.3), hair) for side in (-1, 1)
        ]
    if person.style == "bun":
        parts.append(Part("ellipsoid", (0, h * 1.15, -0.15), (0.24, 0.22, 0.24), hair))
    return parts


def hair_surface(colour: Array) -> Surface:
    """Hair: strands from top to bottom, a little lighter and darker."""
    return patterned(strands, 0.05, 0.0, colour * 0.7, np.clip(colour * 1.5 + 0.06, 0, 1))


def face_surface(person: Identity, rng: np.random.Generator) -> Surface:
    """The painted head. Expression drawn here: smile, open mouth, open eyes, raised brows, gaze."""
    smile, mouth_open = rng.uniform(-0.5, 1.4), max(0.0, rng.normal(0, 0.03))
    lids, lift, gaze = rng.uniform(0.6, 1.15), rng.uniform(-0.03, 0.06), rng.uniform(-0.05, 0.05)
    radii = np.array(person.head)[:, None]
    hair = hair_surface(person.hair)
    thickness, arch, brow_height = person.brow
    half_mouth, mouth_height, fullness = person.mouth
    lip = person.skin * np.array([0.8, 0.5, 0.5])
    level = 0.1

    def surface(points: Array, normals: Array) -> Array:
        u, v, front = points / radii
        albedo = np.repeat(person.skin[:, None], u.shape[0], axis=1)

        def paint(colour: Array, mask: Array) -> None:
            albedo[:] += (colour[:, None] - albedo) * (mask * (front > 0))

        side = np.abs(u)
        # Across one eye, -1 at its outer and 1 at its inner corner.
        across = (person.eye_spacing - side) / person.eye_width
        up = v - level
        paint(person.skin * (0.9, 0.6, 0.55), 0.35 * np.exp(-((side - 0.48) ** 2 + (v + 0.25) ** 2) / 0.03))
        # Below a line from the side-burns down to the corners of the mouth and along the lower lip.
        jaw = np.where(side < half_mouth, mouth_height - 0.06, mouth_height + 0.9 * (side - half_mouth)) - v
        paint(person.hair * 0.8 + 0.2 * person.skin, person.beard * np.clip(0.5 + jaw / 0.12, 0, 1))
        for x, y, r in person.spots:
            near = np.hypot(u - x, v - y)
            paint(person.skin * (0.42 if r > 0.035 else 0.62), _inside(r - near))
        opening = person.eye_height * lids * np.sqrt(np.maximum(1 - across**2, 0))
        paint(person.skin * 0.7, _inside(opening + 0.035 - np.abs(up - 0.015)) * (np.abs(across) < 1.1))
        eye = _inside(opening - np.abs(up)) * (np.abs(across) < 1)
        paint(np.array((0.95, 0.95, 0.93)), eye)
        pupil = np.hypot(side - person.eye_spacing - gaze * np.sign(u), up)
        paint(person.iris, eye * _inside(0.085 - pupil))
        paint(np.full(3, 0.03), eye * _inside(0.042 - pupil))
        paint(np.full(3, 0.1), _inside(0.022 - np.abs(up - opening)) * (np.abs(across) < 1.05))
        brow = up - brow_height - lift - arch * (1 - across**2)
        paint(
            np.minimum(person.hair * 0.75, person.skin * 0.6),
            _inside(thickness - np.abs(brow)) * (np.abs(across) < 1.35),
        )
        curve = v - mouth_height - 0.12 * smile * (u / 0.3) ** 2
        taper = np.sqrt(np.maximum(1 - (u / half_mouth) ** 2, 0))
        paint(lip, _inside((fullness + mouth_open) * taper - np.abs(curve)) * (side < half_mouth))
        paint(lip * 0.35, _inside((0.014 + mouth_open) * taper - np.abs(curve)) * (side < half_mouth))
        if person.moustache:
            paint(person.hair * 0.9, _inside(0.05 - np.abs(v - mouth_height - 0.13 + 0.2 * side)) * (side < half_mouth))
        if person.glasses:
            far = np.abs(side - person.eye_spacing), np.abs(up)
            reach = np.maximum(*far) if person.square_glasses else np.hypot(*far)
            frame = np.maximum(
                _inside(0.026 - np.abs(reach - person.glasses)),
                _inside(0.02 - np.abs(up - 0.05)) * (side < person.eye_spacing - person.glasses),
            )
            frame = np.maximum(frame, _inside(0.02 - np.abs(up - 0.05)) * (side > person.eye_spacing + person.glasses))
            paint(np.full(3, 0.06), frame)
        line = person.hairline - 0.35 * (u - person.parting * 0.5) ** 2
        scalp = np.maximum(_inside(v - line), ((front < 0.1) & (v > -0.3)).astype(float))
        return albedo + (hair(points, normals) - albedo) * scalp

    return surface


def _inside(signed: Array) -> Array:
    """1 where the signed distance is positive, 0 outside, with a soft edge of about a pixel at 80 px."""
    return np.clip(0.5 + signed / 0.03, 0, 1)
