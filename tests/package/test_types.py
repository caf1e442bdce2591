"""What is written as users annotate it runs as well; `.ci/check-types` reads its types."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import typed_use


@pytest.mark.parametrize("name", ["losses", "options", "loop", "numbers", "comfort"])
def test_annotated_code_runs(name: str) -> None:
    getattr(typed_use, name)()


def test_annotated_files_are_read(tmp_path: Path) -> None:
    typed_use.files(str(tmp_path / "mine.safetensors"))
