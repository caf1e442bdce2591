"""The machine for pickles: what it makes of good ones, and that no other does any harm."""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import random
import struct
import time
from contextlib import suppress
from typing import Any

import pytest

from gatewise.formats.errors import FormatError
from gatewise.formats.pytorch.pickle_numpy import NUMPY
from gatewise.formats.pytorch.pickle_tree import find_arrays
from gatewise.formats.pytorch.pickle_values import PYTHON, Inert
from gatewise.formats.pytorch.pickles import Pickle, load_pickle
from gatewise.formats.pytorch.tensors import TORCH

KNOWN = {**PYTHON, **NUMPY, **TORCH}


def load(program: bytes) -> Pickle:
    return load_pickle(io.BytesIO(program), known=KNOWN, persistent=lambda name: name)


def metadata(program: bytes) -> dict[str, Any]:
    return find_arrays(load(program)).metadata


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_out_as_they_were(protocol: int) -> None:
    value = {
        "numbers": [0, 1, 255, 256, 65536, -1, -(2**31), 2**31, 2**64, -(2**500), True],
        "floats": [0.5, -1e300, float("inf"), 1e-5],
        "texts": ["", "a\nb", "é\\u20", "日本", "\U0001f600" * 100, "'\"", "x" * 300],
        "nothing": None,
        "pair": [[], {}, [1, [2, [3]]]],
        "namespace": argparse.Namespace(rate=0.1, name="net"),
        "again": ["one"] * 3,
        "many": list(range(2000)),
    }
    found = metadata(pickle.dumps(value, protocol))
    value["namespace"] = {"rate": 0.1, "name": "net"}
    assert found == value


@pytest.mark.parametrize("protocol", range(6))
def test_sets_tuples_and_bytes_have_plain_forms(protocol: int) -> None:
    value = {"a": {1}, "b": (1, (2,)), "c": b"\x80ab", "d": frozenset([2]), "e": 1 + 2j}
    assert metadata(pickle.dumps(value, protocol)) == {
        "a": [1],
        "b": [1, [2]],
        "c": "3 bytes",
        "d": [2],
        "e": "(1+2j)",
    }


def test_keys_that_are_no_text_are_written_as_text() -> None:
    value = {1: 1, None: 2, (0, "a"): 3, 0.5: 4, int: 5, b"raw": 6, frozenset(): 7}
    assert metadata(pickle.dumps(value, 4)) == {
        "1": 1,
        "None": 2,
        "(0, a)": 3,
        "0.5": 4,
        "builtins.int": 5,
        "raw": 6,
        "list 6": 7,
    }


def test_a_second_entry_of_a_name_is_refused() -> None:
    with pytest.raises(FormatError, match="two entries '1'"):
        metadata(pickle.dumps({1: "a", "1": "b"}))


MALICE = [
    b"cos\nsystem\n(X\x04\0\0\0exittR.",
    b"cposix\nsystem\nX\x04\0\0\0exit\x85R.",
    b"(S'exit'\nios\nsystem\n.",
    b"(cos\nsystem\nX\x04\0\0\0exito.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85R.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85\x81.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85}\x92.",
    b"cbuiltins\neval\nX\x0b\0\0\0exit('ran')\x85R.",
    b"cbuiltins\nexec\nX\x09\0\0\0import os\x85R.",
    b"c__builtin__\ngetattr\nc__builtin__\n__import__\nX\x08\0\0\0__call__\x86R"
    b"X\x02\0\0\0os\x85R.",
    b"cbuiltins\nopen\nX\x0b\0\0\0/etc/passwd\x85R.",
    b"csubprocess\nPopen\n(]X\x04\0\0\0exitatR.",
    b"cpickle\nloads\nB\x05\0\0\0cos\nX\x85R.",
    b"ctorch\nload\nX\x0b\0\0\0/etc/passwd\x85R.",
    b"ctorch.hub\nload\nX\x0b\0\0\0/etc/passwd\x85R.",
    b"ctorch._utils\n_rebuild_device_tensor_from_numpy\ncos\nsystem\n\x85R.",
    b"ctorch.storage\n_load_from_bytes\nB\x05\0\0\0cos\nX\x85R.",
    b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN(X\x04\0\0\0exitt}tR.",
    b"cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\nK\0\x85C\x01b\x87R.",
    b"cnumpy\ndtype\ncos\nsystem\n\x85R.",
    b"cnumpy\nload\nX\x0b\0\0\0/etc/passwd\x85R.",
    b"cthis\ns\n.",
    b"cantigravity\nfly\n.",
    b"c../../etc\npasswd\n.",
    b"ccopyreg\n_reconstructor\ncos\nsystem\nc__builtin__\nobject\nN\x87R.",
    b"ccopyreg\nadd_extension\n(X\x02\0\0\0osX\x06\0\0\0systemK\x01tR.",
    # A state that would replace attributes of the class, or call its __setstate__.
    b"cmodule\nClass\n)\x81}X\x0c\0\0\0__setstate__cos\nsystem\nsbX\x04\0\0\0exitb.",
    b"ccollections\nOrderedDict\n)R}X\x09\0\0\0__class__cos\nsystem\nsb.",
    b"ccollections\ndefaultdict\ncos\nsystem\n\x85RK\x01\x85.",
    b"cbuiltins\nmap\ncos\nsystem\n]X\x04\0\0\0exita\x86Rcbuiltins\nlist\n0.",
]


@pytest.mark.parametrize("program", MALICE)
def test_a_call_stays_a_description(program: bytes) -> None:
    # Whatever would call or import something is gone once it is walked through.
    try:
        found = metadata(program)
    except FormatError:
        return
    assert "os.system" in str(found) or set(map(type, found.values())) <= {str, list, dict}


def test_what_is_made_of_an_unknown_name_keeps_all_that_it_was_made_of() -> None:
    program = (
        b"\x80\x04\x8c\x01m\x8c\x01C\x93K\x01\x85}\x8c\x01kK\x02s\x92"
        b"K\x03aK\x04K\x05s}\x8c\x01aK\x06sb."
    )
    value = load(program).value
    assert isinstance(value, Inert)
    assert (value.arguments, value.items) == ((1,), [3])
    assert metadata(program) == {
        "__class__": "m.C",
        "__arguments__": [1],
        "__keywords__": {"k": 2},
        "__items__": [3],
        "4": 5,
        "a": 6,
    }


def arguments(operation: pickletools.OpcodeInfo) -> list[bytes]:
    """What may stand behind an operation, some of it absurd."""
    if operation.arg is None:
        return [b""]
    largest = b"\xff" * 8
    return {
        "uint1": [b"\x01", b"\xff"],
        "uint2": [b"\x01\x00", b"\xff\xff"],
        "int4": [b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"],
        "uint4": [b"\x01\0\0\0", b"\xff\xff\xff\xff"],
        "uint8": [b"\x01" + b"\0" * 7, largest, largest[:7] + b"\x7f"],
        "float8": [struct.pack(">d", 0.5)],
        "floatnl": [b"0.5\n", b"1_0\n", b"x\n", b"1" * 2000 + b"\n", b" 1\n"],
        "decimalnl_short": [b"5\n", b"01\n", b"9" * 5000 + b"\n", b"\xd9\xa1\n", b"-0x1\n"],
        "decimalnl_long": [b"5L\n", b"9" * 5000 + b"L\n", b"L\n"],
        "stringnl": [b"'a'\n", b"'\\x41'\n", b"'\\x4'\n", b"'\\N'\n", b"'a\n", b"'\n"],
        "stringnl_noescape": [b"a\n", b"x" * 5000 + b"\n"],
        "stringnl_noescape_pair": [b"os\nsystem\n", b"\xff\n\xfe\n", b"\n\n"],
        "unicodestringnl": [b"a\n", b"\\ud800\n", b"\\u12\n", b"\\U00999999\n"],
        "string1": [b"\x02ab", b"\x02\xff\xfe"],
        "string4": [b"\x02\0\0\0ab", b"\xff\xff\xff\xffab", b"\xff\xff\xff\x7f"],
        "bytes1": [b"\x02ab"],
        "bytes4": [b"\x02\0\0\0ab", b"\xff\xff\xff\xff"],
        "bytes8": [b"\x02" + b"\0" * 7 + b"ab", largest, largest[:7] + b"\x7f"],
        "bytearray8": [b"\x02" + b"\0" * 7 + b"ab", largest],
        "unicodestring1": [b"\x02ab", b"\x02\xff\xfe", b"\x03\xed\xa0\x80"],
        "unicodestring4": [b"\x02\0\0\0ab", b"\xff\xff\xff\xff"],
        "unicodestring8": [b"\x02" + b"\0" * 7 + b"ab", largest],
        "long1": [b"\x02ab", b"\x00"],
        "long4": [b"\x02\0\0\0ab", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"],
    }[operation.arg.name]


# What an operation may find before it.
STACKS = [
    b"",
    b"N",
    b"NN",
    b"(",
    b"(N",
    b"]N",
    b"}NN",
    b"](",
    b"}(NN",
    b"cm\nC\n)",
    b"()K\x01",
]


@pytest.mark.parametrize("operation", pickletools.opcodes, ids=lambda each: each.name)
def test_every_operation_is_done_or_refused(operation: pickletools.OpcodeInfo) -> None:
    for stack in STACKS:
        for argument in arguments(operation):
            program = stack + operation.code.encode("latin-1") + argument
            ends = range(len(stack), min(len(program), 40))
            for end in (*ends, len(program)):
                for rest in (b"", b"."):
                    check(program[:end] + rest)


@pytest.mark.parametrize("operation", pickletools.opcodes, ids=lambda each: each.name)
def test_a_real_pickle_cut_off_is_refused(operation: pickletools.OpcodeInfo) -> None:
    protocol = max(operation.proto, 0)
    content = pickle.dumps(
        {"a": [1, 2.5, {"b": (3, "x")}], "c": b"raw", "d": 2**70}, protocol
    )
    for end in range(len(content)):
        with pytest.raises(FormatError, match="at byte"):
            load(content[:end])


def check(program: bytes) -> None:
    """Nothing but values and refusals may come of a program."""
    with suppress(FormatError):
        find_arrays(load(program))


def test_random_programs_are_done_or_refused() -> None:
    draw = random.Random(5)
    parts = [
        operation.code.encode("latin-1") + argument
        for operation in pickletools.opcodes
        for argument in arguments(operation)
        if operation.code != "."
    ]
    parts += [b"K\x01", b"]", b"}", b")", b"(", b"N", b"h\x00", b"q\x00", b"\x94"] * 10
    names = [f"c{module}\n{name}\n".encode() for module, name in KNOWN]
    for _ in range(5000):
        program = b"".join(draw.choices(parts + names, k=draw.randrange(1, 30))) + b"t."
        check(b"(" + program)


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        (b"", "ends early"),
        (b"\x80\x06N.", "protocol should be at most 5, got 6"),
        (b"\xffN.", "no operation"),
        (b"N", "ends early"),
        (b".", "one value, got 0"),
        (b"NN.", "one value, got 2"),
        (b"(N.", "one value"),
        (b"\x8b\xff\xff\xff\x7f.", "at most 256 bytes, got 2147483647"),
        (b"\x8b\xe8\x03\0\0" + b"\1" * 1000 + b".", "at most 256 bytes, got 1000"),
        (b"I" + b"9" * 900 + b"\n.", "a whole number"),
        (b"L" + b"9" * 10_000_000 + b"L\n.", "too long"),
        (b"\x8e" + b"\xff" * 7 + b"\x7f.", "bytes should follow, got 1"),
        (b"\x8d" + b"\xff" * 8 + b".", "bytes should follow, got 1"),
        (b"\x95" + b"\xff" * 8 + b"N.", "bytes should follow"),
        (b"T\xff\xff\xff\xff.", "bytes should follow"),
        (b"Nr\xff\xff\xff\xff.", "puts a value at 4294967295"),
        (b"Np99999999999999999999\n.", "puts a value at"),
        (b"Np-1\n.", "a place in the memo"),
        (b"h\x00.", "takes what was put at 0"),
        (b"\x82\x01.", "no operation"),
        (b"\x97.", "no operation"),
        (b"\x98.", "no operation"),
        (b"P1\n.", "no operation"),
        (b"NR.", "takes a value"),
        (b"NNR.", "arguments should be a tuple, got NoneType"),
        (b"N)R.", "calls a NoneType"),
        (b"K\x01Nb.", "gives a state to a int"),
        (b"NK\x01a.", "adds to a NoneType"),
        (b"]NNs.", "sets an entry in a list"),
        (b"]K\x00(K\x01K\x02u.", "sets an entry in a int"),
        (b"}(Nu.", "the last key has no value"),
        (b"(K\x00d.", "the last key has no value"),
        (b"(o.", "an object has no class"),
        (b"NN\x93.", "a name should be text"),
        (b"c" + b"x" * 2000 + b"\nx\n.", "too long"),
    ],
)
def test_what_no_file_needs_is_refused(program: bytes, wanted: str) -> None:
    with pytest.raises(FormatError, match=r"at byte \d+: .*" + wanted):
        load(program)


@pytest.mark.parametrize("levels", [101, 50_000])
@pytest.mark.parametrize(
    ("before", "within", "after"),
    [
        (b"", b")", b"\x85"),
        (b"]", b"]", b"a"),
        (b"}N", b"}", b"s"),
        (b"cm\nC\n", b"N", b"\x85R"),
        (b"cm\nC\n)R", b"N", b"b"),
    ],
)
def test_what_is_nested_deeply_is_refused(
    before: bytes, within: bytes, after: bytes, levels: int
) -> None:
    pickled = load(before * levels + within + after * levels + b".")
    with pytest.raises(FormatError, match="nested deeper than 100 levels"):
        find_arrays(pickled)


@pytest.mark.parametrize("make", ["]", "}", "("])
def test_what_is_shared_without_end_is_refused(make: str) -> None:
    # Each of sixty values holds the one before twice.
    first = {"]": b"]Na", "}": b"}NNs", "(": b")"}[make] + b"q\x00"
    level = {
        "]": b"]h\x00ah\x00aq\x00",
        "}": b"}X\1\0\0\0ah\x00sX\1\0\0\0bh\x00sq\x00",
        "(": b"h\x00h\x00\x86q\x00",
    }[make]
    program = b"(" + first + level * 60 + b"l."
    started = time.perf_counter()
    with pytest.raises(FormatError, match="in each other more than"):
        find_arrays(load(program))
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "program",
    [
        b"]q\x00h\x00a.",
        b"}q\x00Nh\x00s.",
        b"cm\nC\n)Rq\x00h\x00b.",
        b"(]q\x00h\x00a0h\x00t.",
    ],
)
def test_what_is_in_itself_ends(program: bytes) -> None:
    assert "what it is in" in str(metadata(program))


def test_a_text_that_is_meant_a_million_times_is_kept_once() -> None:
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    once = b"h\x00h\x01h\x02\x86R"
    program = (
        b"c_codecs\nencode\nq\x00"
        + text
        + b"q\x01X\x06\0\0\0latin1q\x020000]("
        + once * 20_000
    )
    program = program.replace(b"0000](", b"000](", 1) + b"e."
    assert len(metadata(program)) == 20_000


def test_collections_are_not_copied_for_each_who_means_them() -> None:
    items = b"(" + b"N" * 200_000 + b"lq\x01"
    for kind in (b"c__builtin__\nset\n", b"ccollections\nOrderedDict\n"):
        program = kind + b"q\x00" + items + b"00(" + b"h\x00h\x01\x85R" * 50_000 + b"l."
        started = time.perf_counter()
        check(program)
        assert time.perf_counter() - started < 5


def refused_soon(program: bytes, wanted: str) -> None:
    started = time.perf_counter()
    with pytest.raises(FormatError, match=wanted):
        find_arrays(load(program))
    assert time.perf_counter() - started < 5


def test_a_list_that_is_no_dictionary_is_looked_through_once() -> None:
    pairs = b"NN\x86q\x02(" + b"h\x02" * 100_000 + b"Nlq\x01"
    program = b"(ccollections\nOrderedDict\nq\x00" + pairs + b"h\x00h\x01\x85R" * 50_000
    refused_soon(program + b"t.", "made of pairs")


def test_texts_of_python_2_are_kept_once_however_often_they_are_meant() -> None:
    text = b"T" + struct.pack("<i", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    found = metadata(b"(" + text + b"h\x00" * 10_000 + b"(h\x00h\x00dl.")
    assert found["0"] is found["9999"]
    assert next(iter(found["10001"])) is found["0"]


def test_what_keys_are_made_of_is_short() -> None:
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    keys = b"".join(b"h\x00M" + struct.pack("<H", each) + b"\x86N" for each in range(5000))
    found = metadata(b"(" + text + b"}(" + keys + b"ul.")["1"]
    assert len(found) == 5000
    assert max(map(len, found)) < 300


def test_a_dictionary_that_has_its_entries_as_attributes_too_says_them_once() -> None:
    entries = b"(X\1\0\0\0aG\x7f\xf8\0\0\0\0\0\0X\1\0\0\0bX\1\0\0\0vq\x09u"
    state = b"}(X\1\0\0\0aG\x7f\xf8\0\0\0\0\0\0X\1\0\0\0bh\x09X\1\0\0\0cK\x03u"
    found = metadata(b"cm\nC\n)\x81" + entries + state + b"b.")
    assert str(found) == "{'__class__': 'm.C', 'a': nan, 'b': 'v', 'c': 3}"


def test_attributes_that_differ_from_the_entries_of_their_names_are_kept_apart() -> None:
    program = b"cm\nC\n)\x81X\1\0\0\0aK\x01s}X\1\0\0\0aK\x02sb."
    assert metadata(program) == {"__class__": "m.C", "a": 1, "__state__": {"a": 2}}


def test_whole_numbers_that_are_too_long_for_keys_have_places() -> None:
    key = b"\x8a\x80" + b"\x7f" * 128
    assert metadata(b"}(" + key + b"N" + key + b"\x85Nu.") == {
        "int 0": None,
        "tuple 1": None,
    }


def test_a_dtype_is_said_by_its_name() -> None:
    big = b"(K\x03X\1\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    program = b"(" + dtype("f4") + big + dtype("U3") + b"l."
    assert metadata(program) == {"0": ">f4", "1": "U3"}


def dtype(name: str) -> bytes:
    return b"cnumpy\ndtype\n(X\2\0\0\0" + name.encode() + b"K\0K\1tR"
