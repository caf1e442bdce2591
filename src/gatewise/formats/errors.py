"""What is raised where a file cannot be taken for what it should be."""

from __future__ import annotations

__all__ = ["ArgumentNeeded", "FormatError"]


class FormatError(ValueError):
    """A file that is damaged, hostile, of another format, or says too little or too much.

    Its message begins with the path, and says what is wrong and where.

    Examples
    --------
    >>> import os, tempfile
    >>> import gatewise
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = os.path.join(directory, "model.pt")
    ...     with open(path, "w") as file:
    ...         _ = file.write("<html>Not found</html>")
    ...     try:
    ...         gatewise.load_arrays(path)
    ...     except gatewise.FormatError as error:
    ...         print(str(error).removeprefix(path))
    : is an HTML page, which a download can give instead
    """


class ArgumentNeeded(FormatError):
    """A file that does not say what an argument then has to.

    Parameters
    ----------
    message
        What is not said, and what could be.
    argument
        The argument's name.
    answer
        The first of the answers that the message offers.
    """

    def __init__(self, message: str, argument: str, answer: str | bool) -> None:
        super().__init__(message)
        self.argument = argument
        self.answer = answer
