# PYTHON_ARGCOMPLETE_OK
"""The command line, ``gatewise``, over the public interface only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import gatewise
from gatewise import _config
from gatewise.formats.inspection import command as inspect_command
from gatewise.training import commands

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Examples
    --------
    >>> from gatewise.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    gatewise         ...
    0
    """
    _open_streams()
    parser = _parser()
    _complete(parser)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
        print(end="", flush=True)
    except BrokenPipeError:
        # The reader has gone, and knows it.
        _discard_output()
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except (OSError, ValueError, MemoryError) as error:
        _discard_output()
        return _fail(_in_one_line(error), 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatewise", description="Train recurrent networks on the CPU, and use them."
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {gatewise.__version__}"
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_commands(subparsers)
    inspect_command.add_command(subparsers)
    info = subparsers.add_parser(
        "info", help="say which backend runs and why, and on what machine"
    )
    info.add_argument("--json", action="store_true", help="print JSON, for programs")
    info.set_defaults(run=_info)
    completion = subparsers.add_parser(
        "completion",
        help="print what lets a shell complete commands, options and files",
        description="Print a script that lets a shell complete gatewise's commands, "
        'options and files. For bash: eval "$(gatewise completion bash)" in ~/.bashrc. '
        "It needs argcomplete: pip install 'gatewise[completion]'.",
    )
    completion.add_argument("shell", choices=_SHELLS, help="which shell")
    completion.set_defaults(run=_completion)
    return parser


_SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def _info(options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(_config.plain_config(), indent=2))
    else:
        gatewise.show_config()


def _argcomplete() -> Any:
    try:
        import argcomplete
    except ImportError as error:
        raise ValueError(
            "completion needs argcomplete: pip install 'gatewise[completion]'"
        ) from error
    return argcomplete


def _completion(options: argparse.Namespace) -> None:
    print(_argcomplete().shellcode(["gatewise"], shell=options.shell))


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks how what is typed could go on, and end; else do nothing."""
    if "_ARGCOMPLETE" in os.environ:
        _argcomplete().autocomplete(parser)


def _open_streams() -> None:
    """Give what is written somewhere to go, where the caller closed stdout or stderr."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Open for as long as the process lives.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _discard_output() -> None:
    """Let go of output that cannot be written, or Python fails on it again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> int:
    print(f"gatewise: error: {message}", file=sys.stderr)
    return status


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = error.filename is not None
        return (
            f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
        )
    return " ".join(str(error).split()) or type(error).__name__
