"""Images as tensors: digits, folders and Parquet files, sizes and channels, and one sentence for what is broken."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pfd_engine.errors import InputError
from pfd_engine.training_sets.images import load_digits_images, load_images


def picture(height: int = 4, width: int = 4, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def encoded(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def as_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def test_digits_are_the_real_scans_scaled() -> None:
    digits = load_digits_images()
    assert digits.shape == (1797, 1, 8, 8)
    assert digits.dtype == torch.float32
    assert (digits.min(), digits.max()) == (-1, 1)
    assert digits[0, 0, 0].tolist() == [-1, -1, -0.375, 0.625, 0.125, -0.875, -1, -1]  # the first scan, a zero: 0 0 5 13 9 1 0 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path, channels: int) -> None:
    pictures = [picture(channels=channels, seed=seed) for seed in range(3)]
    (tmp_path / "sub").mkdir()
    for name, pixels in zip(("a.png", "b.PNG", "sub/c.bmp"), pictures, strict=True):
        (tmp_path / name).write_bytes(encoded(pixels, "BMP" if name.endswith("bmp") else "PNG"))
    (tmp_path / "notes.txt").write_text("not an image")
    assert torch.equal(load_images(str(tmp_path)), torch.stack([as_tensor(pixels) for pixels in pictures]))


@pytest.mark.parametrize("form", ["struct", "bytes"])
def test_parquet_files_hold_images_as_the_hub_stores_them(tmp_path: Path, form: str) -> None:
    pictures = [picture(seed=seed) for seed in range(150)]
    contents = [encoded(pixels) for pixels in pictures]
    for shard, part in enumerate((slice(0, 100), slice(100, 150))):
        images = [{"bytes": content, "path": None} for content in contents[part]] if form == "struct" else contents[part]
        labels = list(range(len(images)))
        write_parquet(
            tmp_path / "data" / f"train-0000{shard}-of-00002.parquet", {"label": labels, "blob": [b"x"] * len(images), "image": images}
        )
    assert torch.equal(load_images(str(tmp_path)), torch.stack([as_tensor(pixels) for pixels in pictures]))
    assert torch.equal(load_images(str(tmp_path), limit=7), torch.stack([as_tensor(pixels) for pixels in pictures[:7]]))


def test_a_split_is_chosen_by_the_files_names(tmp_path: Path) -> None:
    for index, name in enumerate(("train-00000-of-00001", "test-00000-of-00001")):
        write_parquet(tmp_path / "data" / f"{name}.parquet", {"image": [encoded(picture(seed=index))]})
    assert torch.equal(load_images(str(tmp_path), split="test")[0], as_tensor(picture(seed=1)))
    with pytest.raises(InputError, match="no images of the split validation"):
        load_images(str(tmp_path), split="validation")


def test_resizing_keeps_the_central_square(tmp_path: Path) -> None:
    pixels = np.zeros((8, 24), np.uint8)
    pixels[:, 8:16] = 200
    (tmp_path / "a.png").write_bytes(encoded(pixels))
    images = load_images(str(tmp_path), size=4)
    assert images.shape == (1, 1, 4, 4)
    torch.testing.assert_close(images, torch.full((1, 1, 4, 4), 200 / 127.5 - 1))


def test_gray_and_color_are_converted_where_asked(tmp_path: Path) -> None:
    gray, color = picture(channels=1), np.repeat(picture(channels=1, seed=1)[..., None], 3, 2)
    (tmp_path / "a.png").write_bytes(encoded(gray))
    (tmp_path / "b.png").write_bytes(encoded(color))
    both = torch.stack([as_tensor(gray), as_tensor(color[..., 0])])
    assert torch.equal(load_images(str(tmp_path)), both)
    assert torch.equal(load_images(str(tmp_path), gray=True), both)
    assert torch.equal(load_images(str(tmp_path), gray=False), both.expand(2, 3, 4, 4))


def test_images_of_different_sizes_ask_for_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(4, 4)))
    (tmp_path / "b.png").write_bytes(encoded(picture(4, 6)))
    with pytest.raises(InputError, match=r"b\.png is 3x4x6 but the first image is 3x4x4: choose a size"):
        load_images(str(tmp_path))
    assert load_images(str(tmp_path), size=4).shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", encoded(picture())[:40], "a.png is no readable image"),
        ("a.png", b"", "a.png is no readable image"),
        ("a.png", encoded(picture(), "GIF"), "a.png is no readable image"),
        ("a.png", encoded(np.zeros((2, 2), np.uint16)), "more than 8 bits"),
        ("a.png", encoded(np.zeros((8200, 8200), np.uint8)), "8200 x 8200 pixels"),
        ("a.parquet", b"PAR1 and nothing else", "a.parquet is no readable Parquet file"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_images(str(tmp_path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"label": [1], "text": ["a"]}, "no column of images among label, text"),
        ({"image": [{"bytes": None, "path": "a.png"}]}, "row 0 of a.parquet holds no image bytes"),
        ({"image": [b"junk"]}, "row 0 of a.parquet is no readable image"),
        ({"image": pyarrow.array([], pyarrow.binary())}, "the data set is empty"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, columns: dict[str, Any], sentence: str) -> None:
    write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError) as caught:
        load_images(str(tmp_path))
    assert sentence in str(caught.value)


def test_too_many_images_are_refused_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": [encoded(picture(seed=seed)) for seed in range(5)]})
    monkeypatch.setattr("pfd_engine.training_sets.images.MAX_VALUES", 4 * 48)
    with pytest.raises(InputError, match="give a limit or a smaller size"):
        load_images(str(tmp_path))
    assert len(load_images(str(tmp_path), limit=4)) == 4
    assert len(load_images(str(tmp_path), size=2)) == 5


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 10**6}, {"limit": 0}])
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    [name] = options
    with pytest.raises(InputError, match=name) as caught:
        load_images(str(tmp_path), **options)  # type: ignore[arg-type]
    assert caught.value.field == name


@pytest.mark.hub
def test_a_data_set_on_the_hub_is_read_at_its_revision(hub: Any) -> None:
    def parquet(seed: int) -> Any:
        return lambda folder: write_parquet(folder / "data" / "train-00000-of-00001.parquet", {"image": [encoded(picture(seed=seed))]})

    first = hub.add("images/random", parquet(1), "datasets")
    hub.add("images/random", parquet(2), "datasets")
    assert torch.equal(load_images("images/random")[0], as_tensor(picture(seed=2)))
    assert torch.equal(load_images(f"images/random@{first}", split="train")[0], as_tensor(picture(seed=1)))
