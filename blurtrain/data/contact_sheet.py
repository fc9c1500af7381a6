"""Pictures in rows, each with a line beneath: parts of images at their own resolution, to be judged by eye."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP, LINE = 6, 13
"""Pixels between tiles, and of a line of text."""


def tile(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The part of `side` x `side` pixels (less where the image is smaller) of pixels [H, W, 3] with the most contrast:
    of an evenly spaced choice of parts, the one with the largest variance of luma, where blur is best seen."""
    height, width = (min(side, length) for length in pixels.shape[:2])
    grey = pixels.astype(np.float32).mean(2)
    tops = np.unique(np.linspace(0, pixels.shape[0] - height, 7).astype(int)).tolist()
    lefts = np.unique(np.linspace(0, pixels.shape[1] - width, 7).astype(int)).tolist()
    top, left = max(
        ((top, left) for top in tops for left in lefts),
        key=lambda at: float(grey[at[0] : at[0] + height, at[1] : at[1] + width].var()),
    )
    return pixels[top : top + height, left : left + width]


def contact_sheet(tiles: Sequence[tuple[NDArray[np.uint8], Sequence[str]]], columns: int, side: int) -> bytes:
    """A PNG, row by row; of each tile its pixels [h, w, 3], at most `side` a side, and the lines beneath."""
    lines = max(len(text) for _, text in tiles)
    step = (side + GAP, side + GAP + LINE * lines)
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    sheet = Image.new("RGB", (columns * step[0] + GAP, rows * step[1] + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for k, (pixels, text) in enumerate(tiles):
        left, top = GAP + k % columns * step[0], GAP + k // columns * step[1]
        sheet.paste(Image.fromarray(pixels), (left, top))
        for row, line in enumerate(text):
            draw.text((left, top + side + row * LINE), _fitting(line, font, side), "black", font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _fitting(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The line, or its end, as names of files differ there."""
    if font.getlength(line) <= width:
        return line
    start = next(k for k in range(1, len(line) + 1) if font.getlength("…" + line[k:]) <= width)
    return "…" + line[start:]
