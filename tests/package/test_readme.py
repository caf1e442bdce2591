"""The README's examples run and print what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=["notebook", "layers", "training", "files"]
)
def test_an_example(
    example: str,
    backend: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})
    said = re.findall(r"print\(.*\)  # (.*)", example)
    assert said
    assert capsys.readouterr().out.splitlines() == said
