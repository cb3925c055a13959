"""What the README, the pages and the studies say in code is said in public names, with arguments that exist."""

import ast
import importlib
import inspect
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import geodescent

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "examples").glob("*.py"))
PAGES = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.exists() and "```python\n" in page.read_text()
]


def code_of(path: Path) -> ast.Module:
    """A script, or all blocks of a page one after the other."""
    text = path.read_text()
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    return ast.parse(text)


@pytest.mark.parametrize("path", [*PAGES, *STUDIES], ids=lambda p: str(p.relative_to(ROOT)))
def test_names_are_public_and_arguments_exist(path: Path) -> None:
    tree = code_of(path)
    names = dict(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert known(node, names) is not MISSING, ast.unparse(node)
        if isinstance(node, ast.Call):
            thing = known(node.func, names)
            arguments = parameters(thing)
            wrong = [k.arg for k in node.keywords if k.arg is not None and arguments and k.arg not in arguments]
            assert not wrong, ast.unparse(node)


MISSING, OTHER = object(), object()


def imported(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Local name → what it is, of all that a script imports from geodescent; each from a face that lists it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "geodescent":
                    assert alias.name == "geodescent", alias.name
                    yield alias.asname or alias.name, geodescent
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "geodescent":
            face = importlib.import_module(node.module)
            for alias in node.names:
                assert alias.name in listed(face), f"{node.module} does not list {alias.name}"
                yield alias.asname or alias.name, getattr(face, alias.name)


def listed(face: ModuleType) -> set[str]:
    """The names of a face: those it lists, or, of a room that is one file, those defined in it."""
    own = {name for name, thing in vars(face).items() if getattr(thing, "__module__", None) == face.__name__}
    return set(getattr(face, "__all__", {name for name in own if not name.startswith("_")}))


def known(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a dotted name of geodescent is; MISSING where it is nothing, OTHER where it is not a name of ours."""
    if isinstance(node, ast.Name):
        return names.get(node.id, OTHER)
    if not isinstance(node, ast.Attribute):
        return OTHER
    owner = known(node.value, names)
    if owner is OTHER or owner is MISSING:
        return owner
    if inspect.ismodule(owner):
        return getattr(owner, node.attr) if node.attr in listed(owner) else MISSING
    return getattr(owner, node.attr, MISSING) if inspect.isclass(owner) else OTHER


def parameters(thing: Any) -> set[str]:
    """Names of the arguments; empty where any are taken, or where it is not one of ours."""
    if thing is OTHER or thing is MISSING or not callable(thing):
        return set()
    signature = inspect.signature(thing)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    return set() if takes_any else set(signature.parameters)


def test_a_wrong_name_would_be_noticed() -> None:
    """The check above, of the two mistakes that it is there for, and of what is right."""
    for code, right in [
        ("import geodescent as gd\ngd.flow(model, field=gd.StraightLineField())", True),
        ("import geodescent as gd\ngd.flow(model, method=gd.Method())", False),
        ("import geodescent as gd\ngd.Method(field=None)", False),
    ]:
        tree = ast.parse(code)
        names = dict(imported(tree))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.keywords]
        fine = all({k.arg for k in call.keywords} <= parameters(known(call.func, names)) for call in calls)
        assert fine is right, code
    names = {"gd": geodescent}
    assert known(ast.parse("gd.Held", mode="eval").body, names) is MISSING
    assert known(ast.parse("gd.Problem.off", mode="eval").body, names) is MISSING
    with pytest.raises(AssertionError, match="does not list Factor"):
        list(imported(ast.parse("from geodescent.lift import Factor")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rank", "steps"])
def test_a_study_runs_and_prints_what_its_page_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many lines, the same words; numbers below rounding differ from machine to machine. `make theory` runs all."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setattr(importlib.import_module("study"), "PAGES", tmp_path)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    monkeypatch.delitem(sys.modules, "study")
    page = (ROOT / "docs" / "theory" / f"{name}.md").read_text()
    shown = re.findall(r"<!-- printed -->\n```text\n([^`]+)\n```\n<!-- end -->", page)[0]
    assert re.findall(r"[^\W\d]{3,}", capsys.readouterr().out) == re.findall(r"[^\W\d]{3,}", shown)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
