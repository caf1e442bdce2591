"""Other people's files and gatewise's own: read without any trust, and written."""

from __future__ import annotations

from gatewise.formats.errors import FormatError
from gatewise.formats.json_networks import from_rtneural
from gatewise.formats.nam import from_nam, to_nam

__all__ = ["FormatError", "from_nam", "from_rtneural", "to_nam"]
