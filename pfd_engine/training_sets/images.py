"""Images as tensors `(N, C, H, W)`, float32 in [-1, 1]: scikit-learn's digits, image folders, image data sets on the Hub."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pfd_engine.errors import InputError
from pfd_engine.hub.references import FolderReference, parse_reference
from pfd_engine.hub.resolve import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

MAX_IMAGES, MAX_VALUES = 2**21, 2**31
MAX_SIDE, MAX_PIXELS = 4096, 2**26
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png")
PATTERNS = tuple(f"*{form}" for suffix in (*IMAGE_SUFFIXES, ".parquet") for form in (suffix, suffix.upper()))

Report = Callable[[dict[str, Any]], None]


def load_digits_images() -> Tensor:
    """Return scikit-learn's handwritten digits, `(1797, 1, 8, 8)`: gray values 0..16 scaled to [-1, 1]. Nothing is downloaded."""
    import torch
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1


def load_images(
    reference: str,
    *,
    size: int | None = None,
    gray: bool | None = None,
    limit: int | None = None,
    split: str | None = None,
    report: Report | None = None,
) -> Tensor:
    """Load the images of a Hub data set or a folder: image files, or an image column of Parquet files, in the order of their names.

    `size` crops each image to its central square and resizes it to that many pixels (None: all must have one size already).
    `gray` True makes one channel and False three; None takes one where the first image is gray. Transparency is ignored. `limit` takes
    only the first images; `split` only files with that word in their path, such as `train`. Raises InputError with one sentence.
    """
    for name, value, most in (("size", size, MAX_SIDE), ("limit", limit, MAX_IMAGES)):
        if value is not None and not 1 <= value <= most:
            raise InputError(f"{name} is {value}: give a whole number from 1 to {most:,}", name)
    try:
        folder = isinstance(parse_reference(reference), FolderReference)
    except ValueError as error:
        raise InputError(str(error)) from None
    snapshot = resolve(reference, allow=PATTERNS, repo_type="model" if folder else "dataset", report=report)
    names = [name for name in snapshot.files if split is None or split in name.replace("/", "-").replace(".", "-").split("-")]
    if not names:
        raise InputError(
            f"{reference} has no images{f' of the split {split}' if split else ''}: "
            f"give one with Parquet files or {', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)} files"
        )
    pictures = (picture for name in names for picture in _pictures(snapshot.path / name, name))
    return _stack(islice(pictures, MAX_IMAGES + 1 if limit is None else limit), size, gray)


def _pictures(path: Path, name: str) -> Iterator[tuple[str, Path | io.BytesIO]]:
    """Yield the name and the encoded bytes of each image in one file."""
    if path.suffix.lower() != ".parquet":
        yield name, path
        return
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            column = _image_column(file.schema_arrow, name)
            row = 0
            for batch in file.iter_batches(batch_size=64, columns=[column]):
                for value in batch.column(column).to_pylist():
                    content = value.get("bytes") if isinstance(value, dict) else value
                    if not content:
                        raise InputError(f"row {row} of {name} holds no image bytes: store the images inside the Parquet file")
                    yield f"row {row} of {name}", io.BytesIO(content)
                    row += 1
    except (pyarrow.ArrowException, OSError):
        raise InputError(f"{name} is no readable Parquet file: fetch or write it again") from None


def _image_column(schema: Any, name: str) -> str:
    """Return the column of encoded images: bytes, or the Hub's struct of bytes and path; usual names first."""
    import pyarrow.types as types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    columns = [field.name for field in schema if holds_bytes(field.type)]
    if not columns:
        raise InputError(f"{name} has no column of images among {', '.join(schema.names)[:200]}: give a data set of images")
    return next((column for column in IMAGE_COLUMNS if column in columns), columns[0])


def _stack(pictures: Iterator[tuple[str, Path | io.BytesIO]], size: int | None, gray: bool | None) -> Tensor:
    """Decode the images one by one into one tensor."""
    import torch

    rows: list[NDArray[np.uint8]] = []
    for name, source in pictures:
        image = _decode(name, source)
        gray = image.mode in ("1", "L", "LA") if gray is None else gray
        row = _pixels(image, size, gray)
        if rows and row.shape != rows[0].shape:
            raise InputError(f"{name} is {_by(row)} but the first image is {_by(rows[0])}: choose a size, to which all are resized")
        rows.append(row)
        if len(rows) > MAX_IMAGES or len(rows) * row.size > MAX_VALUES:
            raise InputError(
                f"there are more than {len(rows) - 1:,} images of {_by(row)}, which is too many: give a limit or a smaller size"
            )
    if not rows:
        raise InputError("the data set is empty: give one with images")
    return torch.from_numpy(np.stack(rows)).float().div_(127.5).sub_(1)


def _decode(name: str, source: Path | io.BytesIO) -> Image.Image:
    """Decode one image of 8 bits a channel and of bounded size."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=IMAGE_FORMATS) as opened:
                if math.prod(opened.size) > MAX_PIXELS:
                    raise InputError(f"{name} has {opened.width} x {opened.height} pixels: give images of at most {MAX_PIXELS:,}")
                image = opened.copy()
    except InputError:
        raise
    except Exception:  # decoders fail in many ways; none of them is more than an unreadable image
        raise InputError(f"{name} is no readable image: repair or remove it") from None
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{name} has more than 8 bits a channel: convert it to 8 bits")
    return image


def _pixels(image: Image.Image, size: int | None, gray: bool) -> NDArray[np.uint8]:
    """Return `(C, H, W)`, uint8."""
    from PIL import Image

    image = image.convert("L" if gray else "RGB")
    if size is not None and image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    values = np.asarray(image, dtype=np.uint8)
    return values[None] if gray else np.ascontiguousarray(values.transpose(2, 0, 1))


def _by(row: NDArray[np.uint8]) -> str:
    return "x".join(map(str, row.shape))
