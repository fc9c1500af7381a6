"""Gabor functions fitted to filters: where, how large, which orientation and spatial frequency.

    g(x, y) = exp(-(x'^2 / s_along^2 + y'^2 / s_across^2) / 2) * (a cos(2 pi f x') + b sin(2 pi f x'))

x', y': along and across the direction in which the wave runs, from the middle of the envelope.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SIDE = 7
"""Smaller filters have too few weights for eight numbers: a fit would say nothing."""
ITERATIONS = 60
ENVELOPES = (0.12, 0.22, 0.4)
"""Standard deviations to begin with, as shares of the side."""


@dataclass(frozen=True)
class Gabors:
    """Of each filter, arrays [N], in pixels of the filter."""

    r2: NDArray[np.float64]
    """1 - squared error / variance of the weights."""
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    """The middle of the envelope."""
    frequency: NDArray[np.float64]
    """Cycles a pixel."""
    orientation: NDArray[np.float64]
    """Degrees, 0..180: of the direction in which the wave runs, from along a row (0: vertical stripes) towards the
    bottom."""
    along: NDArray[np.float64]
    across: NDArray[np.float64]
    """Standard deviations of the envelope, along the wave and across it."""

    @property
    def size(self) -> NDArray[np.float64]:
        """[N], pixels: of the envelope, the geometric mean of both standard deviations."""
        return np.sqrt(self.along * self.across)

    @property
    def bandwidth(self) -> NDArray[np.float64]:
        """[N], octaves between the frequencies at which half the response is left; infinite where there is no lower
        one."""
        half = math.sqrt(2 * math.log(2)) / (2 * math.pi * self.along)
        with np.errstate(divide="ignore", invalid="ignore"):
            octaves = np.log2((self.frequency + half) / (self.frequency - half))
        return np.where(self.frequency > half, octaves, np.inf)

    def table(self) -> NDArray[np.float64]:
        """[N, 7] in the order of the fields."""
        return np.column_stack([self.r2, self.row, self.column, self.frequency, self.orientation, self.along,
                                self.across])  # fmt: skip


def patterns(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of filters [N, C, h, w] the pattern [N, h, w] that they have most of: the first singular vector over channels,
    times its singular value."""
    count, channels, height, width = weights.shape
    _, values, right = np.linalg.svd(weights.reshape(count, channels, -1).astype(np.float64), full_matrices=False)
    return (values[:, :1] * right[:, 0]).reshape(count, height, width)


def gabor_fits(filters: NDArray[np.floating]) -> Gabors:
    """Fit filters [N, h, w], of at least LEAST_SIDE pixels a side, by least squares (Levenberg-Marquardt).

    From the largest frequency in the filter's spectrum, the middle of its energy and three sizes of envelope; the best
    of the three. A filter of equal weights has an R^2 of 0.
    """
    given = np.asarray(filters, np.float64)
    count, height, width = given.shape
    flat = given.reshape(count, -1)
    scale = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
    y = np.repeat(flat / scale, len(ENVELOPES), axis=0)
    places = tuple(axis.ravel().astype(np.float64) for axis in np.mgrid[:height, :width])
    parameters = _marquardt(_begin(y, places, height, width), y, places, height, width)
    error = ((_model(parameters, places)[0] - y) ** 2).sum(1)
    variance = ((y - y.mean(1, keepdims=True)) ** 2).sum(1)
    r2 = np.where(variance > 1e-12, 1 - error / np.maximum(variance, 1e-12), 0).reshape(count, -1)
    best = r2.argmax(1)
    chosen = parameters.reshape(count, len(ENVELOPES), -1)[np.arange(count), best]
    column, row, u, v, along, across = chosen[:, :6].T
    return Gabors(
        r2=r2.max(1),
        row=row,
        column=column,
        frequency=np.hypot(u, v),
        orientation=np.degrees(np.arctan2(v, u)) % 180,
        along=np.exp(along),
        across=np.exp(across),
    )


Array = NDArray[np.float64]
Places = tuple[Array, ...]
"""Row and column of each weight."""


def _waves(parameters: Array, places: Places) -> tuple[Array, ...]:
    """[problems, weights]: envelope, cosine and sine, then what their derivatives are made of: forward, sideways, x, y.

    parameters [problems, 8]: column and row of the middle, frequency along columns and rows, logs of both sizes, a, b.
    """
    column, row, u, v, along, across = (p[:, None] for p in parameters.T[:6])
    x, y = places[1] - column, places[0] - row
    frequency = np.sqrt(u**2 + v**2 + 1e-12)
    wave = u * x + v * y
    forward, sideways = wave / frequency, (u * y - v * x) / frequency
    envelope = np.exp(-(forward**2 * np.exp(-2 * along) + sideways**2 * np.exp(-2 * across)) / 2)
    return envelope, np.cos(2 * np.pi * wave), np.sin(2 * np.pi * wave), forward, sideways, x, y


def _model(parameters: Array, places: Places) -> tuple[Array, Array]:
    """Values [problems, weights], and their derivatives [problems, weights, 8]."""
    envelope, cosine, sine, forward, sideways, x, y = _waves(parameters, places)
    u, v, along, across, a, b = (p[:, None] for p in parameters.T[2:])
    frequency = np.sqrt(u**2 + v**2 + 1e-12)
    value = envelope * (a * cosine + b * sine)
    turning = 2 * np.pi * envelope * (b * cosine - a * sine)  # by the wave's own argument
    narrow, flat = np.exp(-2 * along), np.exp(-2 * across)
    by_forward, by_sideways = -value * forward * narrow / frequency, -value * sideways * flat / frequency
    unit_u, unit_v = u / frequency, v / frequency
    derivatives = [
        -turning * u - by_forward * u + by_sideways * v,
        -turning * v - by_forward * v - by_sideways * u,
        turning * x + by_forward * (x - forward * unit_u) + by_sideways * (y - sideways * unit_u),
        turning * y + by_forward * (y - forward * unit_v) - by_sideways * (x + sideways * unit_v),
        value * forward**2 * narrow,
        value * sideways**2 * flat,
        envelope * cosine,
        envelope * sine,
    ]
    return value, np.stack(derivatives, axis=2)


def _begin(y: Array, places: Places, height: int, width: int) -> Array:
    """[problems, 8]."""
    side = 4 * max(height, width)
    image = (y - y.mean(1, keepdims=True)).reshape(-1, height, width)
    peak = np.abs(np.fft.rfft2(image, s=(side, side))).reshape(len(y), -1).argmax(1)
    u, v = (peak % (side // 2 + 1)) / side, np.fft.fftfreq(side)[peak // (side // 2 + 1)]
    energy = y**2 / np.maximum((y**2).sum(1, keepdims=True), 1e-300)
    row, column = energy @ places[0], energy @ places[1]
    sizes = np.log(np.tile(np.array(ENVELOPES) * max(height, width), len(y) // len(ENVELOPES)))
    begun = np.stack([column, row, u, v, sizes, sizes, 0 * row, 0 * row], axis=1)
    envelope, cosine, sine, *_ = _waves(begun, places)
    basis = np.stack([envelope * cosine, envelope * sine], axis=2)
    normal = basis.transpose(0, 2, 1) @ basis + 1e-9 * np.eye(2)
    begun[:, 6:] = np.linalg.solve(normal, basis.transpose(0, 2, 1) @ y[..., None])[..., 0]
    return begun


def _marquardt(parameters: Array, y: Array, places: Places, height: int, width: int) -> Array:
    """All problems at once, each with its own damping; what would make one worse is not taken."""
    largest = math.log(max(height, width))
    low = np.array([0, 0, -0.71, -0.71, math.log(0.4), math.log(0.4), -1e3, -1e3])
    high = np.array([width - 1, height - 1, 0.71, 0.71, largest, largest, 1e3, 1e3])
    parameters, damping, open_ = parameters.copy(), np.full(len(y), 1e-2), np.arange(len(y))
    value, slopes = _model(parameters, places)
    error = ((value - y) ** 2).sum(1)
    for _ in range(ITERATIONS):
        normal = slopes.transpose(0, 2, 1) @ slopes
        normal += damping[:, None, None] * (np.einsum("nii->ni", normal)[:, None] + 1e-10) * np.eye(8)
        step = np.linalg.solve(normal, slopes.transpose(0, 2, 1) @ (y[open_] - value)[..., None])[..., 0]
        tried = np.clip(parameters[open_] + step, low, high)
        new_value, new_slopes = _model(tried, places)
        new = ((new_value - y[open_]) ** 2).sum(1)
        better = new < error
        parameters[open_[better]] = tried[better]
        done = (better & (error - new < 1e-7 * error)) | (damping > 1e7)
        value, slopes = np.where(better[:, None], new_value, value), np.where(better[:, None, None], new_slopes, slopes)
        error, damping = np.where(better, new, error), np.clip(np.where(better, damping / 3, damping * 4), 1e-9, 1e9)
        # What has come to its end is looked at no more.
        open_, value, slopes, error, damping = (part[~done] for part in (open_, value, slopes, error, damping))
        if not len(open_):
            break
    return parameters
