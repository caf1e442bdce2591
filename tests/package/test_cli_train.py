"""``gatewise train`` and ``gatewise sample``, run as a user runs them."""

from __future__ import annotations

import io
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from gatewise import cli
from gatewise.kernels import chooser
from gatewise.training import commands, progress, save_checkpoint
from gatewise.training.language_model import load_language_model
from gatewise.training.language_training import LanguageTraining

TEXT = "the cat sat on the mat, and the dog sat on the cat; " * 60
# BLAS threads that wait for each other on busy cores can take ten times as long.
ENVIRONMENT = os.environ | {
    "GATEWISE_BACKEND": "numpy",
    "OPENBLAS_NUM_THREADS": "1",
    # Buffers hide what cannot be written until the end.
    "PYTHONUNBUFFERED": "",
}
SMALL = ["--hidden-size", "16", "--length", "20", "--batch-size", "4"]
QUICK = [*SMALL, "--learning-rate", "0.02", "--steps", "120"]


def gatewise(
    directory: Path, *arguments: str, backend: str = "numpy"
) -> subprocess.CompletedProcess[str]:
    """Run the command line, in this process: starting another one takes far longer."""
    out, error = io.StringIO(), io.StringIO()
    with (
        chdir(directory),
        redirect_stdout(out),
        redirect_stderr(error),
        chooser.use(backend),
    ):
        status = cli.main(arguments)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), error.getvalue())


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line as a process of its own, to be stopped or cut off."""
    return subprocess.Popen(
        [sys.executable, "-m", "gatewise", *arguments],
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a text, and a model trained on it."""
    directory = tmp_path_factory.mktemp("trained")
    (directory / "text.txt").write_text(TEXT)
    result = gatewise(directory, "train", "text.txt", *QUICK, "--output", "cat.safetensors")
    assert result.returncode == 0, result.stderr
    return directory


def assert_one_error(result: subprocess.CompletedProcess[str], pattern: str) -> None:
    """Assert that it failed with one clear line, which matches `pattern`, and no more."""
    assert result.returncode != 0
    assert re.fullmatch(rf"gatewise: error: .*{pattern}.*\n", result.stderr), result.stderr
    assert ".partial" not in result.stderr


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_training_beats_order_zero_and_samples(
    tmp_path: Path, cell: str, backend: str
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    options = [*QUICK, "--cell", cell, "--layers", "2"]
    result = gatewise(tmp_path, "train", "text.txt", *options, backend=backend)
    assert result.returncode == 0, result.stderr
    found = re.search(
        r"held out: ([\d.]+) bits .* order-0 statistics need ([\d.]+)", result.stdout
    )
    assert found is not None
    assert float(found[1]) < 0.5 * float(found[2])
    assert f"backend: {backend}" in result.stdout
    model = load_language_model(tmp_path / "model.safetensors")
    assert (model.cell, model.num_layers, model.hidden_size) == (cell, 2, 16)
    words = gatewise(
        tmp_path, "sample", "model.safetensors", "--seed", "1", "--length", "200"
    )
    assert set(words.stdout.split()) & {"the", "cat", "sat", "mat,"}


def test_both_commands_say_how_to_go_on_in_python(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    options = [*SMALL, "--steps", "2", "--output", str(output)]
    training = gatewise(trained, "train", "text.txt", *options)
    options = ["--length", "30", "--prompt", "the ", "--seed", "4"]
    sample = gatewise(tmp_path, "sample", str(output), *options)
    for text in (training.stdout, sample.stderr):
        code = re.findall(r"^    (.*)$", text, re.MULTILINE)
        with redirect_stdout(io.StringIO()) as printed:
            exec("\n".join(code))
        assert len(printed.getvalue()) > 30
    # The same as the command has written.
    assert printed.getvalue() == sample.stdout


def test_the_bar_shows_bits_and_time_left(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    result = gatewise(
        trained,
        "train",
        "text.txt",
        *QUICK,
        "--output",
        str(tmp_path / "model.safetensors"),
    )
    assert re.search(r"100%.*left.*bits per character", result.stderr)


def test_without_tqdm_there_are_plain_lines(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    # Where training is slow there are lines before the last.
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", math.inf)
    result = gatewise(
        trained,
        "train",
        "text.txt",
        *QUICK,
        "--output",
        str(tmp_path / "model.safetensors"),
    )
    assert re.fullmatch(r"100%, 0 s left, [\d.]+ bits per character\n", result.stderr)


def test_without_a_text_it_trains_on_the_reference_text(tmp_path: Path) -> None:
    result = gatewise(tmp_path, "train", *SMALL, "--steps", "3")
    assert result.returncode == 0, result.stderr
    assert "no TEXT given" in result.stdout
    assert "pydoc_data.topics" in result.stdout
    assert gatewise(tmp_path, "sample", "--prompt", "The ").stdout.startswith("The ")


def test_seconds_limit_the_time(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    options = [*SMALL, "--seconds", "0.3", "--output", str(output)]
    result = gatewise(trained, "train", "text.txt", *options)
    assert result.returncode == 0
    training = LanguageTraining.resume(output, TEXT)
    assert training.seconds >= 0.3
    assert training.step > 0
    assert f"after {training.step} steps" in result.stdout


def test_samples_are_the_seeds(trained: Path) -> None:
    def sample(*options: str) -> str:
        result = gatewise(trained, "sample", "cat.safetensors", "--length", "60", *options)
        assert result.returncode == 0, result.stderr
        return result.stdout

    first = sample("--seed", "5", "--prompt", "the ")
    assert first.startswith("the ")
    assert len(first) == 4 + 60 + 1
    assert sample("--seed", "5", "--prompt", "the ") == first
    assert sample("--seed", "6", "--prompt", "the ") != first
    coldest = sample("--temperature", "0", "--seed", "1")
    assert coldest == sample("--temperature", "0", "--seed", "2")
    assert sample("--length", "0", "--prompt", "a cat") == "a cat\n"


def test_a_sample_goes_into_a_closed_pipe_quietly(trained: Path) -> None:
    process = start(trained, "sample", "cat.safetensors", "--length", "100000")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 1


def test_resumed_training_ends_where_uninterrupted_training_does(trained: Path) -> None:
    text = (trained / "text.txt").read_text()
    expected = LanguageTraining.resume(trained / "cat.safetensors", text)
    # The learning rate depends on the end, so both runs aim at the same one.
    middle = LanguageTraining(
        type(expected.model).from_description(expected.model.describe()),
        text,
        expected.settings,
    )
    with chooser.use("numpy"):
        middle.run(steps=120, stopped=lambda: middle.step == 50)
    middle.save(trained / "middle.safetensors")
    result = gatewise(
        trained,
        "train",
        "text.txt",
        "--resume",
        "--output",
        "middle.safetensors",
        "--steps",
        "120",
    )
    assert result.returncode == 0, result.stderr
    found = LanguageTraining.resume(trained / "middle.safetensors", text)
    assert found.step == expected.step == 120
    weights, wanted = found.model.network.parameters(), expected.model.network.parameters()
    for name, array in wanted.items():
        assert (weights[name] == array).all(), name


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("interruptible")
def test_a_signal_saves_and_stops(
    trained: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "model.safetensors"
    interval = ["--checkpoint-interval", "0.01"]
    process = start(
        trained, "train", "text.txt", *SMALL, *interval, "--output", str(output)
    )
    while not output.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "saved in" in out
    assert "--resume" in error.splitlines()[-1]
    assert "Traceback" not in error
    step = LanguageTraining.resume(output, TEXT).step
    assert step > 0
    result = gatewise(
        trained,
        "train",
        "text.txt",
        "--resume",
        "--output",
        str(output),
        "--steps",
        str(step + 9),
    )
    assert f"after {step + 9} steps" in result.stdout


def test_the_seed_decides_all_that_is_drawn(trained: Path, tmp_path: Path) -> None:
    def first_step(seed: str) -> dict[str, np.ndarray]:
        options = [*SMALL, "--steps", "1", "--overwrite", "--seed", seed]
        output = ["--output", str(tmp_path / "model.safetensors")]
        # So slow a step that what is left is what was drawn at first.
        result = gatewise(
            trained, "train", "text.txt", *options, *output, "--learning-rate", "1e-30"
        )
        assert result.returncode == 0, result.stderr
        return load_language_model(tmp_path / "model.safetensors").network.state_dict()

    first, again, other = first_step("3"), first_step("3"), first_step("4")
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
        assert (other[name] != array).any(), name


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), commands._signals_noted() as noted:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert noted == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.usefixtures("interruptible")
def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with commands._signals_noted() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert noted == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_loses_the_last_interval_at_most(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    interval = ["--checkpoint-interval", "0.01"]
    steps = 0
    for attempt in range(3):
        options = ["--resume"] if attempt else SMALL
        process = start(
            trained, "train", "text.txt", *options, *interval, "--output", str(output)
        )
        while not output.exists() or (
            attempt and LanguageTraining.resume(output, TEXT).step == steps
        ):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.05 * attempt)
        process.kill()
        process.communicate()
        # The file is whole, and further than it was.
        found = LanguageTraining.resume(output, TEXT).step
        assert found > steps
        steps = found


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"", "odd.txt: an empty file"),
        (b"\0\1\2\3" * 100, "odd.txt: a binary file"),
        (b"\xff\xfe" * 100, "odd.txt: not a UTF-8 text"),
        (b"too short", "7 characters to train on, but one batch needs 81 "),
    ],
)
def test_a_text_that_will_not_do(tmp_path: Path, content: bytes, pattern: str) -> None:
    (tmp_path / "odd.txt").write_bytes(content)
    result = gatewise(tmp_path, "train", "odd.txt", *SMALL)
    assert_one_error(result, pattern)
    assert not (tmp_path / "model.safetensors").exists()


def test_texts_that_are_not_there(tmp_path: Path) -> None:
    assert_one_error(
        gatewise(tmp_path, "train", "missing.txt"), "missing.txt: No such file"
    )
    (tmp_path / "texts").mkdir()
    result = gatewise(tmp_path, "train", "texts")
    assert_one_error(result, "texts: (Is a directory|Permission denied)")


def test_outputs_that_cannot_be_written_are_noticed_before_training(trained: Path) -> None:
    for output, pattern in [
        (
            "missing/model.safetensors",
            "missing.model.safetensors: No such file or directory",
        ),
        (".", "is a directory"),
        ("text.txt/model.safetensors", "(Not a directory|No such file)"),
    ]:
        result = gatewise(trained, "train", "text.txt", "--output", output)
        assert_one_error(result, pattern)
        assert result.stdout == ""


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="the superuser may write anywhere, and Windows has other rules",
)
def test_a_protected_directory_is_noticed_before_training(
    trained: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    result = gatewise(
        trained, "train", "text.txt", "--output", str(tmp_path / "model.safetensors")
    )
    tmp_path.chmod(0o700)
    assert_one_error(result, "Permission denied")


def test_an_existing_model_is_not_replaced_unasked(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    output.write_bytes((trained / "cat.safetensors").read_bytes())
    before = output.read_bytes()
    command = ["train", "text.txt", *SMALL, "--steps", "1", "--output", str(output)]
    assert_one_error(gatewise(trained, *command), "exists; --resume .* --overwrite")
    assert output.read_bytes() == before
    assert gatewise(trained, *command, "--overwrite").returncode == 0
    assert LanguageTraining.resume(output, TEXT).step == 1


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX links")
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_the_text_is_never_replaced_by_the_model(tmp_path: Path, option: str) -> None:
    text = tmp_path / "in.txt"
    text.write_text(TEXT)
    (tmp_path / "soft.txt").symlink_to("in.txt")
    (tmp_path / "hard.txt").hardlink_to(text)
    (tmp_path / "other.txt").write_text(TEXT)
    names = ["in.txt", "./in.txt", "soft.txt", "hard.txt", str(text)]
    for output in names:
        command = ["train", "other.txt", "in.txt", "--output", output, option]
        result = gatewise(tmp_path, *command, *SMALL, "--steps", "1")
        assert_one_error(result, "is in.txt, the text to train on; name another file")
        assert text.read_text() == TEXT
    result = gatewise(tmp_path, "train", "soft.txt", "--output", "in.txt", option)
    assert_one_error(result, "in.txt: is soft.txt, the text to train on")
    assert sorted(os.listdir(tmp_path)) == ["hard.txt", "in.txt", "other.txt", "soft.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_a_text_without_an_end_is_refused(tmp_path: Path) -> None:
    result = gatewise(tmp_path, "train", "/dev/zero")
    assert_one_error(result, "/dev/zero: a binary file, not a text")


@pytest.mark.parametrize("command", ["sample", "train"])
def test_model_files_that_will_not_do(trained: Path, tmp_path: Path, command: str) -> None:
    model = tmp_path / "model.safetensors"
    whole = (trained / "cat.safetensors").read_bytes()

    def run() -> subprocess.CompletedProcess[str]:
        if command == "sample":
            return gatewise(trained, "sample", str(model))
        return gatewise(trained, "train", "text.txt", "--resume", "--output", str(model))

    assert_one_error(run(), "model.safetensors: No such file")
    weights = load_language_model(trained / "cat.safetensors").network.parameters()
    place = whole.index(weights["0.weight_hh_l0"].tobytes())
    damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for content in (b"", b"hello", whole[:-50], whole[: len(whole) // 3], damaged):
        model.write_bytes(content)
        said = "not a gatewise file, or a damaged one"
        if content == damaged:
            said = r"not a whole language model \(.*weight_hh_l0' is damaged"
        assert_one_error(run(), f"model.safetensors: {said}")
        assert model.read_bytes() == content
    save_checkpoint(model, "fit checkpoint", {}, {})
    assert_one_error(run(), "holds 'fit checkpoint', not 'language model'")
    save_checkpoint(model, "language model", {}, {"model": {}})
    assert_one_error(run(), "not a whole language model")
    model.unlink()
    model.mkdir()
    assert_one_error(
        run(), "model.safetensors: (is a directory|Is a directory|Permission denied)"
    )


def test_resuming_something_else_is_refused(trained: Path) -> None:
    command = ["train", "--resume", "--output", "cat.safetensors"]
    before = (trained / "cat.safetensors").read_bytes()
    result = gatewise(trained, *command, "text.txt", "--hidden-size", "17")
    assert_one_error(result, "has --hidden-size 16, which --resume cannot change")
    result = gatewise(trained, *command, "text.txt", "--cell", "rnn")
    assert_one_error(result, "has --cell gru, which")
    assert_one_error(gatewise(trained, *command), "was trained on another text")
    result = gatewise(trained, *command, "text.txt", "--steps", "120")
    assert_one_error(result, "has been trained for .* 120 steps; larger")
    assert (trained / "cat.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (
            ["train", "--hidden-size", "0"],
            "--hidden-size should be a whole number from 1 to 1000000000",
        ),
        (["train", "--layers", "two"], "--layers should be .*, got 'two'"),
        (["train", "--length", "-3"], "--length should be"),
        (["train", "--layers", "9" * 30], "--layers should be .* to 1000000000"),
        (["train", "--batch-size", "1.5"], "--batch-size should be"),
        (["train", "--learning-rate", "nan"], "--learning-rate should be a number above 0"),
        (["train", "--seconds", "inf"], "--seconds should be"),
        (["train", "--steps", "0"], "--steps should be"),
        (["train", "--checkpoint-interval", "0"], "--checkpoint-interval should be"),
        (["train", "--seed", "-1"], "--seed should be a whole number of at least 0"),
        (["train", "--cell", "elman"], "cell should be one of gru, lstm, rnn, got 'elman'"),
        (["sample", "cat.safetensors", "--temperature", "-1"], "--temperature should be"),
        (["sample", "cat.safetensors", "--length", "many"], "--length should be"),
        (["sample", "cat.safetensors", "--seed", "x"], "--seed should be"),
        (["sample", "cat.safetensors", "--prompt", "the Über-cat"], "vocabulary: '-brÜ'"),
    ],
)
def test_bad_options_are_named(trained: Path, arguments: list[str], pattern: str) -> None:
    result = gatewise(trained, *arguments)
    assert_one_error(result, pattern)


def test_training_that_diverges_says_so(trained: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "model.safetensors")
    options = [*SMALL, "--steps", "50", "--learning-rate", "1e38", "--output", output]
    result = gatewise(trained, "train", "text.txt", *options)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert re.match(r"gatewise: error: the loss is (nan|inf) .*lower learning rate", last)
    assert "Traceback" not in result.stderr
