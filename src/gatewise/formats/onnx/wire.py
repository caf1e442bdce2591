"""A look over the bytes of a model before the library makes objects of them.

The library refuses what is damaged, but takes some hundred bytes of memory for a message
of two bytes, and has no texts but bytes where they are not in UTF-8. So messages are
counted first, and texts read. This is also where tensors are found whose data are said to
stand in another file, wherever in a model they are: nothing is read from such a model.
"""

from __future__ import annotations

from typing import Any

from gatewise.formats.errors import FormatError

__all__ = ["check"]

# Models of billions of parameters have some ten thousands.
_MOST_MESSAGES = 1_000_000
# What the library allows, so that both say the same.
_DEEPEST = 100
# How a field is written: as a number, as so many bytes, or as bytes after their number.
_NUMBER, _BYTES, _FIXED = 0, 2, {1: 8, 5: 4}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def check(content: bytes, message: Any) -> None:
    """Refuse `content` if it is no message of this class, or one that costs too much.

    Raises
    ------
    FormatError
        If it is damaged, has too many messages, or refers to another file.

    References
    ----------
    "Encoding", protobuf.dev/programming-guides/encoding; and
    "External data", onnx.ai/onnx/repo-docs/ExternalData.html
    """
    # The message that is looked at, and those around it.
    frames = [_Frame(0, len(content), message.DESCRIPTOR, "")]
    messages = 0
    while frames:
        frame = frames[-1]
        if frame.start >= frame.end:
            frames.pop()
            continue
        tag = _varint(content, frames)
        number, kind = tag >> 3, tag & 7
        size = _FIXED.get(kind, 0)
        value = _varint(content, frames) if kind in (_NUMBER, _BYTES) else 0
        if kind == _BYTES:
            size = value
        elif kind != _NUMBER and not size:
            # ONNX has no groups.
            raise FormatError(
                f"{_where(frames)} should have fields of ONNX, got other bytes before "
                f"{frame.start}: the file is damaged or another one"
            )
        if size > frame.end - frame.start:
            raise FormatError(
                f"{_where(frames)} should have {size} bytes at {frame.start}, got "
                f"{frame.end - frame.start}: the file is cut short or damaged"
            )
        if frame.is_tensor and (
            number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)
        ):
            raise FormatError(
                f"{_where(frames)} should have its data in this file, "
                "got a tensor with external data, which is never opened; "
                "onnx.save(onnx.load(path), new_path) puts all into one file"
            )
        start = frame.start
        frame.start += size
        inner = frame.fields.get(number) if kind == _BYTES else None
        if inner is _TEXT:
            try:
                content[start : start + size].decode()
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{_where(frames)} should have texts in UTF-8, got others at {start}"
                ) from error
        elif inner is not None:
            messages += 1
            if messages > _MOST_MESSAGES:
                raise FormatError(
                    f"should have at most {_MOST_MESSAGES} messages, got more"
                )
            if len(frames) > _DEEPEST:
                raise FormatError(
                    f"should have at most {_DEEPEST} messages inside one another, got more"
                )
            index = frame.counts[number] = frame.counts.get(number, -1) + 1
            name = f"{inner[1]}[{index}]"
            frames.append(_Frame(start, start + size, inner[0], name))


class _Frame:
    """A message: where what is not looked at yet begins and ends, and what it may have."""

    __slots__ = ("counts", "end", "fields", "is_tensor", "name", "start")

    def __init__(self, start: int, end: int, descriptor: Any, name: str) -> None:
        self.start, self.end, self.name = start, end, name
        self.fields = _fields_of(descriptor)
        self.is_tensor = descriptor.name == "TensorProto"
        self.counts: dict[int, int] = {}


_TEXT = (None, "")
_KNOWN: dict[str, dict[int, tuple[Any, str]]] = {}


def _fields_of(descriptor: Any) -> dict[int, tuple[Any, str]]:
    """Those fields of a message that are messages, by their numbers, and `_TEXT`s."""
    known = _KNOWN.get(descriptor.full_name)
    if known is None:
        known = _KNOWN[descriptor.full_name] = {
            field.number: _TEXT
            if field.message_type is None
            else (field.message_type, field.name)
            for field in descriptor.fields
            if field.message_type is not None or field.type == field.TYPE_STRING
        }
    return known


def _varint(content: bytes, frames: list[_Frame]) -> int:
    """The number that comes next."""
    frame = frames[-1]
    value = shift = 0
    while frame.start < frame.end and shift < 70:
        byte = content[frame.start]
        frame.start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
    raise FormatError(
        f"{_where(frames)} should have a whole number at {frame.start}, got the end of it: "
        "the file is cut short or damaged"
    )


def _where(frames: list[_Frame]) -> str:
    return ".".join(frame.name for frame in frames[1:]) or "the model"
