"""Files of amplifiers that lie, break off or want memory: a FormatError, nothing else."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewise
from gatewise.formats.json.networks import open_json
from tests.formats import amp_files
from tests.formats.amp_files import Json


def refusal(opener: Callable[[Path], Any], path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(gatewise.FormatError) as raised:
        opener(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def changed(said: Json, place: tuple[Any, ...], value: Any) -> bytes:
    inner: Any = said
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return amp_files.encoded(said)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("weights",), ..., "weights should be numbers"),
        (("weights",), 3, "weights should be numbers"),
        (("weights",), [[1.0]], "weights should be numbers in 1 levels of lists"),
        (("weights",), [1.0, True], "weights should hold numbers, got True"),
        (("weights",), [1.0, None], "weights should hold numbers, got None"),
        (("weights",), [1.0, "2"], "weights should hold numbers, got '2'"),
        (("weights",), [1.0, {}], "weights should hold numbers"),
        (("weights",), [1.0] * 69, "weights should be 70 numbers, as config says, got 69"),
        (("weights",), [1.0] * 71, "weights should be 70 numbers, as config says, got 71"),
        (("weights", 5), 1e39, "weights should hold numbers of float32"),
        (("weights", 5), 10**400, "weights should hold numbers of float32"),
        (("config",), ..., "config is missing"),
        (("config",), [], "config should be a dictionary"),
        (("config", "hidden_size"), ..., "hidden_size is missing"),
        (("config", "hidden_size"), 0, "hidden_size should be a whole number"),
        (("config", "hidden_size"), True, "hidden_size should be a whole number"),
        (("config", "hidden_size"), 3.0, "hidden_size should be a whole number"),
        (("config", "hidden_size"), 10**18, "hidden_size should be a whole number"),
        (("config", "hidden_size"), 10**7, "weights should be .* got 70"),
        (("config", "num_layers"), 10**7, "weights should be .* got 70"),
        (("config", "num_layers"), -1, "num_layers should be a whole number"),
        (("config", "in_channels"), 2, "in_channels should be input_size 1, got 2"),
        (("config", "out_channels"), 2, "weights should be 74 numbers"),
        (("architecture",), "LSTM2", "architecture should be LSTM"),
        (("architecture",), 5, "architecture should be a text"),
        (("version",), "0.4.9", "version should be from 0.5.0 to 0.7, got '0.4.9'"),
        (("version",), "0.8.0", "version should be from 0.5.0 to 0.7"),
        (("version",), "1.5.0", "version should be from 0.5.0 to 0.7"),
        (("version",), "0.5.4\n", "version should be from 0.5.0 to 0.7"),
        (("version",), 0.5, "version should be a text"),
    ],
)
def test_nam_that_lies(
    place: tuple[Any, ...], value: Any, words: str, tmp_path: Path
) -> None:
    content = changed(amp_files.nam_file(1, 3, 1), place, value)
    assert re.search(words, refusal(gatewise.from_nam, tmp_path / "a", content))


RNN = ("layers", 0)
CONV = ("layers", 2)


def net() -> Json:
    kinds = [("lstm", 3), ("dense", 4, "tanh"), ("conv1d", 4, 3, 2, 2, ""), ("prelu", 4)]
    return amp_files.rtneural_file([*kinds, ("batchnorm", 4, True)], 2)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("layers",), [], "layers should be at least one, got none"),
        (("layers",), {}, "layers should be a list of dictionaries"),
        (("layers",), [1], "layers should be a list of dictionaries"),
        (("in_shape",), [], "in_shape should be a list of one to three sizes"),
        (("in_shape",), [None, 2, 2, 2], "in_shape should be a list of one to three"),
        (("in_shape",), [None, None], "in_shape should end in a number of features"),
        (("in_shape",), [None, True], "in_shape should end in a number of features"),
        (("in_shape",), [None, 10**9], "in_shape should end in a number of features"),
        (("in_shape",), [None, 3], r"layers\[0\].weights should have shapes \(3, 12\)"),
        ((*RNN, "type"), "conv2d", r"layers\[0\] should be one of .*, got 'conv2d'"),
        ((*RNN, "type"), "unknown", r"layers\[0\] should be one of .*, got 'unknown'"),
        ((*RNN, "type"), ..., r"layers\[0\].type is missing"),
        ((*RNN, "activation"), "relu", r"layers\[0\].activation should be tanh"),
        ((*RNN, "shape"), [None, None, 4], r"layers\[0\].weights should have shapes"),
        ((*RNN, "shape"), [None, None, 10**7], r"layers\[0\].weights should have shapes"),
        ((*RNN, "weights"), [], r"layers\[0\].weights should have shapes .* got none"),
        ((*RNN, "weights"), None, r"layers\[0\].weights should be a list"),
        ((*RNN, "weights", 0), [[1.0], [1.0, 2.0]], "should have lists of one length"),
        ((*RNN, "weights", 2), [True] * 12, r"layers\[0\].weights\[2\] should hold num"),
        ((*RNN, "weights", 2), [[]] * 12, r"layers\[0\].weights should have shapes"),
        (("layers", 1, "activation"), "selu", r"layers\[1\].activation should be one of"),
        (("layers", 1, "activation"), 5, r"layers\[1\].activation should be a text"),
        ((*CONV, "kernel_size"), [4], r"layers\[2\].weights should have shapes"),
        ((*CONV, "kernel_size"), 3, r"layers\[2\].kernel_size should be a list"),
        ((*CONV, "dilation"), [0], r"layers\[2\].dilation should be a whole number"),
        ((*CONV, "dilation"), [10**7], r"layers\[2\] should look back at most"),
        ((*CONV, "groups"), 3, r"layers\[2\].groups should divide 4 and 4, got 3"),
        ((*CONV, "groups"), 1, r"layers\[2\].weights should have shapes"),
        (("layers", 3, "weights"), [[[1.0, 2.0]]], "should be one list of 4 slopes"),
        (("layers", 3, "shape"), [None, 3], r"layers\[3\].shape should end in 4, got 3"),
        (("layers", 4, "epsilon"), ..., r"layers\[4\].epsilon is missing"),
        (("layers", 4, "epsilon"), -1, r"layers\[4\].epsilon should be"),
        (("layers", 4, "weights", 3), [-9.0] * 4, "should have variances above 0"),
        (("in_skip",), 2, "in_skip should be 0 or 1, got 2"),
        (("in_skip",), True, "in_skip should be a finite number"),
        (("in_gain",), "loud", "in_gain should be a finite number"),
    ],
)
def test_rtneural_that_lies(
    place: tuple[Any, ...], value: Any, words: str, tmp_path: Path
) -> None:
    content = changed(net(), place, value)
    assert re.search(words, refusal(gatewise.from_rtneural, tmp_path / "a", content))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("model_data", "model"), "RecNet", "should be SimpleRNN.*got 'RecNet'"),
        (("model_data", "unit_type"), "Mamba", "unit_type should be one of LSTM, GRU, RNN"),
        (("model_data", "hidden_size"), 4, "rec.weight_ih_l0 should have shape"),
        (("model_data", "hidden_size"), 10**7, "rec.weight_ih_l0 should have shape"),
        (("model_data", "num_layers"), 2, "rec.weight_ih_l1 is missing"),
        (("model_data", "num_layers"), 10**7, "num_layers should be a whole number"),
        (("model_data", "skip"), -1, "skip should be a whole number"),
        (("model_data", "skip"), "x", "skip should be a whole number"),
        (("state_dict", "lin.weight"), ..., "lin.weight is missing"),
        (("state_dict", "lin.weight"), 3, "lin.weight should be lists of numbers"),
        (("state_dict", "more"), [1], "state_dict should have no 'more'"),
        (("state_dict",), [], "state_dict should be a dictionary"),
        (("state_dict",), {}, "num_layers should be a whole number"),
    ],
)
def test_guitarml_that_lies(
    place: tuple[Any, ...], value: Any, words: str, tmp_path: Path
) -> None:
    content = changed(amp_files.guitarml_file("GRU", 1, 3), place, value)
    assert re.search(words, refusal(gatewise.from_rtneural, tmp_path / "a", content))


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"1",
        b"null",
        b"{",
        b"\x00" * 100,
        b'{"a": NaN}',
        b'{"a": [Infinity]}',
        b'{"a": [1], "a": [2]}',
        b'{"weights": [' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": [' + b"9" * 100_000 + b"]}",
        b'{"a": "\xff"}',
        b'{"a": [1]} {}',
        b'{"a": [01]}',
        b'{"a": "b\nc"}',
        b'{"a": 1}',
        b'{"a": [[1], [1, 2]]}',
        b'{"a": {"b": [1]}, "a.b": [2]}',
        b'{"a": [' + b"[" * 20 + b"1" + b"]" * 20 + b"]}",
        b'{"architecture": "LSTM", "weights": []}',
        b'{"in_shape": [1], "layers": [{"type": "dense"}]}',
    ],
)
def test_what_is_no_such_json(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    refusal(gatewise.from_nam, path, content)
    refusal(gatewise.from_rtneural, path, content)
    with pytest.raises(gatewise.FormatError):
        open_json(io.BytesIO(content))


def test_one_format_is_not_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "a"
    nam = amp_files.encoded(amp_files.nam_file(1, 3, 1))
    assert "one for from_nam" in refusal(gatewise.from_rtneural, path, nam)
    assert "got other JSON; gatewise.from_rtneural" in refusal(
        gatewise.from_nam, path, amp_files.encoded(net())
    )
    assert "another one" in refusal(gatewise.from_rtneural, path, b'{"a": [1]}')


def broken_off() -> Iterator[bytes]:
    for example in amp_files.examples():
        for end in range(1, len(example) - 1, max(1, len(example) // 40)):
            yield example[:end]


def test_a_file_that_breaks_off_is_refused_at_any_byte() -> None:
    count = 0
    for content in broken_off():
        count += 1
        with pytest.raises(gatewise.FormatError):
            open_json(io.BytesIO(content))
    assert count > 500


def test_changed_bytes_give_a_network_or_a_refusal(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    examples, path = amp_files.examples(), tmp_path / "a"
    letters = b'0123456789.-+eE,[]{}:"\\ tfnu\x00\xff'
    outcomes = {True: 0, False: 0}
    for number in range(400):
        content = bytearray(examples[number % len(examples)])
        for _ in range(int(generator.integers(1, 4))):
            place = int(generator.integers(len(content)))
            # Digits alone leave many a file whole.
            choice = int(generator.integers(10 if number % 2 else len(letters)))
            content[place] = letters[choice]
        path.write_bytes(content)
        for opener in (gatewise.from_nam, gatewise.from_rtneural):
            try:
                opener(path)
                outcomes[True] += 1
            except gatewise.FormatError:
                outcomes[False] += 1
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize(
    "content",
    [
        amp_files.encoded(
            amp_files.nam_file(1, 3, 1)
            | {"config": {"input_size": 1, "hidden_size": 16384, "num_layers": 4}}
        ),
        changed(net(), ("layers", 0, "shape"), [None, None, 1 << 24]),
        changed(net(), ("layers", 2, "dilation"), [1 << 24]),
        changed(
            amp_files.guitarml_file("LSTM", 1, 3), ("model_data", "hidden_size"), 10**7
        ),
        # What treats each feature alone would be a matrix of 10 GB.
        amp_files.encoded(amp_files.rtneural_file([("prelu", 50_000, 1)], 50_000)),
        amp_files.encoded(amp_files.rtneural_file([("activation", 50_000, "elu")], 50_000)),
        amp_files.encoded(
            amp_files.rtneural_file([("conv1d", 50_000, 1, 1, 50_000, "")], 50_000)
        ),
    ],
    ids=range(7),
)
def test_a_small_file_gets_no_memory_for_a_large_claim(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    opener = gatewise.from_nam if b"architecture" in content else gatewise.from_rtneural
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(gatewise.FormatError):
            opener(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 + 40 * len(content)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (("prelu", 512, 1), 512),
        (("activation", 512, "elu"), 512),
        (("conv1d", 1024, 1, 1, 1024, ""), 1024),
    ],
)
def test_many_small_layers_get_no_memory_either(
    layer: Any, size: int, tmp_path: Path
) -> None:
    """Each would be some MB."""
    path = tmp_path / "net.json"
    path.write_bytes(amp_files.encoded(amp_files.rtneural_file([layer] * 33, size)))
    with pytest.raises(gatewise.FormatError, match=r"layers\[\d+\] should be smaller: its"):
        gatewise.from_rtneural(path)


def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    for opener in (gatewise.from_nam, gatewise.from_rtneural):
        with pytest.raises(FileNotFoundError):
            opener(tmp_path / "missing")
        with pytest.raises(gatewise.FormatError, match="a directory"):
            opener(tmp_path)
        (tmp_path / "empty").touch()
        with pytest.raises(gatewise.FormatError, match="empty"):
            opener(tmp_path / "empty")


# What opens the files that it is given, and prints all else that was opened or imported.
WATCHED = """
import sys
import gatewise
from gatewise.formats import inspect

openers = [gatewise.from_nam, gatewise.from_rtneural, gatewise.load_arrays, inspect]
paths = sys.argv[1:]
for opener in openers:
    try:
        opener(paths[0])
    except gatewise.FormatError:
        pass
seen = []
names = ("open", "import", "exec", "compile", "os.", "subprocess.", "socket.", "ctypes.")
sys.addaudithook(lambda name, what: name.startswith(names) and seen.append((name, what)))
for path in paths:
    for opener in openers:
        try:
            opener(path)
        except gatewise.FormatError:
            pass
# A number is what is open already.
opened = [what[0] for name, what in seen if name == "open" and type(what[0]) is str]
assert set(opened) == set(paths), opened
assert {name for name, _ in seen} == {"open"}, seen
print(len(opened))
"""


def test_nothing_else_is_opened_or_run(tmp_path: Path) -> None:
    harm = {
        "../../etc/passwd": "__import__('os').system('x')",
        "$ref": "file:///etc/passwd",
    }
    contents = [*amp_files.examples(), b"{", amp_files.encoded({"architecture": harm})]
    contents.append(amp_files.encoded(amp_files.nam_file(1, 3, 1) | {"metadata": harm}))
    paths = []
    for number, content in enumerate(contents):
        paths.append(str(tmp_path / f"{number}.json"))
        Path(paths[-1]).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *paths],
        capture_output=True,
        text=True,
        env=os.environ | {"GATEWISE_BACKEND": "numpy"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4 * len(paths)
