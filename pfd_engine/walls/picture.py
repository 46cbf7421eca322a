"""The compare wall's arithmetic on kept images, and the wall as one PNG with its caption. Pillow and numpy alone."""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from pfd_engine.errors import InputError

Pixels = NDArray[np.uint8]

LONGEST_SIDE = 512
MOST_PIXELS = 24_000_000
MARGIN, GAP, STRIPE = 24, 8, 3
CAPTION_SIZE, LABEL_SIZE = 16, 14
INK, FAINT, EMPTY = "#000000", "#555555", "#e8e8e8"
CAPTION_LIMIT = 4_000


@dataclass(frozen=True)
class Row:
    """One row of the picture: its label and color, and an image (None: not kept) and the words below it for each column."""

    label: str
    color: str
    images: Sequence[Pixels | None]
    below: Sequence[str]


def decode(png: bytes) -> Pixels:
    """Return a PNG as `(H, W)` or `(H, W, 3)` of uint8; raises InputError for what is no image of at most 512x512."""
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            if max(picture.size) > LONGEST_SIDE:
                raise InputError(f"an image of the wall is {picture.size[0]}x{picture.size[1]}: at most 512x512 is kept")
            return np.array(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("an image of the wall cannot be read: measure the pair again") from error


def encode(pixels: Pixels) -> bytes:
    """Return an image `(H, W)` or `(H, W, 3)` as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def difference(first: Pixels, second: Pixels, gain: int = 1) -> Pixels | None:
    """Return `|first - second|` times a gain, channel by channel, cut off at 255; None for images of different shapes."""
    if first.shape != second.shape:
        return None
    apart = np.abs(first.astype(np.int32) - second.astype(np.int32)) * gain
    return np.minimum(apart, 255).astype(np.uint8)


def distance(first: Pixels, second: Pixels) -> float | None:
    """Return the Euclidean distance of two images in data units, in which pixels lie in [-1, 1]; None for different shapes.

    It is that of the 8-bit images as they were kept: off by at most `sqrt(d) / 127.5` for d values, and smaller for shrunken images.
    """
    if first.shape != second.shape:
        return None
    return float(np.linalg.norm(first.astype(np.float64) - second.astype(np.float64)) / 127.5)


def scaled(pixels: Pixels, side: int) -> Image.Image:
    """Return an image whose longest side is `side`: enlarged by repeating pixels, made smaller by averaging them."""
    picture = Image.fromarray(pixels)
    factor = side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS)


def fits(rows: int, columns: int, side: int) -> int:
    """Return the largest side of a cell, at most `side`, with which a picture has at most 24 million pixels."""
    return max(16, min(side, int(math.sqrt(MOST_PIXELS / max(1, rows * columns))) - 2 * LABEL_SIZE))


def picture(rows: Sequence[Row], heads: Sequence[str], caption: str, side: int) -> bytes:
    """Return the wall as PNG: a heading over each column, a label before each row, words below each image, the caption below all.

    Cells are `side` pixels wide, less where the picture would have more than 24 million pixels; the caption is in its description too,
    letter by letter, where the picture shows what its font has.
    """
    side = fits(len(rows), len(heads), side)
    cell = max(side, 56)
    label_font, caption_font = ImageFont.load_default(LABEL_SIZE), ImageFont.load_default(CAPTION_SIZE)
    labels = [wrapped(drawable(row.label), label_font, 150)[:6] for row in rows]
    left = MARGIN + 160
    line = LABEL_SIZE + 5
    height_of = [STRIPE + side + line + GAP] * len(rows)
    width = max(640, left + len(heads) * (cell + GAP) + MARGIN)
    lines = wrapped(drawable(caption[:CAPTION_LIMIT]), caption_font, width - 2 * MARGIN)
    top = MARGIN + line
    caption_top = top + sum(height_of) + GAP
    height = caption_top + caption_height(len(lines)) + MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for column, head in enumerate(heads):
        draw.text((left + column * (cell + GAP), MARGIN), head, INK, label_font)
    for row, words in zip(rows, labels, strict=True):
        for number, text in enumerate(words):
            draw.text((MARGIN, top + STRIPE + number * line), text, INK, label_font)
        for column, (pixels, below) in enumerate(zip(row.images, row.below, strict=True)):
            x = left + column * (cell + GAP)
            draw.rectangle((x, top, x + side - 1, top + STRIPE - 1), row.color)
            if pixels is None:
                draw.rectangle((x, top + STRIPE, x + side - 1, top + STRIPE + side - 1), EMPTY)
            else:
                canvas.paste(scaled(pixels, side), (x, top + STRIPE))
            draw.text((x, top + STRIPE + side + 2), below, FAINT, label_font)
        top += height_of[0]
    for number, text in enumerate(lines):
        draw.text((MARGIN, caption_top + number * (CAPTION_SIZE + 6)), text, INK, caption_font)
    stream, told = io.BytesIO(), PngImagePlugin.PngInfo()
    told.add_itxt("Description", caption[:CAPTION_LIMIT])
    canvas.save(stream, "PNG", pnginfo=told)
    return stream.getvalue()


def caption_height(lines: int) -> int:
    """Return how many pixels so many lines of a caption are high."""
    return lines * (CAPTION_SIZE + 6)


def drawable(text: str) -> str:
    """Return a text in the letters that Pillow's own font has, which are ASCII's: accents go, and what has no likeness becomes `?`."""
    plain = unicodedata.normalize("NFKD", text.translate({ord("−"): "-", ord("–"): "-", ord("·"): "-", ord("σ"): "sigma", ord("Ψ"): "Psi"}))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).encode("ascii", "replace").decode()


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels, between words where that is possible."""
    lines = [""]
    for word in text.split():
        candidate = f"{lines[-1]} {word}".strip()
        if font.getlength(candidate) <= width:
            lines[-1] = candidate
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
