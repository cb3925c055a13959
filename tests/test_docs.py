"""What is written is true: the table of theorems, the README's code, the rooms of the house."""

import ast
import importlib
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from sabotage import SABOTAGES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "geodescent"
LAZY = ("sklearn", "polars", "typer", "rich", "matplotlib", "scipy")
MODULES = sorted(p for p in SOURCE.rglob("*.py") if p.name != "__init__.py")


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


def test_the_functions_of_the_table_import() -> None:
    names = {name for row in table() for name in named(row[2])}
    assert len(names) > 10
    for name in names:
        assert found(name) is not None


def found(name: str) -> Any:
    """The object of a dotted name: a module first, then its attributes."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            thing = getattr(thing, attribute)
        return thing
    raise AssertionError(f"{name} cannot be imported")


def test_the_tests_of_the_table_exist() -> None:
    rows = [name.split("::") for row in table() for name in named(row[3])]
    assert len(rows) >= len(table())
    for path, test in rows:
        assert test in functions_of(ROOT / path), (path, test)


def test_every_theorem_tested_is_in_the_table() -> None:
    listed = {name.split("::")[1] for row in table() for name in named(row[3])}
    tested = {name for name in functions_of(ROOT / "tests" / "test_theorems.py") if name.startswith("test_")}
    assert tested <= listed


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_sabotage_finds_its_formula() -> None:
    for theorem, file, right, wrong, *_ in SABOTAGES:
        assert (SOURCE / file).read_text().count(right) == 1, (theorem, file, right)
        assert right != wrong


# --- the README -----------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_readmes_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every block, in one namespace; warnings are errors."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    namespace: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, block in enumerate(blocks):
            exec(compile(block, f"README.md, block {number}", "exec"), namespace)
    assert capsys.readouterr().out


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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_pages_code_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile("\n".join(blocks), str(page), "exec"), {})
    assert capsys.readouterr().out


# --- the rooms ------------------------------------------------------------------------------------------------------


def rooms() -> dict[str, int]:
    """Module → room, from the plan in docs/architecture.md; a line without a number belongs to the one above."""
    plan = (ROOT / "docs" / "architecture.md").read_text().split("src/geodescent/\n")[1].split("```")[0]
    number, found = -1, {}
    for line in plan.splitlines():
        start = re.match(r" *(\d+) ", line)
        number = int(start[1]) if start else number
        found |= dict.fromkeys(
            (
                name.removesuffix(".py")
                for name in re.findall(r"\w+\.py|(?:report|optim|constructive|geometry)(?=/)", line)
            ),
            number,
        )
    return found


def room_name(path: Path) -> str:
    """`_lift` for _lift.py, `report` for everything in report/."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The modules of geodescent that a module imports, at once or when called; those for types only are left out."""
    tree = ast.parse(path.read_text())
    typed = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {id(inner) for branch in typed for node in branch.body for inner in ast.walk(node)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("geodescent.")} & set(map(room_name, MODULES))


def test_every_module_has_a_room() -> None:
    assert set(map(room_name, MODULES)) == set(rooms())


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_imports_from_a_later_room(path: Path) -> None:
    here = rooms()[room_name(path)]
    assert {name for name in imported(path) if rooms()[name] > here} == set()


# --- what an import costs -------------------------------------------------------------------------------------------


def test_the_import_brings_nothing_of_the_command_and_no_scipy() -> None:
    loaded = python(f"import sys, geodescent; print(*[m for m in {LAZY!r} if m in sys.modules])")
    assert loaded.strip() == ""


def test_the_import_is_quick() -> None:
    """Less than 0.1 s on top of torch, or than a tenth of torch's own on a busy machine; the best of three."""
    code = """if True:
        from time import perf_counter as now
        a = now(); import torch, numpy
        b = now(); import geodescent
        print((now() - b) / max(0.1, 0.1 * (b - a)))
    """
    assert min(float(python(code)) for _ in range(3)) < 1.0


def python(code: str) -> str:
    """What the code prints, compiled files being kept between runs as they are for a user."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, env=kept)
    return run.stdout
