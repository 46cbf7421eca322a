"""The header of a safetensors file: everything that it states is checked before anything is computed from it.

The format: https://huggingface.co/docs/safetensors. A header comes from a stranger, and pages read it, so the time that it takes
grows no faster than its length.
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import Any, NamedTuple

MAX_HEADER_BYTES = 8 * 2**20
MAX_DIMENSIONS, SIDE_LIMIT, FILE_LIMIT = 8, 2**31, 2**63
BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


class HeaderError(ValueError):
    """The header is not one that a sound file can have."""


class StoredTensor(NamedTuple):
    """One tensor of a file: its values lie in the bytes `start` to `stop`, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def parameters(self) -> int:
        return prod(self.shape)


def stated_length(start: bytes | bytearray) -> int | None:
    """Return the header's length that the first eight bytes of a file state; None where there are fewer."""
    return int(struct.unpack_from("<Q", start)[0]) if len(start) >= 8 else None


def end_of_header(start: bytes | bytearray) -> int:
    """Return how many bytes to read, given the first bytes of a file: up to the header's end, or eight where it is too long."""
    length = stated_length(start)
    return 8 if length is None or length > MAX_HEADER_BYTES else 8 + length


def parse(start: bytes | bytearray) -> list[StoredTensor]:
    """Return the tensors that a file states, in the order in which they lie, given its first bytes.

    Raises HeaderError unless the header is whole, at most `MAX_HEADER_BYTES` long, and names tensors of known types, of at most
    `MAX_DIMENSIONS` sides below `SIDE_LIMIT`, that fill the rest of the file without gap or overlap.
    """
    length = stated_length(start)
    if length is None or length > MAX_HEADER_BYTES or len(start) < 8 + length:
        raise HeaderError
    try:
        header = json.loads(start[8 : 8 + length])
    except (ValueError, RecursionError):
        raise HeaderError from None
    if not isinstance(header, dict):
        raise HeaderError
    tensors = sorted((_tensor(entry) for name, entry in header.items() if name != "__metadata__"), key=lambda tensor: tensor[2:])
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            raise HeaderError
        end = tensor.stop
    if not tensors:
        raise HeaderError
    return tensors


def _tensor(entry: Any) -> StoredTensor:
    if not isinstance(entry, dict):
        raise HeaderError
    dtype, shape, offsets = (entry.get(name) for name in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS:
        raise HeaderError
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_count(side, SIDE_LIMIT) for side in shape):
        raise HeaderError
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset, FILE_LIMIT) for offset in offsets):
        raise HeaderError
    tensor = StoredTensor(dtype, tuple(shape), *offsets)
    if tensor.parameters * BITS[dtype] != 8 * (tensor.stop - tensor.start):
        raise HeaderError
    return tensor


def _is_count(value: Any, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit
