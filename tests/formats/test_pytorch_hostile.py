"""Files of PyTorch's that lie, are damaged, or bring code with them."""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
import time
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.reading import open_pytorch
from gatewise.formats.reading import load_arrays
from tests import new_process
from tests.formats import torch_files as made
from tests.formats.test_pickles import MALICE

NEGATIVE = b"}X\x03\0\0\0neg\x88s"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
SIX = np.arange(6, dtype="<f4").tobytes()


def old_keys(*names: str) -> bytes:
    return b"\x80\x02](" + b"".join(map(made.text, names)) + b"e."


def old_storage(length: int, content: bytes) -> bytes:
    return length.to_bytes(8, "little") + content


def read_all(file: io.BytesIO) -> dict[str, np.ndarray]:
    container = open_pytorch(file)
    return {name: container.read(name) for name in container.headers}


@pytest.mark.parametrize(
    ("views", "wanted"),
    [
        ([made.tensor((2, 3), (3, 1), 1)], "got one from 1 to 6"),
        ([made.tensor((7,), (1,))], "got one from 0 to 6"),
        ([made.tensor((2,), (6,))], "got one from 0 to 6"),
        ([made.tensor((2, 2), (2**62, 2**62))], "lie in the 6 elements"),
        ([made.tensor((2,), (-1,), 5)], "consist of sizes"),
        ([made.tensor((-2,), (1,))], "consist of sizes"),
        ([made.tensor((1,), (1,), -1)], "got one from -1 to -1"),
        ([made.tensor((1,), (1,), 2**70)], "lie in the 6 elements"),
        ([made.tensor((0, 2**62), (1, 1))], "fits into memory"),
        ([made.tensor((2,) * 33, (0,) * 33)], "at most 32 sizes"),
        ([made.tensor((2, 3), (1,))], "2 strides should be there, got 1"),
        ([made.tensor((2**31,), (0,))], r"take 8589935104 bytes, and at most \d+ are read"),
        ([made.tensor((2**24,), (0,))] * 5, r"take \d+ bytes, and at most 67108864 are"),
        ([made.tensor(source=made.storage(2**31))], "got 24 bytes"),
        ([made.tensor(source=made.storage(7))], "got 24 bytes"),
        ([made.tensor(source=made.storage(-1))], "got 24 bytes"),
        ([made.tensor(source=made.storage(2**70))], "got 24 bytes"),
        ([made.tensor(source=made.storage(6, "DoubleStorage"))], "got 24 bytes"),
        ([made.tensor(source=made.storage(6, "system"))], "a class of storages"),
        ([made.tensor(source=made.storage(key="1"))], "'net/data/1' is not there"),
        ([made.tensor(source=made.storage(key="../data.pkl"))], "is not there"),
        ([made.tensor(source=made.storage(key="../../../etc/passwd"))], "is not there"),
        ([made.tensor(source=made.storage(key="x" * 200))], "a short text"),
        ([made.tensor(source=made.text("net/data/0") + b"Q")], "should be a storage"),
        (
            [made.tensor((2,), (1,), 0, made.storage(24, "BoolStorage"), NEGATIVE)],
            "no negative",
        ),
        ([made.tensor(source=b"]")], "a tensor should be made, got the arguments"),
        # What broke the memory of another reader: entries set in what is no dictionary.
        ([made.tensor() + b"K\x00K\x01s"], "sets an entry in a Tensor"),
        ([made.tensor() + b"(K\x00K\x01u"], "sets an entry in a Tensor"),
        ([made.storage() + b"K\x00K\x01s"], "sets an entry in a Storage"),
        ([made.tensor() + b"K\x00a"], "adds to a Tensor"),
    ],
)
def test_a_tensor_that_lies_is_refused_before_memory_is_taken(
    views: list[bytes], wanted: str
) -> None:
    program = made.entries(**{f"view{index}": view for index, view in enumerate(views)})
    files = [made.zipped(program, _0=SIX)]
    if not any(words in wanted for words in ("storage", "got 24", "not there")):
        # There they are missed when the file's list of storages is read.
        files += [
            made.streamed(
                program.replace(b"tQ", b"NtQ"),
                keys=old_keys("0"),
                storages=old_storage(6, SIX),
            )
        ]
    for file in files:
        tracemalloc.start()
        try:
            with pytest.raises(FormatError, match=wanted):
                read_all(file)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_views_that_are_larger_than_their_storage_are_read_while_they_are_small() -> None:
    program = made.entries(wide=made.tensor((1000, 6), (0, 1)))
    found = read_all(made.zipped(program, _0=SIX))["wide"]
    np.testing.assert_array_equal(found, np.tile(np.arange(6, dtype="f4"), (1000, 1)))


@pytest.mark.parametrize(
    ("keys", "storages", "wanted"),
    [
        (old_keys(), b"", "the storage '0' is missing"),
        (old_keys("0"), b"", "6 elements should follow, got 0"),
        (old_keys("0"), old_storage(6, SIX[:-1]), "should follow, got 6 in 23 bytes"),
        (old_keys("0"), old_storage(5, SIX), "6 elements should follow, got 5 in 24"),
        (old_keys("0"), old_storage(2**63, SIX), "6 elements should follow"),
        (old_keys("0"), old_storage(6, SIX + b"x"), "goes on for 1 bytes"),
        (old_keys("0", "0"), old_storage(6, SIX) * 2, "there twice"),
        (old_keys("0", "1"), old_storage(6, SIX) * 2, "belongs to nothing"),
        (b"\x80\x02N.", b"", "a list of storages should follow"),
        (b"\x80\x02]K\x00a.", b"", "a short text"),
    ],
)
def test_storages_of_the_older_format_that_do_not_fit_are_refused(
    keys: bytes, storages: bytes, wanted: str
) -> None:
    program = made.entries(a=made.tensor(source=made.storage(old=True)))
    with pytest.raises(FormatError, match=wanted):
        open_pytorch(made.streamed(program, keys=keys, storages=storages))


def test_what_is_said_of_a_million_tensors_is_not_looked_through_for_each() -> None:
    extra = b"}(" + b"NN" * 1000 + b"u"
    views = {"a": made.tensor((1,), (1,), 0, None, extra)}
    with pytest.raises(FormatError, match="1000 things are said of a tensor"):
        open_pytorch(made.zipped(made.entries(**views), _0=SIX))


@pytest.mark.parametrize("old", [False, True])
def test_the_name_of_a_storage_is_never_shown_unless_it_is_text(old: bool) -> None:
    # To show it would take for ever: it holds itself twice, sixty times over.
    name = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 60
    source = made.storage(old=old).replace(made.text("0"), name, 1)
    file = made.streamed if old else made.zipped
    with pytest.raises(FormatError, match="a short text, got a tuple"):
        open_pytorch(file(made.entries(a=made.tensor(source=source))))


def test_a_storage_of_two_sizes_is_refused() -> None:
    views = {
        "a": made.tensor(source=made.storage(old=True)),
        "b": made.tensor(source=made.storage(7, old=True)),
    }
    with pytest.raises(FormatError, match="'0' has two sizes"):
        open_pytorch(made.streamed(made.entries(**views)))


def test_an_empty_storage_may_be_of_two_kinds() -> None:
    views = {
        kind: made.tensor((0,), (1,), 0, made.storage(0, f"{kind}Storage", old=True))
        for kind in ("Float", "ComplexFloat")
    }
    file = made.streamed(
        made.entries(**views), keys=old_keys("0"), storages=old_storage(0, b"")
    )
    assert {array.dtype.name for array in read_all(file).values()} == {
        "float32",
        "complex64",
    }


@pytest.mark.parametrize(
    "view", [b"X\1\0\0\0v\x8a\1\4\x8a\1\3\x87", b"X\1\0\0\0v\x8a\1\xff\x8a\1\3\x87", b"]"]
)
def test_a_part_of_a_storage_that_is_not_in_it_is_refused(view: bytes) -> None:
    source = made.storage(old=True).removesuffix(b"NtQ") + view + b"tQ"
    program = made.entries(a=made.tensor((1,), (1,), 0, source))
    with pytest.raises(FormatError, match="lie in its 6 elements"):
        open_pytorch(made.streamed(program))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"\x80\x02K\x01.", "none of PyTorch's: its magic number is missing"),
        (made.MAGIC + b"\x80\x02K\x01.", "its version of its format is missing"),
        (b"\x80", "at byte 0: 1 bytes should follow, got 0"),
        (b"PK", "is no zip file"),
        (b"text", "begins neither as a zip file nor as a pickle"),
    ],
)
def test_what_is_no_file_of_pytorch_is_refused(content: bytes, wanted: str) -> None:
    with pytest.raises(FormatError, match=wanted):
        open_pytorch(io.BytesIO(content))


def test_an_archive_without_one_pickle_is_refused() -> None:
    for names in ([], ["net/model.json"], ["a/data.pkl", "b/data.pkl"], ["a/b/data.pkl"]):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"\x80\x02N.")
        with pytest.raises(FormatError, match=r"one data\.pkl, as files"):
            open_pytorch(file)


def test_an_unknown_byte_order_is_refused() -> None:
    file = made.zipped(made.entries())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("net/byteorder", b"middle")
    with pytest.raises(FormatError, match="little or big, got b'middle'"):
        open_pytorch(file)


def test_two_arrays_of_one_name_are_refused() -> None:
    inner = b"}" + made.text("b") + made.tensor() + b"s"
    program = b"\x80\x02}(" + made.text("a.b") + made.tensor() + made.text("a") + inner
    with pytest.raises(FormatError, match=r"two arrays have the name 'a\.b'"):
        open_pytorch(made.zipped(program + b"u.", _0=SIX))


def test_names_that_are_too_long_are_refused() -> None:
    program = made.entries(**{"x" * 5000: made.tensor()})
    with pytest.raises(FormatError, match="names are too long"):
        open_pytorch(made.zipped(program, _0=SIX))
    # One text, in all names of a net that has many arrays.
    key = made.text("x" * 1000) + b"q\x01"
    level = b"}h\x01"
    program = b"\x80\x02" + key + b"0" + level * 10 + b"N" + b"s" * 10 + b"."
    program = program.replace(b"N", made.tensor(), 1)
    with pytest.raises(FormatError, match="names are too long"):
        open_pytorch(made.zipped(program, _0=SIX))


def test_a_damaged_storage_is_refused() -> None:
    content = bytearray(made.zipped(made.entries(a=made.tensor()), _0=SIX).getvalue())
    content[content.index(SIX)] ^= 1
    with pytest.raises(FormatError, match="'net/data/0' is damaged"):
        read_all(io.BytesIO(bytes(content)))


@pytest.mark.parametrize(
    "program",
    [
        b"(" + b"]" * 1_900_000 + b"l",
        b"(" + b"}NNs" * 480_000 + b"l",
        b"(cm\nC\nq\x00" + b"h\x00)\x81" * 480_000 + b"l",
        # One key that takes long to write down, in as many dictionaries as there can be.
        b"((" + made.whole(1 << 2000) * 9 + b"tq\x000(" + b"}h\x00Ns" * 380_000 + b"ll",
        # One tensor under a million names, and a million tensors.
        b"(" + made.tensor() + b"q\x07" + b"h\x07" * 900_000 + b"l",
        b"(" + made.tensor()[:-1] + b"q\x070cn\nf\nq\x06" + b"h\x06h\x07R" * 380_000 + b"l",
    ],
)
def test_two_megabytes_take_neither_seconds_nor_hundreds_of_megabytes(
    program: bytes,
) -> None:
    program = b"\x80\x02" + program.replace(b"cn\nf\n", TENSOR) + b"."
    file = made.zipped(program, _0=SIX)
    started = time.process_time()
    with pytest.raises(FormatError, match=r"goes on after|in each other more than"):
        read_all(file)
    assert time.process_time() - started < 3


def test_a_pickle_of_many_numbers_is_read() -> None:
    pairs = b"".join(
        b"K\x01K\x02\x86r" + struct.pack("<I", index) for index in range(200_000)
    )
    container = open_pytorch(made.zipped(b"\x80\x02]X\1\0\0\0aa(" + pairs + b"e."))
    assert len(container.metadata) == 200_001


def test_a_small_view_of_a_large_storage_is_read_alone() -> None:
    file = io.BytesIO()
    view = made.tensor((1,), (1,), 0, made.storage(8 << 20)) + b"q\x07"
    program = b"\x80\x02(" + view + b"h\x07" * 40_000 + b"l."
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", program)
        archive.writestr("net/data/0", bytes(32 << 20))
    started = time.process_time()
    assert len(read_all(file)) == 40_001
    assert time.process_time() - started < 2


def test_a_pickle_that_unpacks_to_millions_of_values_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\x80\x02(" + b"]" * 1_000_000 + b"l.")
    assert len(file.getvalue()) < 2048
    with pytest.raises(FormatError, match=r"goes on after \d+ steps"):
        open_pytorch(file)


@pytest.mark.parametrize("name", [name for name in made.NAMES if "check" not in name])
def test_a_file_cut_off_anywhere_is_refused(name: str) -> None:
    content = (made.FOLDER / name).read_bytes()
    ends = [*range(0, 300, 7), *range(300, len(content), 97), len(content) - 1]
    for end in ends:
        with pytest.raises(FormatError):
            read_all(io.BytesIO(content[:end]))


def test_mutated_files_are_read_or_refused() -> None:
    draw = random.Random(9)
    for content in made.examples():
        for _ in range(40):
            with suppress(FormatError):
                read_all(io.BytesIO(mutated(content, draw)))


def mutated(content: bytes, draw: random.Random) -> bytes:
    """A mutation, of an archive mostly one whose checksums are right."""
    if content[:2] != b"PK" or draw.random() < 0.2:
        return changed(content, draw)
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(file, "w") as after,
    ):
        for name in before.namelist():
            data = before.read(name)
            is_other = name.endswith("data.pkl") or draw.random() < 0.05
            after.writestr(name, changed(data, draw) if is_other else data)
    return file.getvalue()


def changed(content: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, taken out or put in."""
    found = bytearray(content)
    for _ in range(draw.randrange(1, 4)):
        # In the older format, pickles are at the beginning.
        place = draw.randrange(min(len(found), draw.choice((3000, len(found)))) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            found[place : place + 1] = draw.randbytes(1)
        elif kind == 1:
            found[place : place + draw.randrange(1, 9)] = b""
        else:
            found[place : place + kind - 2] = bytes(
                draw.choices(b"\x00\x01\xff\x80().tRbsuqhlxKMJXcQ]}", k=kind)
            )
    return bytes(found)


WATCHED = """
import json, re, sys
from pathlib import Path
from gatewise.formats.reading import load_arrays
from gatewise.formats.errors import FormatError

folder = Path(sys.argv[1])
paths = sorted(folder.iterdir())
for path in paths:
    # What is imported when it is first needed is not what is looked for.
    if path.name.startswith("good"):
        load_arrays(path)
events, outcome = [], {}
watching = False
def hook(event, arguments):
    if watching and event != "builtins.id":
        events.append(event + " " + " ".join(map(repr, arguments))[:200])
sys.addaudithook(hook)
for path in paths:
    watching = True
    try:
        load_arrays(str(path))
        outcome[path.name] = "read"
    except FormatError as error:
        outcome[path.name] = "refused"
    finally:
        watching = False
    events = [event for event in events if not (
        event.startswith("open ") and repr(str(path)) in event
        # The file that is open already, as a file of Python's.
        or re.match("open \\\\d+ 'r' ", event)
    )]
print(json.dumps([events, outcome]))
"""


def test_nothing_is_imported_run_or_opened(tmp_path: Path) -> None:
    for index, name in enumerate(made.NAMES):
        (tmp_path / f"good{index}").write_bytes((made.FOLDER / name).read_bytes())
    content = (made.FOLDER / "state.pt").read_bytes()
    (tmp_path / "good.tar").write_bytes(archived({"net.pt": content}).getvalue())
    for index, program in enumerate(MALICE):
        evil = b"\x80\x04" + program if program[:1] != b"\x80" else program
        value = evil.removesuffix(b".")
        hostile = [
            made.zipped(evil),
            made.streamed(evil),
            made.streamed(b"\x80\x02N.", keys=evil),
            io.BytesIO(evil),
            io.BytesIO(made.MAGIC + evil),
            io.BytesIO(made.MAGIC + made.PROTOCOL + evil + evil),
            made.zipped(made.entries(a=made.tensor(source=value[2:])), _0=SIX),
            made.zipped(made.entries(a=b"(" + value[2:] + b"tQ"), _0=SIX),
        ]
        script = made.zipped(evil)
        with zipfile.ZipFile(script, "a") as archive:
            # What has other readers go on to one that trusts the file.
            archive.writestr("net/constants.pkl", evil)
            archive.writestr("net/code/__torch__.py", b"import os\nos.system('exit')\n")
            archive.writestr("net/.data/extern_modules", b"os")
        hostile += [script, in_the_oldest_format(evil)]
        for number, file in enumerate(hostile):
            (tmp_path / f"hostile{index}_{number}").write_bytes(file.getvalue())
    done = new_process.run_command(
        [new_process.sys.executable, "-c", WATCHED, str(tmp_path)]
    )
    assert done.returncode == 0, done.stderr
    events, outcome = json.loads(done.stdout)
    assert events == []
    assert all(what == "read" for name, what in outcome.items() if name.startswith("good"))
    assert sum(name.startswith("hostile") for name in outcome) == 10 * len(MALICE)


def in_the_oldest_format(program: bytes) -> io.BytesIO:
    return archived(dict.fromkeys(("storages", "tensors", "pickle"), program))


def archived(members: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def test_the_oldest_format_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(in_the_oldest_format(b"\x80\x02K\x00.").getvalue())
    with pytest.raises(FormatError, match=r"torch before 0\.1\.10"):
        load_arrays(path)
