"""Files that are replaced whole: many writers, kills, modes, and what is no file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gatewise.formats import files
from gatewise.formats.files import check_writable, replacing
from gatewise.training import load_checkpoint, save_checkpoint
from tests import saving_stress as stress

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


def save(path: Path, number: int = 0) -> None:
    save_checkpoint(path, "example", {"a": np.arange(5)}, {"number": number})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
def test_processes_that_write_to_one_path_leave_whole_files(tmp_path: Path) -> None:
    reads = stress.by_processes(tmp_path / "model.safetensors", writers=3, saves=20)
    assert reads > 0
    assert os.listdir(tmp_path) == ["model.safetensors"]


@posix
def test_threads_that_write_to_one_path_leave_whole_files(tmp_path: Path) -> None:
    reads = stress.by_threads(tmp_path / "model.safetensors", writers=3, saves=20)
    assert reads > 0
    assert os.listdir(tmp_path) == ["model.safetensors"]


@posix
def test_a_process_of_the_same_number_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in containers, where most programs have a low one.
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "model.safetensors"
    with replacing(path) as first:
        first.write(b"first, ")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"and whole")
    assert path.read_bytes() == b"first, and whole"


@posix
def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for wanted in (0o600, 0o640, 0o400, 0o666):
        save(path)
        path.chmod(wanted)
        seen = []
        with replacing(path) as file:
            seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        assert seen == [wanted]
        assert mode(path) == wanted
        path.unlink()


@posix
def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    for umask in (0o022, 0o077, 0o002):
        before = os.umask(umask)
        try:
            save(tmp_path / "model.safetensors")
        finally:
            os.umask(before)
        assert mode(tmp_path / "model.safetensors") == 0o666 & ~umask
        (tmp_path / "model.safetensors").unlink()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs the superuser"
)
def test_the_owner_of_a_file_stays_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save(path)
    os.chown(path, 1234, 4321)
    save(path, 1)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)

    def refused(descriptor: int, owner: int, group: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refused)
    save(path, 2)
    assert load_checkpoint(path, "example")[1] == {"number": 2}


@posix
def test_what_a_killed_writer_left_goes_with_the_next_save(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    script = f"""
import os, signal
from gatewise.formats.files import replacing
with replacing({str(path)!r}) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script])
    assert len(list(tmp_path.glob(".model.safetensors.*.partial"))) == 1
    others = {
        ".other.npz.1.partial",
        ".model.safetensors.a.b.partial",
        ".model.safetensors.partial",
    }
    for name in others:
        (tmp_path / name).write_bytes(b"")
    save(path)
    assert set(os.listdir(tmp_path)) == {"model.safetensors"} | others


@posix
@pytest.mark.parametrize("dying", ["process", "thread"])
def test_what_a_living_writer_writes_stays(tmp_path: Path, dying: str) -> None:
    path = tmp_path / "model.safetensors"
    if dying == "thread":
        with replacing(path) as file:
            thread = threading.Thread(target=save, args=[path])
            thread.start()
            thread.join()
            file.write(b"last")
    else:
        with replacing(path) as file:
            script = f"from tests.formats.test_files import *; save(Path({str(path)!r}))"
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
            }
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", script], env=environment, check=True
            )
            assert load_checkpoint(path, "example")[1] == {"number": 0}
            file.write(b"last")
    assert path.read_bytes() == b"last"
    assert os.listdir(tmp_path) == ["model.safetensors"]


@posix
def test_a_writer_whose_file_is_cleaned_up_before_its_lock_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    flock = files.fcntl.flock
    taken = []

    def late(file: object, operation: int) -> None:
        if not taken:
            taken.extend(tmp_path.glob(".*.partial"))
            taken[0].unlink()
        flock(file, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    save(path)
    assert len(taken) == 1
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("locks", ["there are none", "they fail"])
def test_without_locks_age_tells_what_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    if locks == "there are none":
        monkeypatch.setattr(files, "fcntl", None)
    elif files.fcntl is None:
        pytest.skip("there are none here")
    else:

        def fails(file: object, operation: int) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr(files.fcntl, "flock", fails)
    path = tmp_path / "model.safetensors"
    young, old = (
        tmp_path / f".model.safetensors.{age}.partial" for age in ("young", "old")
    )
    for left, age in ((young, 3600), (old, 2 * 24 * 3600)):
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age, time.time() - age))
    save(path)
    assert sorted(os.listdir(tmp_path)) == [young.name, "model.safetensors"]


@posix
def test_a_failed_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


@posix
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "directory").mkdir()
    for name, message in [
        ("pipe", "is not a regular file"),
        ("link", "is not a regular file"),
        ("directory", "is a directory"),
    ]:
        for write in (save, check_writable):
            with pytest.raises(OSError, match=rf"{message}: '.*{name}'"):
                write(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["directory", "link", "pipe"]


@posix
def test_a_directory_that_may_not_be_read_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    real = os.open

    def no_directories(path: str, flags: int, *more: int) -> int:
        if flags & os.O_DIRECTORY:
            refused(path)
        return real(path, flags, *more)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "open", no_directories)
    save(tmp_path / "model.safetensors", 3)
    assert load_checkpoint(tmp_path / "model.safetensors", "example")[1] == {"number": 3}


@posix
def test_the_entry_of_the_directory_is_synced_after_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append(("directory" if is_directory else "file", path.exists()))
        real(descriptor)

    path = tmp_path / "model.safetensors"
    monkeypatch.setattr(os, "fsync", watched)
    save(path)
    assert synced == [("file", False), ("directory", True)]


def test_a_path_that_ends_as_a_folder_is_none_of_a_file(tmp_path: Path) -> None:
    path = f"{tmp_path / 'new'}{os.sep}"
    with (
        pytest.raises(IsADirectoryError, match="is a directory") as caught,
        replacing(path),
    ):
        pass
    assert caught.value.filename == path
    assert not list(tmp_path.iterdir())


def test_an_error_shows_the_path_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught, replacing(path):
        pass
    assert str(caught.value).endswith(repr(str(path)))


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path, name: str) -> None:
    for content in (b"old", b"new"):
        with replacing(tmp_path / name) as file:
            file.write(content)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
