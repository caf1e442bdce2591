"""Text: files that cannot be read, characters as tokens, and batches that continue."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.training import text
from gatewise.training.text import (
    TextError,
    TokenBatches,
    Vocabulary,
    order_zero_bits,
    read_texts,
    reference_text,
    split_held_out,
)


def test_files_are_joined_and_their_line_ends_made_newlines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffé\r\nb\rc".encode())
    (tmp_path / "b.txt").write_bytes("漢".encode())
    assert read_texts([tmp_path / "a.txt", tmp_path / "b.txt"]) == "é\nb\nc\n漢"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"PNG\0\1", r"binary file.*byte 3"),
        (b"caf\xe9 au lait", r"not a UTF-8 text \(byte 3"),
        (b"\xed\xa0\x80", r"not a UTF-8 text"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes(content)
    with pytest.raises(TextError, match=rf"odd\.txt: .*{message}"):
        read_texts([path])


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_texts([tmp_path / "missing"])
    with pytest.raises(OSError, match="directory"):
        read_texts([tmp_path])


def test_more_text_than_there_is_memory_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_MOST_BYTES", 2 << 20)
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(b"a" * (1 << 20))
    second.write_bytes(b"b" * (1 << 20))
    assert len(read_texts([first, second])) == (2 << 20) + 1
    for paths in ([first, second, first], [first, first, first]):
        with pytest.raises(TextError, match=r"a\.txt: too large; 2 MiB .* together"):
            read_texts(paths)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_devices_and_pipes_are_read_no_further_than_need_be(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="/dev/zero: a binary file"):
        read_texts(["/dev/zero"])
    for content, problem in [
        ("x" * 64, "too large; 128 MiB"),
        ("", "an empty file"),
    ]:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        endless = content != ""
        # A writer that ends when nobody reads on.
        script = f"""
import sys
try:
    with open(sys.argv[1], "w") as pipe:
        while {endless}:
            pipe.write({content!r} * 4096)
except BrokenPipeError:
    pass
"""
        with (
            subprocess.Popen(
                [sys.executable, "-c", script, str(pipe)], stderr=subprocess.DEVNULL
            ),
            pytest.raises(TextError, match=problem),
        ):
            read_texts([pipe])
        pipe.unlink()


def test_long_texts_have_the_tokens_of_their_pieces() -> None:
    base = "a rose is a rose\n" * 5
    vocabulary = Vocabulary(base)
    long = base * ((2 << 20) // len(base))
    tokens = vocabulary.encode(long)
    np.testing.assert_array_equal(
        tokens, np.tile(vocabulary.encode(base), len(long) // len(base))
    )
    with pytest.raises(TextError, match="'Z'"):
        vocabulary.encode(long + "Z")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_text_survives_its_tokens(text: str) -> None:
    vocabulary = Vocabulary(text)
    tokens = vocabulary.encode(text)
    assert len(vocabulary) == len(set(text))
    assert vocabulary.decode(tokens) == text
    assert set(tokens.tolist()) == set(range(len(vocabulary)))


def test_characters_outside_the_vocabulary_are_named() -> None:
    with pytest.raises(TextError, match=r"outside the 3 of the vocabulary: 'XYé'"):
        Vocabulary("abc").encode("aYXbéX")
    assert Vocabulary("abc").encode("").shape == (0,)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_order_zero_bits_are_the_entropy(tokens: list[int]) -> None:
    shares = np.array(list(Counter(tokens).values())) / len(tokens)
    expected = -sum(share * np.log2(share) for share in shares)
    assert order_zero_bits(np.array(tokens)) == pytest.approx(expected, abs=1e-12)


def test_the_held_out_part_is_the_end() -> None:
    training, held_out = split_held_out(np.arange(2001), 0.1)
    np.testing.assert_array_equal(np.concatenate([training, held_out]), np.arange(2001))
    assert held_out.size == 201
    assert split_held_out(np.zeros(10_000_000, np.intp))[1].size == 65536


@given(
    st.integers(2, 200),
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_batches_continue_one_another(
    size: int, batch_size: int, length: int, seed: int, number: int
) -> None:
    tokens = np.arange(size)
    if size < batch_size * length + 1:
        with pytest.raises(TextError, match=f"needs {batch_size * length + 1} "):
            TokenBatches(tokens, batch_size, length, seed)
        return
    batches = TokenBatches(tokens, batch_size, length, seed)
    first = number * batches.batches_a_pass
    a_pass = [batches[first + index] for index in range(batches.batches_a_pass)]
    assert [begins for _, _, begins in a_pass] == [True] + [False] * (len(a_pass) - 1)
    inputs = np.concatenate([inputs for inputs, _, _ in a_pass], axis=1)
    targets = np.concatenate([targets for _, targets, _ in a_pass], axis=1)
    # The tokens count upwards, so every target is its input and one more.
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(np.diff(inputs.ravel()), 1)
    assert targets.max() < size


def test_passes_begin_at_different_places_that_the_seed_decides() -> None:
    tokens = np.arange(1000)
    batches = TokenBatches(tokens, 3, 90, seed=1)
    starts = [int(batches[n * batches.batches_a_pass][0][0, 0]) for n in range(8)]
    assert len(set(starts)) > 1
    again = TokenBatches(tokens, 3, 90, seed=1)
    assert starts == [int(again[n * again.batches_a_pass][0][0, 0]) for n in range(8)]


def test_the_reference_text_is_english_and_long() -> None:
    text = reference_text()
    assert len(text) > 200_000
    assert text.count(" the ") > 1000
    # Each paragraph once, and neither headings nor tables nor much code.
    paragraphs = text.split("\n\n")
    assert len(set(paragraphs)) == len(paragraphs)
    assert "---" not in text
    assert "***" not in text
    assert sum(map(str.isalpha, text)) > 0.72 * len(text)
