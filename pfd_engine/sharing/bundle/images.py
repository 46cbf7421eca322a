"""PNGs that others may be given, or that came from others: decoded within limits and written anew, without anything but pixels."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

MAX_PIXELS = 2**20
COLUMNS = ("teacher_png", "student_png", "nearest_png", "empirical_png")
PER_ROW, GAP = 24, 2


def clean_png(data: bytes) -> bytes:
    """Decode a PNG of at most 2^20 pixels and write it anew, gray or RGB; raises ValueError for anything else."""
    image = decoded(data)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def decoded(data: bytes) -> Image.Image:
    """Return the first image of a PNG as gray or RGB, without what its file says besides; raises ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
                if math.prod(opened.size) > MAX_PIXELS:
                    raise ValueError(f"an image has {opened.width} x {opened.height} pixels, and {MAX_PIXELS:,} are allowed")
                image = opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB")
    except ValueError:
        raise
    except Exception:  # decoders fail in many ways; none of them is more than an unreadable image
        raise ValueError("an image cannot be read") from None
    image.info.clear()
    return image


def wall_png(pairs: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return one picture of same-noise pairs, a column a pair by rank: teacher, student and, where kept, the nearest training image.

    At most 24 pairs, spread evenly over the ranks; small images are enlarged by whole numbers, pixel by pixel. None without images.
    """
    whole = (pair for pair in pairs if pair["teacher_png"] and pair["student_png"] and pair["group"] != "first")
    found = sorted(whole, key=lambda pair: (pair["rank"], pair["seed"]))
    if len(found) > PER_ROW:
        found = [found[round(i * (len(found) - 1) / (PER_ROW - 1))] for i in range(PER_ROW)]
    if not found:
        return None
    columns = [[decoded(pair[name]) if pair[name] else None for name in COLUMNS[:3]] for pair in found]
    side = max(max(image.size) for column in columns for image in column if image is not None)
    scale = max(1, 64 // side)
    step, rows = side * scale + GAP, 3 if any(column[2] is not None for column in columns) else 2
    wall = Image.new("RGB", (len(columns) * step + GAP, rows * step + GAP), "white")
    for i, column in enumerate(columns):
        for j, image in enumerate(column[:rows]):
            if image is not None:
                enlarged = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
                wall.paste(enlarged, (GAP + i * step, GAP + j * step))
    stream = io.BytesIO()
    wall.save(stream, "PNG", optimize=True)
    return stream.getvalue()
