"""The commands ``gatewise train`` and ``gatewise sample``."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatewise.formats.files import check_writable
from gatewise.kernels import chooser
from gatewise.training.language_model import CELLS, LanguageModel, load_language_model
from gatewise.training.language_training import LanguageTraining, Settings
from gatewise.training.progress import Progress
from gatewise.training.text import Vocabulary, read_texts, reference_text

__all__ = ["add_commands"]

# What a model file fixes; --resume takes these from it.
_FIXED: dict[str, Any] = {
    "cell": "gru",
    "hidden_size": 256,
    "layers": 1,
    "length": 32,
    "batch_size": 8,
    "learning_rate": 0.004,
    "seed": 0,
}
_SECONDS = 55.0
_MODEL = "model.safetensors"


def add_commands(subparsers: Any) -> None:
    """Add the commands to what `argparse.ArgumentParser.add_subparsers` returned."""
    _add_train(subparsers)
    _add_sample(subparsers)


def _add_train(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a character-level language model on text",
        description="Train a character-level language model on UTF-8 text and save it. "
        "Ctrl-C saves it too and stops.",
    )
    kinds = {
        "hidden_size": _count,
        "layers": _count,
        "length": _count,
        "batch_size": _count,
        "learning_rate": _positive,
        "seed": _whole,
        "seconds": _positive,
        "steps": _count,
        "checkpoint_interval": _positive,
    }
    parser.set_defaults(run=_checked(_train, kinds))
    add = parser.add_argument
    add(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="UTF-8 files, 128 MiB at most; without any, the reference text that every "
        "CPython carries",
    )
    add(
        "--output",
        metavar="MODEL",
        default=_MODEL,
        help=f"file to write; {_MODEL} by default",
    )
    add("--resume", action="store_true", help="go on with the training saved in MODEL")
    add("--overwrite", action="store_true", help="replace MODEL if it exists")
    add(
        "--seconds",
        metavar="N",
        help="time to train, earlier runs of the same model included; "
        f"{_SECONDS:.0f} by default",
    )
    add("--steps", metavar="N", help="batches to train on, at most")
    add(
        "--checkpoint-interval",
        metavar="N",
        default=10.0,
        help="seconds between two savings; 10 by default",
    )
    group = parser.add_argument_group("what a model keeps", "--resume cannot change these.")
    fixed = {
        "cell": f"one of {', '.join(CELLS)}",
        "hidden_size": "units of each layer",
        "layers": "layers, one on another",
        "length": "characters that a gradient goes back through",
        "batch_size": "places of the text that are read side by side",
        "learning_rate": "of Adam, falling towards the end",
        "seed": "decides the initial parameters and the batches",
    }
    for name, text in fixed.items():
        added: Any = group.add_argument(
            _option(name),
            metavar="NAME" if name == "cell" else "N",
            help=f"{text}; {_FIXED[name]} by default",
        )
        if name == "cell":
            # What a shell offers; see the command `completion`.
            added.completer = lambda **_: list(CELLS)


def _add_sample(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sample",
        help="write text from a trained model",
        description="Write text from a model that gatewise train saved.",
    )
    kinds = {"temperature": _not_negative, "length": _whole, "seed": _whole}
    parser.set_defaults(run=_checked(_sample, kinds))
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        nargs="?",
        default=_MODEL,
        help=f"file that gatewise train wrote; {_MODEL} by default",
    )
    add("--prompt", default="", metavar="TEXT", help="how the text begins")
    add(
        "--temperature",
        default=0.7,
        metavar="N",
        help="0 writes the likeliest text, 1 as varied a one as was learned from; "
        "0.7 by default",
    )
    add(
        "--length",
        default=500,
        metavar="N",
        help="characters after the prompt; 500 by default",
    )
    add("--seed", metavar="N", help="the same seed writes the same text")


def _train(options: argparse.Namespace) -> None:
    output = Path(options.output)
    _check_apart(options.texts, output)
    check_writable(output)
    if output.exists() and not (options.resume or options.overwrite):
        raise ValueError(
            f"{output}: exists; --resume goes on with it, --overwrite replaces it"
        )
    text = _read(options.texts)
    training = _resumed(output, text, options) if options.resume else _begun(text, options)
    # Steps alone are no matter of time.
    time_limit = options.seconds or (math.inf if options.steps else _SECONDS)
    step_limit = options.steps or math.inf
    done = training.share_done(time_limit, step_limit)
    if done >= 1:
        raise ValueError(
            f"{output}: has been trained for {training.seconds:.0f} seconds and "
            f"{training.step} steps; larger --seconds or --steps go on"
        )
    print(_summary(training), flush=True)
    with _signals_noted() as noted, Progress(done) as progress:
        training.run(
            seconds=time_limit,
            steps=step_limit,
            path=output,
            checkpoint_interval=options.checkpoint_interval,
            progress=progress,
            stopped=lambda: bool(noted),
        )
    print(
        f"held out: {training.best_bits:.3f} bits per character, where order-0 statistics "
        f"need {training.order_zero_bits:.3f}; after {training.step} steps in "
        f"{training.seconds:.0f} s, saved in {output}"
    )
    if noted:
        print("stopped; the same command with --resume goes on", file=sys.stderr)
        # The status that shells give to a program that a signal ended.
        raise SystemExit(128 + noted[0])
    print("\nIn Python:\n")
    print(_in_python(output))
    print("\nA sample:\n")
    _write(training.model.sample(400, temperature=0.7, seed=training.settings.seed))


def _sample(options: argparse.Namespace) -> None:
    model = load_language_model(options.model)
    _write(
        model.sample(
            options.length,
            prompt=options.prompt,
            temperature=options.temperature,
            seed=options.seed,
        )
    )
    given = {"prompt": options.prompt or None, "temperature": options.temperature}
    given |= {"seed": options.seed}
    # Not among the text, which may go into a file.
    print("\nThe same in Python:\n", file=sys.stderr)
    print(_in_python(options.model, options.length, **given), file=sys.stderr)


def _in_python(path: object, length: int = 200, **options: object) -> str:
    """The lines of Python that load a model and write from it."""
    chosen = {name: value for name, value in options.items() if value is not None}
    arguments = [str(length), *(f"{name}={value!r}" for name, value in chosen.items())]
    return (
        "    from gatewise.training import load_language_model\n"
        f"    model = load_language_model({os.fspath(str(path))!r})\n"
        f"    print(*model.sample({', '.join(arguments)}), sep='')"
    )


def _check_apart(texts: list[str], output: Path) -> None:
    """Raise ValueError if the model would take the place of a text, by whatever name."""
    for text in texts:
        if output.exists() and os.path.exists(text) and os.path.samefile(text, output):
            raise ValueError(
                f"{output}: is {text}, the text to train on; name another file"
            )


def _read(paths: list[str]) -> str:
    if paths:
        text, name = read_texts(paths), ", ".join(paths)
    else:
        text = reference_text()
        name = "no TEXT given, so the reference text in this Python (pydoc_data.topics)"
    print(f"text: {name}: {len(text):,} characters", flush=True)
    return text


def _begun(text: str, options: argparse.Namespace) -> LanguageTraining:
    chosen = {
        name: default if getattr(options, name) is None else getattr(options, name)
        for name, default in _FIXED.items()
    }
    model = LanguageModel(
        Vocabulary(text),
        cell=chosen["cell"],
        hidden_size=chosen["hidden_size"],
        num_layers=chosen["layers"],
        seed=chosen["seed"],
    )
    names = ("batch_size", "length", "learning_rate", "seed")
    return LanguageTraining(model, text, Settings(**{name: chosen[name] for name in names}))


def _resumed(output: Path, text: str, options: argparse.Namespace) -> LanguageTraining:
    training = LanguageTraining.resume(output, text)
    model, settings = training.model, training.settings
    found = {
        "cell": model.cell,
        "hidden_size": model.hidden_size,
        "layers": model.num_layers,
        "length": settings.length,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
    }
    for name, value in found.items():
        wanted = getattr(options, name)
        if wanted is not None and wanted != value:
            option = name.replace("_", "-")
            raise ValueError(
                f"{output}: has --{option} {value}, which --resume cannot change"
            )
    return training


def _summary(training: LanguageTraining) -> str:
    model = training.model
    return (
        f"model: {model.num_layers} x {model.cell} of {model.hidden_size}, "
        f"{model.network.parameter_count:,} parameters; backend: {chooser.name}\n"
        f"order-0 statistics: {training.order_zero_bits:.3f} bits per character on the "
        f"{training.held_out_size:,} characters held out"
    )


def _write(characters: Iterator[str]) -> None:
    stream: Any = sys.stdout
    if hasattr(stream, "reconfigure"):
        # A terminal that has no sign for a character is no reason to stop.
        stream.reconfigure(errors="backslashreplace")
    for character in characters:
        print(character, end="", flush=character.isspace())
    print(flush=True)


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one kills as ever.

    What is ignored, as SIGINT is in the background, stays so.
    """
    noted: list[int] = []
    handled = [signal.SIGINT, signal.SIGTERM]
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may handle signals.
        handled = []
    found = {number: signal.getsignal(number) for number in handled}
    before = {n: handler for n, handler in found.items() if handler != signal.SIG_IGN}

    def note(number: int, frame: object) -> None:
        noted.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in before:
            signal.signal(number, note)
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _checked(
    command: Callable[[argparse.Namespace], None], kinds: dict[str, Callable[[str], Any]]
) -> Callable[[argparse.Namespace], None]:
    """The command, once the named options are converted.

    Not argparse's own conversion, which answers a wrong value with the whole usage.
    """

    def run(options: argparse.Namespace) -> None:
        for name, kind in kinds.items():
            given = getattr(options, name)
            if isinstance(given, str):
                try:
                    setattr(options, name, kind(given))
                except ValueError as error:
                    raise ValueError(f"{_option(name)} {error}, got {given!r}") from None
        command(options)

    return run


def _number(
    convert: Callable[[str], Any], accepts: Callable[[Any], bool], wanted: str
) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not accepts(value):
            raise ValueError(f"should be {wanted}")
        return value

    return parse


_count = _number(
    int, lambda value: 1 <= value <= 10**9, "a whole number from 1 to 1000000000"
)
_whole = _number(int, lambda value: value >= 0, "a whole number of at least 0")
_positive = _number(float, lambda value: 0 < value < math.inf, "a number above 0")
_not_negative = _number(
    float, lambda value: 0 <= value < math.inf, "a number of at least 0"
)
