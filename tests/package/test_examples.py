"""The examples run, and show what they say they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the examples are not installed"
)


def output(name: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        # BLAS threads that wait for each other on busy cores can take ten times as long.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_digits_are_told_apart() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    text = output("classify_digits.py")
    right = dict(re.findall(r"^  (.+?) +([\d.]+)%$", text, re.MULTILINE))
    assert float(right["the GRU"]) > 94
    assert 80 < float(right["nearest mean picture"]) < float(right["the GRU"]) - 3
    misread = re.findall(r"(\d) read as (\d)", text)
    assert misread
    assert all(digit != answer for digit, answer in misread)


def test_sunspots_are_forecast_better_than_by_persistence(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels", reason="statsmodels is not installed")
    picture = tmp_path / "sunspots.png"
    has_matplotlib = True
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        has_matplotlib = False
    text = output("forecast_sunspots.py", *([str(picture)] if has_matplotlib else []))
    errors = dict(re.findall(r"^  (.+?) +([\d.]+) sunspots$", text, re.MULTILINE))
    assert float(errors["the GRU"]) < 0.7 * float(errors["as this year"])
    assert float(errors["the GRU"]) < 0.7 * float(errors["this change goes on"])
    # The classic model is a strong one, and has to be fitted as it should be.
    assert float(errors["the GRU"]) < float(errors["weighted sum"]) < 18
    if has_matplotlib:
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_streaming_gives_what_the_whole_signal_gives() -> None:
    rows = re.findall(
        r"^ +(\d+) +([\d.]+) +[\d.]+ +[\d.]+ +(\d+) +([\d.e+-]+)$",
        output("streaming.py"),
        re.MULTILINE,
    )
    assert [int(row[0]) for row in rows] == [32, 64, 128, 256]
    for _, median, _, difference in rows:
        # The deadline is 10 ms; half of all steps end long before, on any machine.
        assert float(median) < 5000
        assert float(difference) < 1e-6


def test_a_model_of_pytorch_trains_faster() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    text = output("pytorch_drop_in.py")
    losses = re.findall(r"^(\S.+?)  +(\S+) +loss ([\d.]+)", text, re.MULTILINE)
    assert {way for way, _, _ in losses} >= {"a plain loop"}
    for (way, _, theirs), (_, whose, ours) in zip(losses[::2], losses[1::2], strict=True):
        assert whose == "gatewise", way
        assert abs(float(theirs) - float(ours)) < 2e-3
    for way in ("skorch", "Lightning"):
        assert way in text
