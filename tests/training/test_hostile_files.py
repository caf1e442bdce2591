"""Files made to do harm: one line says what is wrong, quickly and in little memory."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import random
import re
import shutil
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gatewise
from gatewise.formats.own import checksum
from gatewise.formats.safetensors import open_safetensors, write_safetensors
from gatewise.training import CheckpointError, fit, load_checkpoint
from gatewise.training.language_model import LanguageModel, load_language_model
from gatewise.training.language_training import LanguageTraining, Settings
from gatewise.training.text import TextError, Vocabulary

DATA = Path(__file__).parents[1] / "data"
TEXT = "ab ba, " * 30
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 3, 2)
MARKER = "gatewise.json"

Edit = Callable[[dict[str, Any], dict[str, Any]], None]


def make_fit_model() -> gatewise.Sequential:
    return gatewise.Sequential(
        gatewise.GRU(2, 3, seed=1),
        gatewise.Dropout(0.1, seed=2),
        gatewise.Linear(3, 1, seed=3),
    )


def resume_fit(path: Path, epochs: int = 3) -> Any:
    model = make_fit_model()
    found = fit(
        model,
        [(X[:2], X[:2, :, :1]), (X[2:], X[2:, :, :1])],
        gatewise.mse,
        gatewise.Adam(0.01),
        epochs=epochs,
        validation=[(X, X[..., :1])],
        progress=False,
        checkpoint=path,
        checkpoint_interval=math.inf,
        resume=True,
    )
    return found, model


def resume_training(path: Path) -> LanguageTraining:
    training = LanguageTraining.resume(path, TEXT)
    # What was accepted can be gone on with.
    training.run(steps=2, seconds=10)
    return training


# The files of earlier versions, which were npz, are read by the same functions.
OLD: dict[str, Callable[[Path], Any]] = {
    "old model": load_language_model,
    "old training": resume_training,
    "old fit": resume_fit,
}
LOADERS: dict[str, Callable[[Path], Any]] = {
    "model": load_language_model,
    "training": resume_training,
    "fit": resume_fit,
    "network": gatewise.load,
    **OLD,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Good files for each loader."""
    directory = tmp_path_factory.mktemp("whole")
    model = LanguageModel(Vocabulary(TEXT), cell="lstm", hidden_size=3, num_layers=2)
    chosen = Settings(batch_size=2, length=5, learning_rate=0.02, seed=0)
    training = LanguageTraining(model, TEXT, chosen)
    training.run(steps=9, stopped=lambda: training.step == 5, path=directory / "model")
    resume_fit(directory / "fit")
    of_model = (directory / "model").read_bytes()
    of_fit = (directory / "fit").read_bytes()
    return {
        "model": of_model,
        "training": of_model,
        "fit": of_fit,
        "network": of_model,
        "old model": as_before(of_model),
        "old training": as_before(of_model),
        "old fit": as_before(of_fit),
    }


def as_before(content: bytes) -> bytes:
    """The same file as earlier versions wrote it."""
    described, arrays = parts(content)
    before = {
        "format": "gatewise",
        "version": 1,
        "kind": described["kind"],
        "arrays": sorted(arrays),
        "metadata": described["metadata"],
    }
    return put_together(before, arrays, "old")


def parts(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description and the arrays of a file."""
    if content.startswith(b"PK"):
        with np.load(io.BytesIO(content)) as archive:
            arrays = dict(archive)
        return json.loads(arrays.pop(MARKER).tobytes()), arrays
    container = open_safetensors(io.BytesIO(content))
    arrays = {name: container.read(name) for name in container.headers}
    return json.loads(container.metadata["gatewise"]), arrays


def put_together(described: object, arrays: dict[str, Any], loader: str) -> bytes:
    file = io.BytesIO()
    text = json.dumps(described)
    if loader.startswith("old"):
        marker = np.frombuffer(text.encode(), np.uint8)
        np.savez(file, **{MARKER: marker}, **arrays)
    else:
        checksum = f"{zlib.crc32(text.encode()):08x}"
        write_safetensors(file, arrays, {"gatewise": text, "gatewise.crc32": checksum})
    return file.getvalue()


def edited(content: bytes, edit: Edit, loader: str) -> bytes:
    """The same with something changed, and the list of arrays as it then is."""
    described, arrays = parts(content)
    edit(described, arrays)
    if isinstance(described.get("arrays"), list):
        described["arrays"] = sorted(arrays)
    elif isinstance(described.get("arrays"), dict):
        described["arrays"] = {name: checksum(array) for name, array in arrays.items()}
    return put_together(described, arrays, loader)


def load(path: Path, content: bytes, loader: str) -> Any:
    """What comes of it: a result, or the one kind of error there may be, in one line."""
    path.write_bytes(content)
    try:
        return LOADERS[loader](path)
    except (gatewise.FormatError, TextError) as error:
        found = error
    assert str(found).startswith(f"{path}: ")
    assert "\n" not in str(found)
    assert len(str(found)) < len(str(path)) + 500
    return found


def refusal(path: Path, content: bytes, loader: str) -> str:
    found = load(path, content, loader)
    kind = gatewise.FormatError if loader == "network" else CheckpointError
    assert type(found) is kind, found
    return str(found)


@pytest.mark.parametrize("loader", LOADERS)
def test_whole_files_are_loaded(
    tmp_path: Path, whole: dict[str, bytes], loader: str
) -> None:
    assert not isinstance(load(tmp_path / "file", whole[loader], loader), Exception)
    again = edited(whole[loader], lambda described, arrays: None, loader)
    assert not isinstance(load(tmp_path / "file", again, loader), Exception)


def test_files_of_the_first_version_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    shutil.copy(DATA / "language_model_1_lstm.npz", path)
    training = LanguageTraining.resume(path, TEXT)
    assert training.step == 5
    training.run(steps=9)
    assert "".join(load_language_model(path).sample(3, prompt="ab", temperature=0))
    shutil.copy(DATA / "fit_checkpoint_1.npz", path)
    epochs, _ = resume_fit(path)
    assert [epoch.loss for epoch in epochs] == pytest.approx(
        [0.49481073268095555, 0.4357677721353108, 0.40014908988785475], rel=1e-12
    )
    assert len(resume_fit(path, epochs=5)[0]) == 5


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested dictionaries and lists."""
    if way:
        yield way
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from places(inner, (*way, key))


MISSING = object()
ODD: list[Any] = [
    *(MISSING, None, True, 0, -1, 2, 1.5, 10**6, 2**63, 10**4000, math.inf, math.nan),
    *("", "x", "\ud800\0" * 1000, [], [[]], {}, {"x": 1}, [{"number": 1}]),
]


def put(root: Any, way: tuple[Any, ...], value: Any) -> None:
    for key in way[:-1]:
        root = root[key]
    if value is MISSING:
        del root[way[-1]]
    else:
        root[way[-1]] = value


LATER = {"metrics", "validation_metrics", "learning_rate", "schedule", "callbacks"}
LATER |= {"stopped", "sums", "states"}


@pytest.mark.parametrize("loader", LOADERS)
def test_whatever_the_description_says_nothing_but_an_error_comes_of_it(
    tmp_path: Path, whole: dict[str, bytes], loader: str
) -> None:
    described, arrays = parts(whole[loader])
    for way in places(described):
        # One of several of a kind is enough.
        if (way[0] == "arrays" and len(way) > 1) or {1, 2} & set(way):
            continue
        # What is said further inside is looked at by the same code in either container.
        if loader in OLD and len(way) > 1:
            continue
        for value in ODD:
            changed = copy.deepcopy(described)
            put(changed, way, value)
            content = put_together(changed, arrays, loader)
            found = load(tmp_path / "file", content, loader)
            if value is MISSING or isinstance(value, list | dict):
                # Sampling has no use for what is known of the training, going on with it
                # none for the network alone, and that none for all else.
                spare = (
                    ("training" in way and loader in ("model", "old model"))
                    or ((way[0] == "network") != (loader == "network"))
                    or way in (("written_by",), ("network", "architecture", "layers"))
                    # What is not said has its default.
                    or "arguments" in way
                    # Older files say less, and none of these.
                    or (way[-1] in LATER and value in (MISSING, [], {}))
                    or (way == ("metadata", "compute") and value is MISSING)
                )
                refused = isinstance(found, gatewise.FormatError)
                assert refused or spare or "validation_loss" in way, (way, value)


@pytest.mark.parametrize("loader", LOADERS)
def test_every_array_has_to_be_what_it_should_be(
    tmp_path: Path, whole: dict[str, bytes], loader: str
) -> None:
    path = tmp_path / "file"
    _, arrays = parts(whole[loader])
    for name in arrays:
        # One of several of a kind is enough.
        if name.endswith(("bias", "l1")) or (
            loader in ("model", "old model", "network") and name[:6] != "model."
        ):
            continue
        for change in (
            lambda array: array[None],
            lambda array: array.astype(np.complex64),
            lambda array: array.astype(np.float16),
            lambda array: np.zeros((0, 3), array.dtype),
            lambda array: array.astype(bool),
        ):

            def edit(
                described: Any, arrays: Any, name: str = name, c: Any = change
            ) -> None:
                arrays[name] = c(arrays[name])

            assert name.removeprefix("optimizer.") in refusal(
                path, edited(whole[loader], edit, loader), loader
            )

        def drop(described: Any, arrays: Any, name: str = name) -> None:
            del arrays[name]

        assert refusal(path, edited(whole[loader], drop, loader), loader)


@pytest.mark.parametrize("loader", ["training", "fit", "old training", "old fit"])
@pytest.mark.parametrize("name", ["x", "weights.x", "optimizer.mean.x", "optimizer.x", "."])
def test_arrays_that_have_no_business_there_are_refused(
    tmp_path: Path, whole: dict[str, bytes], loader: str, name: str
) -> None:
    def edit(described: Any, arrays: Any) -> None:
        arrays[name] = np.ones(3, np.float32)

    assert name.removeprefix("optimizer.") in refusal(
        tmp_path / "file", edited(whole[loader], edit, loader), loader
    )


@pytest.mark.parametrize(
    ("loader", "way", "value", "message"),
    [
        ("training", ("layout",), MISSING, "layout is missing"),
        ("training", ("layout",), 2, "has version 2 of the layout, written by gatewise"),
        ("old training", ("version",), MISSING, "version is missing"),
        ("training", ("kind",), MISSING, "kind is missing"),
        ("training", ("metadata",), MISSING, "metadata is missing"),
        ("training", ("training", "step"), math.inf, "step should be a whole number"),
        ("training", ("settings", "batch_size"), 0, "batch_size should be a whole number"),
        ("training", ("settings", "batch_size"), 1.5, "batch_size should be .* got 1.5"),
        ("training", ("settings", "batch_size"), True, "batch_size should be .* got True"),
        (
            "training",
            ("settings", "batch_size"),
            3,
            r"state\.h should be float32 \(2, 3, 3",
        ),
        (
            "training",
            ("training", "seconds"),
            math.nan,
            "seconds should be a finite number",
        ),
        ("model", ("model", "num_layers"), 10**6, "num_layers should be a whole number"),
        ("model", ("model", "hidden_size"), 10**9, r"should be float32 \(4000000000, 4\)"),
        ("model", ("model", "cell"), "mlp", "cell should be one of gru, lstm, rnn"),
        ("model", ("model", "characters"), "", "should be"),
        ("fit", ("position",), 3, "position should be a whole number from 0 to 2, got 3"),
        ("fit", ("position",), -1, "position should be a whole number from 0"),
        ("fit", ("examples",), -1, "examples should be a whole number from 0"),
        ("fit", ("total",), math.inf, "total should be a finite number"),
        ("fit", ("best_epoch",), 4, "best_epoch should be a whole number from 0 to 3"),
        ("fit", ("best_epoch",), 0, "best.0.weight_ih_l0 is an array too many"),
        ("fit", ("random",), [], "random should have 2 states, got 0"),
        ("fit", ("epochs",), [{"number": 2}], r"epochs\[0\].* should be|is missing"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path,
    whole: dict[str, bytes],
    loader: str,
    way: tuple[str, ...],
    value: Any,
    message: str,
) -> None:
    def edit(described: Any, arrays: Any) -> None:
        for place in list(places(described)):
            if place[-len(way) :] == way and place[0] != "arrays":
                put(described, place, value)

    found = refusal(tmp_path / "file", edited(whole[loader], edit, loader), loader)
    assert re.search(message, found), found


def random_state(described: Any, which: int = 0) -> Any:
    return described["metadata"]["random"][which]


@pytest.mark.parametrize(
    "edit",
    [
        lambda state: state.update(bit_generator="MT19937"),
        lambda state: state.update(state={"key": [1] * 624, "pos": 10**6}),
        lambda state: state["state"].update(state=-1),
        lambda state: state["state"].update(inc=2**200),
        lambda state: state["state"].update(inc=1.5),
        lambda state: state.update(has_uint32=10**30),
        lambda state: state.pop("uinteger"),
        lambda state: state.update(more=1),
    ],
)
def test_random_states_of_the_wrong_kind_are_refused(
    tmp_path: Path, whole: dict[str, bytes], edit: Any
) -> None:
    content = edited(
        whole["fit"], lambda described, arrays: edit(random_state(described)), "fit"
    )
    assert "random" in refusal(tmp_path / "file", content, "fit")


def test_a_refused_fit_checkpoint_changes_nothing(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    path = tmp_path / "file"

    def edit(described: Any, arrays: Any) -> None:
        random_state(described, 1)["state"]["state"] = 2**200

    path.write_bytes(edited(whole["fit"], edit, "fit"))
    model, optimizer = make_fit_model(), gatewise.Adam(0.01)
    before = model.state_dict()
    drawn = [layer.generator.bit_generator.state for layer in model.layers[:2]]
    with pytest.raises(CheckpointError):
        fit(
            model,
            [(X[:2], X[:2, :, :1]), (X[2:], X[2:, :, :1])],
            gatewise.mse,
            optimizer,
            epochs=9,
            validation=[(X, X[..., :1])],
            progress=False,
            checkpoint=path,
            resume=True,
        )
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert optimizer.state_dict() == {}
    assert drawn == [layer.generator.bit_generator.state for layer in model.layers[:2]]


# What stands in the zip file, and not in its members.


def zipped(members: list[tuple[str, bytes]], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def members(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def with_comment(content: bytes) -> bytes:
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"hello"
    return file.getvalue()


def overlapping(content: bytes) -> bytes:
    """Every member where the largest one is, so that one megabyte is read many times."""
    several = [(f"a{i}.npy", b"") for i in range(1000)]
    large = io.BytesIO()
    np.save(large, np.zeros(10**6, np.uint8))
    file = bytearray(zipped([("a.npy", large.getvalue()), *several]))
    place = file.index(b"PK\x01\x02")
    first = bytes(file[place : place + 46])
    for _ in range(1001):
        file[place + 16 : place + 28] = first[16:28]
        file[place + 42 : place + 46] = first[42:46]
        place += 46 + struct.unpack_from("<H", file, place + 28)[0]
    return bytes(file)


def lying(content: bytes) -> bytes:
    """A header that says that there is far more than there is."""
    _, arrays = parts(content)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"
    header = header.ljust(117) + b"\n"
    name = sorted(arrays)[0]
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(4)
    return zipped([(n, array if n == f"{name}.npy" else c) for n, c in members(content)])


def expression(content: bytes) -> bytes:
    """A header that takes its reader for an interpreter."""
    header = b"(" * 5000 + b")" * 5000 + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    return zipped([("a.npy", array), *members(content)])


def crowded(content: bytes) -> bytes:
    """So many members that to list them alone would take a gigabyte."""
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", *[0] * 5, 0, 0, 0, 0, 1, *[0] * 4, 0, 0
    )
    entries = (entry + b"a") * 10**6
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, len(entries), 0, 0)
    return entries + end


def deep(content: bytes) -> bytes:
    marker = io.BytesIO()
    np.save(marker, np.frombuffer(b"[" * 10**6, np.uint8))
    return zipped([(f"{MARKER}.npy", marker.getvalue())])


def long(content: bytes) -> bytes:
    marker = io.BytesIO()
    np.save(marker, np.full(20_000_000, ord("["), np.uint8))
    return zipped([(f"{MARKER}.npy", marker.getvalue())])


def bomb(content: bytes) -> bytes:
    array = io.BytesIO()
    np.save(array, np.zeros(50_000_000, np.uint8))
    large = ("model.0.weight_hh_l0.npy", array.getvalue())
    return zipped([*members(content), large], compression=zipfile.ZIP_DEFLATED)


def compressed_bomb(content: bytes) -> bytes:
    return zipped([("a.npy", bytes(10**7))], compression=zipfile.ZIP_LZMA)


CONTAINERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "comment": (with_comment, "has a comment"),
    "twice": (lambda c: zipped([*members(c), members(c)[3]]), "there twice"),
    "more": (lambda c: zipped([*members(c), ("x", b"")]), "is no array"),
    "outside": (
        lambda c: zipped([*members(c), ("../x.npy", b"")]),
        "no file in an archive",
    ),
    "nested": (lambda c: zipped([*members(c), ("x.npy", b"")]), "no array of numbers"),
    "deflated": (lambda c: zipped(members(c), compression=8), "is compressed"),
    "bomb": (bomb, "is compressed"),
    "compressed bomb": (compressed_bomb, "is compressed"),
    "overlapping": (overlapping, "overlap|has two sizes|differ"),
    "lying": (lying, "more bytes than its shape says, or fewer"),
    "expression": (expression, "no array of numbers"),
    "crowded": (crowded, "list of members has 47000000 bytes"),
    "deep": (deep, "description goes too deep"),
    "long": (long, "description is no text, or too long"),
    "empty": (lambda c: zipped([]), "has no description"),
    "encrypted": (
        lambda c: c.replace(
            b"PK\x01\x02\x2d\x03\x2d\x00\x00\x00", b"PK\x01\x02\x2d\x03\x2d\x00\x01\x00"
        ),
        "encrypted",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("loader", OLD)
@pytest.mark.parametrize("how", CONTAINERS)
def test_containers_that_are_not_ours_are_refused(
    tmp_path: Path, whole: dict[str, bytes], loader: str, how: str
) -> None:
    make, message = CONTAINERS[how]
    content = make(whole[loader])
    path = tmp_path / "file"
    path.write_bytes(content)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(CheckpointError, match=message):
            LOADERS[loader](path)
        taken, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(content) + 2**24
    # The old ways took many times as long; the test runs on busy machines, too.
    assert taken < 20


@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_asked_for_is_compared_before_it_is_made(
    tmp_path: Path, whole: dict[str, bytes], loader: str
) -> None:
    """A few bytes that ask for a large model, or a long training, are a few bytes."""
    for way, value in [
        (("num_layers",), 10**6),
        (("hidden_size",), 10**5),
        (("characters",), "".join(map(chr, range(32, 50_000)))),
        (("batch_size",), 10**9),
        (("position",), 10**9),
    ]:

        def edit(described: Any, arrays: Any, way: Any = way, value: Any = value) -> None:
            for place in list(places(described)):
                if place[-1:] == way:
                    put(described, place, value)

        content = edited(whole[loader], edit, loader)
        tracemalloc.start()
        try:
            load(tmp_path / "file", content, loader)
            assert tracemalloc.get_traced_memory()[1] < 2**24
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_no_file_is_not_read(tmp_path: Path, loader: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        if "fit" not in loader:
            match = r"not a gatewise file, nor a regular|should be a regular file"
            with pytest.raises(gatewise.FormatError, match=match):
                LOADERS[loader](path)
    with pytest.raises((OSError, gatewise.FormatError), match=r"[Dd]irectory"):
        LOADERS[loader](tmp_path)


# Chance, where imagination ends.


def damaged(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[place] = chance.randrange(256)
            case 1:
                data[place] ^= 1 << chance.randrange(8)
            case 2:
                del data[place : place + chance.choice([1, 2, 8, 1000])]
            case 3:
                data[place:place] = chance.randbytes(chance.choice([1, 4, 100]))
            case 4:
                data[place : place + 4] = chance.choice([b"\xff" * 4, bytes(4), b"PK\1\2"])
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("loader", LOADERS)
def test_damage_anywhere_gives_the_one_error(
    tmp_path: Path, whole: dict[str, bytes], loader: str
) -> None:
    for seed in range(100 if loader in OLD else 300):
        load(tmp_path / "file", damaged(whole[loader], seed), loader)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(ODD[1:]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("loader", [name for name in LOADERS if name not in OLD])
@settings(max_examples=60)
@given(data=st.data())
def test_descriptions_by_chance_give_the_one_error(
    tmp_path: Path, whole: dict[str, bytes], loader: str, data: st.DataObject
) -> None:
    described, arrays = parts(whole[loader])
    for _ in range(data.draw(st.integers(1, 3))):
        ways = [way for way in places(described) if way[0] != "arrays"]
        put(described, data.draw(st.sampled_from(ways)), data.draw(JSON))
        if not isinstance(described.get("metadata"), dict):
            break
    load(tmp_path / "file", put_together(described, arrays, loader), loader)


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_any_bytes_give_the_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, "example")
