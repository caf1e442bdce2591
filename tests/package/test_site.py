"""The pages of the site: their code runs, and what the site names exists."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import gatewise

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    page
    for folder in (DOCS, DOCS / "guide", DOCS / "maths", DOCS / "migrate")
    for page in folder.glob("*.md")
    # The others on the first level have tests of their own, for what they need.
    if folder != DOCS or page.stem == "fifteen_minutes"
)
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OF_THE_SAME_BITS = {"ragged", "reproducibility", "streaming"}
MODULES = ["", ".formats", ".gates", ".layers", ".notebook", ".testing", ".training"]
# What needs packages that may not be there.
OPTIONAL = ["aeon", "dask", "sklearn", "torch"]

pytestmark = pytest.mark.skipif(
    not (DOCS / "conf.py").is_file(), reason="the documents are not there"
)


def code(page: Path) -> str:
    """The blocks of Python of a page, each at its own line."""
    text, lines = page.read_text("utf-8"), []
    for match in BLOCK.finditer(text):
        if match[1] == "python":
            start = text[: match.start()].count("\n") + 1
            lines += [""] * (start - len(lines)) + match[2].splitlines()
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_a_page_runs_and_prints_what_it_says(
    page: Path,
    backend: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = code(page)
    if "history.plot" in source:
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    if backend == "numpy" and page.stem in OF_THE_SAME_BITS:
        pytest.skip("the same bits are the compiled backend's promise")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(source, str(page), "exec"), names)
    printed = capsys.readouterr().out
    for kind, text in BLOCK.findall(page.read_text("utf-8")):
        if kind == "text" and not text.startswith("from "):
            assert text in printed
    said = re.findall(r"^print\(.*\)  # (.*)$", source, re.MULTILINE)
    assert all(line in printed for line in said)


def test_the_reference_has_everything_public() -> None:
    described = set()
    for page in (DOCS / "api").glob("*.md"):
        text = page.read_text("utf-8")
        module = "gatewise"
        for line in text.splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split()[-1]
            elif re.fullmatch(r"   [\w.]+", line):
                described.add(f"{module}.{line.strip()}")
    last = {name.rpartition(".")[2] for name in described}
    for name in MODULES:
        public = import_module(f"gatewise{name}").__all__
        assert set(public) - last - {"__version__"} == set()
    for name in OPTIONAL:
        home = Path(gatewise.__file__).parent / name / "__init__.py"
        [public] = [
            ast.literal_eval(node.value)
            for node in ast.parse(home.read_text("utf-8")).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        assert {f"gatewise.{name}.{each}" for each in public} <= described


def test_every_page_of_the_gallery_draws() -> None:
    scripts = sorted((DOCS / "gallery").glob("*.py"))
    assert len(scripts) >= 10
    for script in scripts:
        text = script.read_text("utf-8")
        title, line = text.splitlines()[1:3]
        assert line == "=" * len(title), script
        assert "pyplot" in text, script
