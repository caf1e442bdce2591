"""The command line's own part: its errors, its statuses, and ``gatewise info``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gatewise
from gatewise import cli

# Without warnings of the backend, and with the buffers that hide what cannot be written.
ENVIRONMENT = os.environ | {"GATEWISE_BACKEND": "numpy", "PYTHONUNBUFFERED": ""}


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make ``gatewise fail`` a command that raises what it is given."""
    errors: list[BaseException] = []

    def add_commands(subparsers: Any) -> None:
        def fail(options: argparse.Namespace) -> None:
            raise errors[0]

        subparsers.add_parser("fail").set_defaults(run=fail)

    monkeypatch.setattr(cli.commands, "add_commands", add_commands)
    return errors.append


def missing_file() -> OSError:
    try:
        Path("no such file").read_bytes()
    except OSError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (missing_file(), 1, "no such file: No such file or directory"),
        (OSError("the disk\nis full"), 1, "the disk is full"),
        (OSError(errno.ENOSPC, "No space left"), 1, "No space left"),
        (ValueError("the model is damaged"), 1, "the model is damaged"),
        (MemoryError(), 1, "MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_expected_failure_is_one_line(
    error: BaseException,
    status: int,
    message: str,
    raising: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raising(error)
    assert cli.main(["fail"]) == status
    captured = capsys.readouterr()
    assert captured.err == f"gatewise: error: {message}\n"
    assert captured.out == ""


def test_a_mistake_of_ours_keeps_its_traceback(raising: Any) -> None:
    raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["fail"])


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("command", "status", "left"),
    [
        ("info >&-", 0, ""),
        ("info 2>&-", 0, "gatewise "),
        ("train missing >&-", 1, "gatewise: error: missing: No such file"),
        ("train missing 2>&-", 1, ""),
    ],
)
def test_closed_streams_change_nothing_else(command: str, status: int, left: str) -> None:
    done = subprocess.run(
        f'"{sys.executable}" -m gatewise {command}',
        shell=True,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert (done.stdout + done.stderr).startswith(left)
    assert bool(done.stdout + done.stderr) == bool(left)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gatewise", "info"],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "gatewise: error: No space left on device\n"


# As pip writes it, and calls it.
SCRIPT = """
import sys
from gatewise.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.parametrize("how", ["module", "script"])
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"GATEWISE_BACKEND": "fast"},
            "GATEWISE_BACKEND should be one of auto, native, numpy, got 'fast'",
        ),
        (
            {"GATEWISE_NUM_THREADS": "many"},
            "GATEWISE_NUM_THREADS should be a whole number of at least 1, got 'many'",
        ),
        ({"GATEWISE_ISA": "mmx", "GATEWISE_BACKEND": "auto"}, "GATEWISE_ISA"),
    ],
)
def test_a_wrong_environment_is_one_line(
    tmp_path: Path, how: str, variables: dict[str, str], message: str, backend: str
) -> None:
    if backend == "numpy" and "GATEWISE_ISA" in variables:
        pytest.skip("NumPy chooses its instructions itself")
    script = tmp_path / "gatewise"
    script.write_text(SCRIPT)
    paths = [str(Path(gatewise.__file__).parent.parent), *sys.path]
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)} | variables
    commands = {"module": ["-m", "gatewise"], "script": [str(script)]}
    for arguments in (["info"], ["train", "--help"]):
        command = [sys.executable, *commands[how], *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(f"gatewise: error: {message}"), done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_a_program_that_imports_gatewise_gets_the_exception(tmp_path: Path) -> None:
    # Also where it is a package that Python looks into to run it.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").write_text("import gatewise")
    (tmp_path / "other" / "__main__.py").write_text("")
    paths = [str(Path(gatewise.__file__).parent.parent), str(tmp_path), *sys.path]
    environment = ENVIRONMENT | {
        "PYTHONPATH": os.pathsep.join(paths),
        "GATEWISE_BACKEND": "fast",
    }
    for command in (["-c", "import gatewise"], ["-m", "other"]):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True
        )
        assert "Traceback" in done.stderr
        assert "ValueError: GATEWISE_BACKEND should be" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["sing"], ["info", "more"]])
def test_wrong_usage_says_how_to_use_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: gatewise" in capsys.readouterr().err


def test_info_is_the_configuration(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    gatewise.show_config()
    assert printed == capsys.readouterr().out
    assert f"{backend}: " in printed


def test_info_for_programs(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gatewise"] == gatewise.__version__
    assert found["backend"]["name"] == backend
    assert found["threads"]["number"] == gatewise.get_num_threads()
    assert (found["instruction_set"] in found["instruction_sets"]) == (backend == "native")
    assert found["numpy"].split(".")[0].isdigit()


SHELLS = {"bash": "complete ", "zsh": "compdef", "fish": "complete ", "tcsh": "complete "}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("argcomplete")
    assert cli.main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert "gatewise" in printed
    assert SHELLS[shell] in printed


def test_without_argcomplete_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert cli.main(["completion", "bash"]) == 1
    assert capsys.readouterr().err == (
        "gatewise: error: completion needs argcomplete: "
        "pip install 'gatewise[completion]'\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gatewise in", {"info", "inspect"}),
        ("gatewise info --j", {"--json"}),
        ("gatewise train --cell ", {"gru", "lstm", "rnn"}),
        ("gatewise completion z", {"zsh"}),
    ],
)
def test_a_shell_is_told_how_it_goes_on(typed: str, offered: set[str]) -> None:
    pytest.importorskip("argcomplete")
    paths = [str(Path(gatewise.__file__).parent.parent), *sys.path]
    environment = ENVIRONMENT | {
        "PYTHONPATH": os.pathsep.join(paths),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " ",
        "COMP_LINE": typed,
        "COMP_POINT": str(len(typed)),
        "COMP_TYPE": "9",
    }
    # Answers go to a descriptor of their own.
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m gatewise 8>&1 9>/dev/null >/dev/null'],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert {word.strip() for word in done.stdout.split("\013")} == offered, done


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gatewise", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout == f"gatewise {gatewise.__version__}\n"
