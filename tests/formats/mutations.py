"""Files made a little wrong, in the many ways that a damaged or a hostile one can be."""

from __future__ import annotations

import gzip
import io
import random
import re
import zipfile
from collections.abc import Sequence

# What lengths, offsets and counts are replaced with.
_NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 65535, 65536, 10**6]
_NUMBERS += [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**33, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
_BYTES = [0, 1, 0x20, 0x2D, 0x7F, 0x80, 0xFF]


def mutated(examples: Sequence[bytes], draw: random.Random) -> bytes:
    """One of the examples, changed in one to four places, inside of what packs it too."""
    data = draw.choice(examples)
    if draw.random() < 0.75:
        inner = _inside(data, examples, draw)
        if inner is not None:
            return inner
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        data = _changed(data, examples, draw)
    return data


def _inside(data: bytes, examples: Sequence[bytes], draw: random.Random) -> bytes | None:
    """The same packing around changed content, so that its checksums are right again."""
    if data.startswith(b"\x1f\x8b"):
        return gzip.compress(_changed(gzip.decompress(data), examples, draw), 1)
    if not data.startswith(b"PK"):
        return None
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(packed, "w") as target,
    ):
        names = source.namelist()
        chosen = draw.choice(names)
        for info in source.infolist():
            content = source.read(info)
            if info.filename == chosen:
                kind = draw.random()
                if kind < 0.05:
                    continue
                content = mutated([content], draw) if content else b"\x00"
            target.writestr(info, content)
    return packed.getvalue()


def _changed(data: bytes, examples: Sequence[bytes], draw: random.Random) -> bytes:
    changes = [_truncated, _flipped, _set, _number, _inserted, _removed, _repeated]
    changes += [_number, _digits, _digits, _swapped]
    if draw.random() < 0.05:
        other = draw.choice(examples)
        return data[: _place(data, draw)] + other[_place(other, draw) :]
    return draw.choice(changes)(data, draw)


def _place(data: bytes, draw: random.Random) -> int:
    """A position; at the beginning and at the end more often, since headers are there."""
    size = len(data)
    kind = draw.random()
    if kind < 0.4:
        return draw.randrange(min(size, 256) + 1)
    if kind < 0.6:
        return size - draw.randrange(min(size, 256) + 1)
    return draw.randrange(size + 1)


def _truncated(data: bytes, draw: random.Random) -> bytes:
    return data[: _place(data, draw)]


def _flipped(data: bytes, draw: random.Random) -> bytes:
    return _overwritten(data, draw, lambda old: bytes([old[0] ^ 1 << draw.randrange(8)]), 1)


def _set(data: bytes, draw: random.Random) -> bytes:
    return _overwritten(data, draw, lambda old: bytes([draw.choice(_BYTES)]), 1)


def _number(data: bytes, draw: random.Random) -> bytes:
    size = draw.choice([1, 2, 4, 8])
    value = draw.choice(_NUMBERS) % 256**size
    return _overwritten(
        data, draw, lambda old: value.to_bytes(size, draw.choice(["little", "big"])), size
    )


def _overwritten(data: bytes, draw: random.Random, make: object, size: int) -> bytes:
    place = min(_place(data, draw), max(len(data) - size, 0))
    old = data[place : place + size] or b"\x00"
    return data[:place] + make(old) + data[place + size :]  # type: ignore[operator]


def _inserted(data: bytes, draw: random.Random) -> bytes:
    place = _place(data, draw)
    return data[:place] + draw.randbytes(draw.choice([1, 2, 8, 100])) + data[place:]


def _removed(data: bytes, draw: random.Random) -> bytes:
    place = _place(data, draw)
    return data[:place] + data[place + draw.choice([1, 2, 4, 8, 64]) :]


def _repeated(data: bytes, draw: random.Random) -> bytes:
    place = _place(data, draw)
    return (
        data[:place] + data[place : place + draw.choice([1, 8, 64, 512])] * 2 + data[place:]
    )


def _swapped(data: bytes, draw: random.Random) -> bytes:
    first, second = sorted((_place(data, draw), _place(data, draw)))
    return data[:first] + data[second:] + data[first:second]


def _digits(data: bytes, draw: random.Random) -> bytes:
    """One of the numbers that stand in the file as text becomes another."""
    found = list(re.finditer(rb"-?\d+", data[: 1 << 16]))
    if not found:
        return _number(data, draw)
    one = draw.choice(found)
    texts = [str(number).encode() for number in _NUMBERS]
    texts += [b"-1", b"1e999", b"NaN", b"null", b'"x"', b"[]", b"9" * 5000, b"0.5", b"true"]
    return data[: one.start()] + draw.choice(texts) + data[one.end() :]
