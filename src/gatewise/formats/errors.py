"""What is raised where a file cannot be taken for what it should be."""

from __future__ import annotations

__all__ = ["FormatError"]


class FormatError(ValueError):
    """A file that is damaged, hostile, of another format, or says too little or too much.

    Its message begins with the path, and says what is wrong and where.
    """
