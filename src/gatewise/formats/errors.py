"""What is raised where a file cannot be taken for what it should be."""

from __future__ import annotations

__all__ = ["FormatError"]


class FormatError(ValueError):
    """A file that is damaged, hostile, of another format, or says too little or too much.

    Its message begins with the path, and says what is wrong and where.

    Examples
    --------
    >>> import os
    >>> from gatewise.formats.opening import open_regular
    >>> try:
    ...     with open_regular(os.curdir) as file:
    ...         pass
    ... except gatewise.FormatError as error:
    ...     print(error)
    .: should be a regular file, got a directory
    """
