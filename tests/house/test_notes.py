"""Notes for people: each of them, wherever in the source it is made, is whole sentences."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "geodescent"
BEGINS = {"{what}", "{what[0].upper()}{what[1:]}", "{change[0].upper()}{change[1:]}"}
"""Beginnings that are filled in, with a capital, by what calls the place: the calls are looked at, too."""
MADE = {"left_out", "_why_none", "faster_by_system"}
"""Functions and properties of other names that return a note."""
FILLED = {"faster_by_system", "noting"}
"""Functions whose first argument begins a note."""


def text_of(node: ast.expr) -> str | None:
    """A string as it stands in the source, what is filled in in braces; None of other expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
            for part in node.values
        ]
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = text_of(node.left), text_of(node.right)
        return None if left is None or right is None else left + right
    return None


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_of_notes(name: str) -> bool:
    return re.fullmatch(r"_?(\w+_)?notes?(_of)?", name) is not None


def strings_in(value: ast.expr, constants: dict[str, ast.expr]) -> Iterator[ast.expr]:
    """The strings that an expression may be, or may be a list of."""
    if isinstance(value, ast.List | ast.Tuple):
        for item in value.elts:
            yield from strings_in(item, constants)
    elif isinstance(value, ast.IfExp):
        yield from (*strings_in(value.body, constants), *strings_in(value.orelse, constants))
    elif isinstance(value, ast.ListComp):
        yield from strings_in(value.elt, constants)
    elif isinstance(value, ast.Name) and value.id in constants:
        yield constants[value.id]
    else:
        yield value


def notes_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every string that becomes a note.

    What is appended to `notes`, added to it or assigned to a `note`, and what functions of such a name return.
    """
    constants = {name_of(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
    for node in ast.walk(tree):
        found = list[ast.expr]()
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and is_of_notes(name_of(node.func.value))
        ):
            found += node.args if node.func.attr == "append" else []
        if isinstance(node, ast.AugAssign) and is_of_notes(name_of(node.target)):
            found.append(node.value)
        if isinstance(node, ast.Assign) and any(is_of_notes(name_of(target)) for target in node.targets):
            found.append(node.value)
        if isinstance(node, ast.FunctionDef) and (is_of_notes(node.name) or node.name in MADE):
            found += [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value is not None]
        for value in found:
            items = strings_in(value, constants)
            yield from ((item.lineno, text) for item in items if (text := text_of(item)))


NOTES = [
    (path, line, text)
    for path in sorted(SOURCE.rglob("*.py"))
    if "report" not in path.parts
    for line, text in notes_in(ast.parse(path.read_text()))
]


def test_they_are_found() -> None:
    said = " ".join(text for _, _, text in NOTES)
    for part in ("were drawn for validation", "lies under the rounding floor", "came to τ", "is fitted: the wrapper"):
        assert part in said
    assert len(NOTES) >= 20


@pytest.mark.parametrize(("path", "line", "text"), NOTES, ids=[f"{path.stem}-{line}" for path, line, _ in NOTES])
def test_a_note_is_whole_sentences(path: Path, line: int, text: str) -> None:
    begins = text[0].isupper() or any(text.startswith(begin) for begin in BEGINS)
    assert begins and text.endswith((".", "{note}", "{deadline.remedy}")), f"{path}:{line}: {text}"
    assert not re.search(r"\. [a-z]", re.sub(r"\{[^}]*\}|gd\.|torch\.|pde\.", "", text)), f"{path}:{line}: {text}"


def test_what_begins_a_note_elsewhere_begins_with_a_capital() -> None:
    calls = 0
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and name_of(node.func) in FILLED and node.args:
                text = text_of(node.args[0])
                calls += text is not None
                assert text is None or text[0].isupper(), f"{path}:{node.lineno}: {text}"
    assert calls >= 10
