"""The house stands as docs/architecture.md draws it: rooms, faces, sizes, names, and nothing written twice."""

import ast
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

import geodescent as gd

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "geodescent"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
Function = ast.FunctionDef | ast.AsyncFunctionDef

MOST_FILES, MOST_LINES, MOST_CODE, MOST_ARGUMENTS, MOST_FIELDS = 20, 300, 45, 8, 10
DOORS, MOST_OF_A_DOOR = {"fit", "flow", "certify"}, 15
OTHER_IDIOMS = {
    "app/cli.py",
    "curves/_curve_fit.py",
    "curves/_least_squares.py",
    "estimators.py",
}  # their signatures are other people's
RESULTS = {
    "Solution",
    "Flow",
    "Certificate",
    "LeastSquaresResult",
    "ReportFacts",
}  # results have as many fields as there is to tell
REPEATED = 8  # identical lines in a row that stand twice
SUPPRESSIONS, CASTS, ANYS = 5, 8, 150  # at most; of `cast` there were as many before the house had rooms, and of
# `Any` 110: the others stand where users pass what has no type, points and functions that torch calls.


def room_of(path: Path) -> str:
    """The folder, or the file where it lies in no folder."""
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def rooms() -> dict[str, int]:
    """Room → number, as docs/architecture.md tells."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| *(\d+) *\| *`(\w+)(?:\.py|/)` *\|", page, re.MULTILINE)
    return {name: int(number) for number, name in rows}


def imports_of(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in the file."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "geodescent":
                yield from (f"geodescent.{alias.name}" for alias in node.names)
            elif node.module and node.module.startswith("geodescent."):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("geodescent"))


INSIDE = [path for path in FILES if path not in (SOURCE / "__init__.py", SOURCE / "__main__.py")]
PAIRS = [(path, name) for path in INSIDE for name in imports_of(path)]


# --- rooms ----------------------------------------------------------------------------------------------------------


def test_every_room_has_its_number() -> None:
    assert {room_of(path) for path in INSIDE} == set(rooms())


def test_a_room_imports_only_smaller_numbers() -> None:
    number = rooms()
    wrong = [
        (str(path.relative_to(SOURCE)), name)
        for path, name in PAIRS
        if (other := name.split(".")[1]) != room_of(path) and not number[other] < number[room_of(path)]
    ]
    assert not wrong


def test_other_rooms_are_met_at_their_face() -> None:
    """`geodescent.room` from outside; a room inside a room the same."""
    wrong = []
    for path, name in PAIRS:
        here, there = ("geodescent", *path.relative_to(SOURCE).parts[:-1]), tuple(name.split("."))
        shared = len([None for a, b in zip(here, there, strict=False) if a == b])
        if len(there) > max(shared, 1) + 1:
            wrong.append((str(path.relative_to(SOURCE)), name))
    assert not wrong


def test_no_cycle_inside_a_room() -> None:
    edges: dict[str, set[str]] = defaultdict(set)
    for path, name in PAIRS:
        if name.split(".")[1] == room_of(path):
            module = path.relative_to(SOURCE).with_suffix("").parts
            edges[".".join(("geodescent", *module)).removesuffix(".__init__")].add(name)
    assert len(edges) > 50
    while free := {end for ends in edges.values() for end in ends if not edges.get(end)}:
        edges = {start: ends - free for start, ends in edges.items()}
    assert not {start: ends for start, ends in edges.items() if ends}


@pytest.mark.parametrize(("room", "never"), [("lift", "outputs"), ("descent", "flow"), ("outputs", "lift")])
def test_rooms_that_do_not_know_each_other(room: str, never: str) -> None:
    assert not [(path, name) for path, name in PAIRS if room_of(path) == room and name.split(".")[1] == never]


def test_every_face_says_what_the_room_is_and_lists_its_names() -> None:
    for path in FILES:
        if path.name == "__init__.py" and path.parent != SOURCE:
            sentences = re.split(r"(?<=[.!?:])\s", ast.get_docstring(TREES[path]) or "")
            assert 2 <= len(sentences) <= 5, path
            assert any(isinstance(n, ast.Assign) and n.targets[0].id == "__all__" for n in TREES[path].body), path  # type: ignore[attr-defined]


def test_the_first_paragraph_of_the_plan_is_true() -> None:
    """D is computed in `outputs`, D⁺ applied in `lift`, a step judged in `descent`."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    answer = page.split("\n\n")[1]
    for room, verb in re.findall(r"`(\w+)/`[^`]*`(\w+)`", answer):
        assert any(verb in names_defined(path) for path in FILES if room_of(path) == room), (room, verb)


def names_defined(path: Path) -> set[str]:
    return {n.name for n in ast.walk(TREES[path]) if isinstance(n, Function | ast.ClassDef)}


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_no_folder_is_crowded() -> None:
    counts = Counter(path.parent for path in FILES)
    assert not {folder: n for folder, n in counts.items() if n > MOST_FILES}


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in FILES}
    assert not {path: n for path, n in lengths.items() if n > MOST_LINES}


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(TREES[path]) if isinstance(node, Function)]


def code_lines(path: Path, function: Function) -> int:
    """Lines with code: without the signature's docstring, comments and blank lines."""
    start, end = function.lineno, function.end_lineno or function.lineno
    lines = set(range(start, end + 1))
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    text = path.read_text().splitlines()
    return sum(1 for n in lines if text[n - 1].strip() and not text[n - 1].strip().startswith("#"))


def test_no_function_is_long() -> None:
    found = {
        (str(path.relative_to(SOURCE)), f.name): code_lines(path, f)
        for path in FILES
        if str(path.relative_to(SOURCE)) not in OTHER_IDIOMS
        for f in functions(path)
    }
    assert not {key: n for key, n in found.items() if n > MOST_CODE}


def test_no_function_has_many_arguments() -> None:
    wrong = {}
    for path in FILES:
        for f in functions(path):
            every = [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs]
            n = len([a for a in every if a.arg not in ("self", "cls")])
            most = MOST_OF_A_DOOR if room_of(path) == "doors" and f.name in DOORS else MOST_ARGUMENTS
            if n > most and str(path.relative_to(SOURCE)) not in OTHER_IDIOMS:
                wrong[str(path.relative_to(SOURCE)), f.name] = n
    assert not wrong


def test_no_dataclass_has_many_fields() -> None:
    wrong = {}
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
                fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
                if len(fields) > MOST_FIELDS and node.name not in RESULTS:
                    wrong[node.name] = len(fields)
    assert not wrong


# --- names ----------------------------------------------------------------------------------------------------------


def constants(tree: ast.Module) -> list[str]:
    """Names in capitals that a module assigns."""
    targets = list[ast.expr]()
    for node in tree.body:
        targets += node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [n for t in targets for n in (t.elts if isinstance(t, ast.Tuple) else [t])]
    return [n.id for n in names if isinstance(n, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", n.id)]


def test_no_class_and_no_constant_has_the_name_of_another() -> None:
    names = Counter[str]()
    for tree in TREES.values():
        names.update(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        names.update(constants(tree))
    assert not {name: n for name, n in names.items() if n > 1}


def test_the_public_names() -> None:
    """What a user may use, and nothing else: a change of this list is a change of the product."""
    listed = (ROOT / "docs" / "names.txt").read_text().split()
    assert dir(gd) == sorted(listed)
    assert all(getattr(gd, name) is not None for name in listed)


# --- habits ---------------------------------------------------------------------------------------------------------


def tokens(path: Path) -> Iterator[tokenize.TokenInfo]:
    with path.open("rb") as file:
        yield from tokenize.tokenize(file.readline)


def test_few_checks_are_suppressed() -> None:
    pattern = re.compile(r"noqa|type: *ignore|pragma|mypy:|ruff:|fmt: *(off|skip)")
    comments = [(path, t.string) for path in FILES for t in tokens(path) if t.type == tokenize.COMMENT]
    seen = [(path, text) for path, text in comments if pattern.search(text)]
    project = (ROOT / "pyproject.toml").read_text()
    seen += [
        (ROOT / "pyproject.toml", line) for line in re.findall(r'module = \[.*geodescent.*\]|"src/.*" = ', project)
    ]
    assert len(seen) <= SUPPRESSIONS, seen


def test_no_more_casts_and_anys_than_there_were() -> None:
    typed = [path for path in FILES if "bridges" not in path.parts]  # objects of other packages have no types
    names = Counter(t.string for path in typed for t in tokens(path) if t.type == tokenize.NAME)
    assert names["cast"] <= CASTS
    assert names["Any"] <= ANYS


def test_nothing_is_written_twice() -> None:
    """No run of eight identical lines, comments, docstrings and blank lines apart, stands in two places."""
    places = defaultdict[tuple[str, ...], list[tuple[Path, int]]](list)
    for path in FILES:
        lines = plain_lines(path)
        for i in range(len(lines) - REPEATED + 1):
            places[tuple(text for _, text in lines[i : i + REPEATED])].append((path, lines[i][0]))
    assert not {lines[0]: where for lines, where in places.items() if len(where) > 1}


def plain_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of the lines that hold code."""
    skipped = set[int]()
    for node in ast.walk(TREES[path]):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            skipped |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(path.read_text().splitlines(), 1)
    return [(n, s) for n, line in lines if n not in skipped and (s := line.strip()) and not s.startswith("#")]


def test_constants_are_explained() -> None:
    """A constant of the source that is a number has a whole sentence beside or below it."""
    silent = []
    for path, tree in TREES.items():
        text = path.read_text().splitlines()
        for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
            if isinstance(node, ast.Assign) and is_number(node.value) and constants(ast.Module([node], [])):
                comment = "#" in " ".join(text[node.lineno - 1 : node.end_lineno])
                comment |= isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                if not comment:
                    silent.append((str(path.relative_to(SOURCE)), ast.unparse(node)))
    assert not silent


def is_number(node: ast.expr) -> bool:
    return all(
        isinstance(n, ast.Constant | ast.UnaryOp | ast.BinOp | ast.operator | ast.unaryop | ast.Tuple | ast.Load)
        for n in ast.walk(node)
    ) and any(isinstance(n, ast.Constant) and isinstance(n.value, int | float) for n in ast.walk(node))


def test_docstrings_name_no_section_of_another_document() -> None:
    wrong = [
        (str(path.relative_to(SOURCE)), i)
        for path in FILES
        for i, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"THEORY|DESIGN|GENERALISATION\b|ENGINE\.md", line)
    ]
    assert not wrong, [(key, len(list(group))) for key, group in groupby(wrong, lambda pair: pair[0])]
