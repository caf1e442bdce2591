"""A look over the bytes of a model before the library makes objects of them.

The library refuses what is damaged, but takes some hundred bytes of memory for a message
of two bytes. So messages are counted first. This is also where tensors are found whose
data are said to stand in another file, wherever in a model they are: nothing is read from
such a model at all.
"""

from __future__ import annotations

from typing import Any

from gatewise.formats.errors import FormatError

__all__ = ["check"]

# Models of billions of parameters have some ten thousands.
_MOST_MESSAGES = 1_000_000
# What the library allows, so that both say the same.
_DEEPEST = 100
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
    # Where each message that is still to be looked at stands, what it is, and how the
    # errors call it.
    waiting = [(0, len(content), message.DESCRIPTOR, "")]
    depths = [0]
    messages = 0
    while waiting:
        start, end, descriptor, name = waiting.pop()
        depth = depths.pop()
        fields = _fields_of(descriptor)
        is_tensor = descriptor.name == "TensorProto"
        counts: dict[int, int] = {}
        while start < end:
            tag, start = _varint(content, start, end, name)
            number, kind = tag >> 3, tag & 7
            value = 0
            if kind in (0, 2):
                value, start = _varint(content, start, end, name)
            elif kind == 5:
                value = 4
            elif kind == 1:
                value = 8
            else:
                # ONNX has no groups.
                raise FormatError(f"{_where(name)} should be a message, got a damaged one")
            if kind and value > end - start:
                raise FormatError(
                    f"{_where(name)} should have {value} bytes at {start}, "
                    f"got {end - start}: the file is cut short or damaged"
                )
            if is_tensor and (
                number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)
            ):
                raise FormatError(
                    f"{_where(name)} should have its data in this file, "
                    "got a tensor with external data, which is never opened"
                )
            if kind == 2 and number in fields:
                inner, field = fields[number]
                index = counts[number] = counts.get(number, -1) + 1
                messages += 1
                if messages > _MOST_MESSAGES:
                    raise FormatError(
                        f"should have at most {_MOST_MESSAGES} messages, got more"
                    )
                if depth >= _DEEPEST:
                    raise FormatError(
                        f"should have at most {_DEEPEST} messages inside one another, "
                        "got more"
                    )
                waiting.append((start, start + value, inner, f"{name}.{field}[{index}]"))
                depths.append(depth + 1)
            if kind:
                start += value


def _fields_of(descriptor: Any) -> dict[int, tuple[Any, str]]:
    """Those fields of a message that are messages, by their numbers."""
    known = _KNOWN.get(descriptor.full_name)
    if known is None:
        known = _KNOWN[descriptor.full_name] = {
            field.number: (field.message_type, field.name)
            for field in descriptor.fields
            if field.message_type is not None
        }
    return known


_KNOWN: dict[str, dict[int, tuple[Any, str]]] = {}


def _varint(content: bytes, start: int, end: int, name: str) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = shift = 0
    while start < end and shift < 70:
        byte = content[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise FormatError(
        f"{_where(name)} should have a whole number at {start}, "
        "got the end of it: the file is cut short or damaged"
    )


def _where(name: str) -> str:
    return name.removeprefix(".") or "the model"
