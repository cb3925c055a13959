"""What is written is true: the table of theorems, the code of the README and of the pages, links, names of tests."""

import ast
import importlib
import re
import shutil
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sabotage import SABOTAGES
from support.writers import tensorboard

import geodescent

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "geodescent"


# --- the table of theorems ------------------------------------------------------------------------------------------


def table() -> list[list[str]]:
    """Rows of docs/theory.md: number, statement, functions, tests."""
    lines = (ROOT / "docs" / "theory.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if re.match(r"\| \d", line)]
    assert all(len(row) == 4 for row in rows)
    return rows


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_has_every_theorem() -> None:
    assert {row[0].strip("| ") for row in table()} >= {*(f"1.{i}" for i in range(1, 10)), "2.1", "2.2"}


def test_the_functions_of_the_table_are_public() -> None:
    names = {name for row in table() for name in named(row[2])}
    assert len(names) > 10
    assert [name for name in names if not is_public(name)] == []


def is_public(name: str) -> bool:
    """Whether the face of the package or of a room lists the first part of a dotted name, and has the rest."""
    package, first, *rest = name.split(".")
    if first in geodescent.__all__ and has(geodescent, [first, *rest]):
        return package == "geodescent"
    room = importlib.import_module(f"{package}.{first}")
    return bool(rest) and rest[0] in room.__all__ and has(room, rest)


def has(thing: Any, attributes: list[str]) -> bool:
    for attribute in attributes:
        if not hasattr(thing, attribute):
            return False
        thing = getattr(thing, attribute)
    return True


def test_the_tests_of_the_table_exist() -> None:
    rows = [name.split("::") for row in table() for name in named(row[3])]
    assert len(rows) >= len(table())
    for path, test in rows:
        assert test in functions_of(ROOT / path), (path, test)


def test_every_theorem_tested_is_in_the_table() -> None:
    listed = {name.split("::")[1] for row in table() for name in named(row[3])}
    files = sorted((ROOT / "tests" / "theorems").glob("test_*.py"))
    tested = {name for file in files for name in functions_of(file) if name.startswith("test_")}
    assert len(tested) > 35 and tested <= listed


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_sabotage_finds_its_formula_and_its_test() -> None:
    for sabotage in SABOTAGES:
        assert (SOURCE / sabotage.file).read_text().count(sabotage.right) == 1, str(sabotage)
        assert sabotage.right != sabotage.wrong
        file, test = sabotage.test.split("::")
        assert test in functions_of(ROOT / "tests" / file), sabotage.test


def test_for_every_test_of_the_table_a_wrong_formula_is_noticed() -> None:
    """`make sabotage` shows that it is."""
    listed = {name for row in table() for name in named(row[3])}
    assert listed <= {f"tests/{sabotage.test}" for sabotage in SABOTAGES}


# --- the README -----------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", ["README.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", here.read_text()):
        assert target.startswith("http") or (here.parent / target).exists(), target


# --- the pages of the theory ----------------------------------------------------------------------------------------

PAGES = sorted((ROOT / "docs" / "theory").glob("*.md"))
STUDIES = sorted(p for p in (ROOT / "examples").glob("*.py") if p.stem not in ("run", "study"))
PARTS = (
    "**Statement.**",
    "**What it means when you train a network.**",
    "**The call.**",
    "**The picture.**",
    "**Tests.**",
)


def test_every_page_has_its_study_and_every_study_its_page() -> None:
    assert [page.stem for page in PAGES] == [study.stem for study in STUDIES]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_says_what_a_page_says(page: Path) -> None:
    """Its parts in order, its picture, what its study printed, and tests that exist."""
    text = page.read_text()
    places = [text.index(part) for part in PARTS]
    assert places == sorted(places)
    assert f"({page.stem}.png)" in text and f"examples/{page.stem}.py" in text
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"<!-- printed -->\n```text\n[^`]+\n```\n<!-- end -->", text)
    tests = [name.split("::") for name in re.findall(r"`(tests/[^`]+)`", text[places[-1] :])]
    assert tests and all(test in functions_of(ROOT / path) for path, test in tests), tests
    assert f"theory/{page.name}" in (ROOT / "docs" / "theory.md").read_text()


# --- the code of all pages ------------------------------------------------------------------------------------------

WITH_CODE = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.exists() and "```python\n" in page.read_text()
]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_pages_code_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block, in one namespace; warnings are errors."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    namespace: dict[str, Any] = {"__name__": "page"}
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "diabetes.csv", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    if find_spec("tensorboard") is None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, block in enumerate(blocks):
            exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)
    assert capsys.readouterr().out or page not in (ROOT / "README.md", *PAGES)
