"""The equations that the command solves: each for two seconds, then what the command says and writes of one."""

import csv
import importlib
import importlib.util
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from geodescent import pde
from geodescent._errors import InputError
from geodescent.app.cli import app
from geodescent.app.equations import (
    _references,
    allen_cahn,
    by_solve_ivp,
    cole_hopf,
    names_of_examples,
    read_example,
    values_csv,
)

ROOT = Path(__file__).parents[2]
NAMES = list(names_of_examples())
MOST_CODE, MOST_LINES = 30, 50  # Lines of a file: with code, and with docstrings and blank ones.
OWN = """
'''A straight line.'''
from geodescent import pde
box = pde.Box(x=(0.0, 1.0))
def system():
    slope = pde.Term("slope", lambda u: u.x - 1.0, box.inside(9))
    start = pde.Term("start", lambda u: u, box.side(x=0.0).points(1))
    return pde.System(pde.mlp(1, [4], 1), [slope, start], coordinates=("x",))
def reference(points):
    return points[:, 0]
"""


@pytest.fixture(autouse=True)
def without_a_screen():
    matplotlib.use("agg")


def called(*words):
    done = CliRunner().invoke(app, ["solve", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_equation_is_solved_for_two_seconds(name):
    example = read_example(name)
    solved = example.run(8.0 if name == "poisson_5d_deep" else 2.0)  # whose one step may take more than two seconds
    system, reference = solved.system, example.reference
    for block in system.problem().blocks:
        rms = solved.solution.history["block_rms"][block.name]
        assert rms.shape == solved.solution.history["step"].shape and bool((rms >= 0.0).all())
    points = torch.cat([part.points[0] for part in (b.map for b in system.problem().blocks)])[:7]
    fields = system(points)
    assert fields.shape == (len(points), len(system.fields)) and bool(torch.isfinite(fields).all())
    if reference.fields is not None:
        assert solved.error is not None and solved.error < 2.0
        assert f"off the reference by {solved.error:.1e}" in solved.sentence()
    for unknown in reference.truth:
        assert f"{unknown} = " in solved.sentence() and solved.off[unknown] < 5.0
    assert reference.fields is not None or reference.truth
    assert solved.solution.cost < solved.solution.cost0


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_short_and_says_one_sentence(name):
    example = read_example(name)
    lines = example.source.splitlines()
    said = [line for line in lines if line.strip() and not line.strip().startswith(('"""', "#", "import", "from"))]
    assert len(said) <= MOST_CODE and len(lines) <= MOST_LINES
    assert example.title.endswith(".") and len(example.title) < 120
    assert " = " in example.equation and "\n" not in example.equation and len(name + example.equation) < 100
    assert 0.0 < example.seconds <= 120.0


@pytest.mark.parametrize("viscosity", [0.1, 0.05])
def test_the_formula_of_cole_and_hopf_solves_burgers_equation(viscosity):
    """By finite differences whose error falls 16 times where the step is halved."""
    points = torch.rand(40, 2, dtype=torch.float64) * 0.6 + 0.2
    assert falls(lambda at: cole_hopf(at, viscosity), burgers(viscosity), points, (2e-2, 1e-2)) > 12.0


def test_the_spectral_method_solves_the_allen_cahn_equation():
    points = torch.tensor([[0.3, 0.2], [0.3, 0.6], [0.3, 0.9]], dtype=torch.float64)
    rate = falls(lambda at: allen_cahn(at, 0.01, modes=127), reaction, points, (2e-2, 1e-2))
    assert rate > 12.0


def burgers(viscosity):
    return lambda u, u_t, u_x, u_xx: u_t + u * u_x - viscosity * u_xx


def reaction(u, u_t, u_x, u_xx):
    return u_t - 0.01 * u_xx - 5.0 * u + 5.0 * u**3


def falls(function, equation, points, steps):
    """How many times smaller the residual by differences of fourth order is at the smaller step.

    All values of a step are of one call: a spectral method goes through time once for them.
    """
    sizes = []
    for h in steps:
        shifts = h * torch.arange(-2, 3).double()[:, None, None] * torch.eye(2).double()
        values = function((points + shifts[:, :, None]).reshape(-1, 2)).reshape(5, 2, len(points))
        u_t, u_x = ((8 * (values[3] - values[1]) - (values[4] - values[0])) / (12 * h)).unbind()
        u_xx = (16 * (values[3] + values[1]) - (values[4] + values[0]) - 30 * values[2])[1] / (12 * h * h)
        sizes.append(float(equation(values[2, 1], u_t, u_x, u_xx).norm()))
    return next(coarse / fine for coarse, fine in pairwise(sizes))


def test_ordinary_equations_are_integrated_to_thirteen_digits():
    t = torch.tensor([2.0, 0.0, 1.0, 1.0], dtype=torch.float64)[:, None]
    found = by_solve_ivp(t, lambda _, z: [z[1], -z[0]], [0.0, 1.0])
    assert torch.allclose(found, torch.cat([torch.sin(t), torch.cos(t)], 1), rtol=0.0, atol=1e-13)


# --- the command ----------------------------------------------------------------------------------------------------


def test_without_a_name_all_are_listed():
    said = called()
    assert all(re.search(rf"^{name}\b", said, re.MULTILINE) for name in NAMES)
    assert set(json.loads(called("--json").splitlines()[-1])["equations"]) == set(NAMES)


def test_the_source_is_printed_as_it_is():
    assert called("heat", "--source") == read_example("heat").source


@pytest.mark.slow
def test_one_is_solved_end_to_end(tmp_path):
    run = tmp_path / "run"
    said = called("poisson", "--seconds", "2", "--out", str(run))
    error = float(re.search(r"off the reference by (\S+), relative", " ".join(said.split()))[1])
    result = json.loads((run / "result.json").read_text())
    assert error == pytest.approx(result["error"], rel=0.05) and error < 1e-3
    assert "walls" in said and "fresh RMS" in said
    page = (run / "report.html").read_text()
    assert "data:image/png;base64," in page and "Poisson&#x27;s equation" in page and "def system():" in page
    assert (run / "solution.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "equation.py").read_text() == read_example("poisson").source
    assert error_of_values(run / "solution.csv") == pytest.approx(result["error"], rel=1e-9)
    written = {name.strip() for name in " ".join(said.split()).split(f"{run}: ")[1].split(",")}
    assert written == {path.name for path in run.iterdir() if not path.name.startswith(".")}
    again = CliRunner().invoke(app, ["solve", "poisson", "--out", str(run)])
    assert again.exit_code == 1 and "choose another folder" in " ".join((again.stdout + again.stderr).split())


def error_of_values(path):
    """The relative error of u, from the table that was written alone."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["x", "y", "u", "u_reference", "u_error"] and len(rows) == 6400
    u, known, off = (np.array([float(row[key]) for row in rows]) for key in ("u", "u_reference", "u_error"))
    x, y = (np.pi * np.array([float(row[key]) for row in rows]) for key in ("x", "y"))
    assert np.allclose(known, np.sin(x) * np.sin(y), atol=1e-14) and np.array_equal(u - known, off)
    return float(np.linalg.norm(off) / np.linalg.norm(known))


@pytest.mark.parametrize(
    ("name", "columns", "n_rows", "n_known"),
    [
        ("l_shape", ["x", "y", "u", "u_reference", "u_error"], 4800, 4800),
        ("cavity", ["x", "y", "u", "v", "p", "u_reference", "u_error"], 6415, 15),
        ("eigenvalue", ["x", "u"], 6400, 0),
        ("poisson_5d", ["x1", "x2", "x3", "x4", "x5", "u", "u_reference", "u_error"], 6400, 6400),
    ],
)
def test_values_are_written_with_what_is_known_of_them(name, columns, n_rows, n_known):
    example = read_example(name)
    system = example.module.system()
    rows = list(csv.DictReader(io.StringIO(values_csv(system, example.reference))))
    assert list(rows[0]) == columns and len(rows) == n_rows
    assert sum(row.get("u_error", "") != "" for row in rows) == n_known
    points = torch.tensor([[float(row[key]) for key in system.coordinates] for row in rows], dtype=torch.float64)
    fields = torch.tensor([[float(row[key]) for key in system.fields] for row in rows], dtype=torch.float64)
    assert torch.allclose(system(points), fields, rtol=1e-12, atol=1e-14)


def test_values_of_a_domain_with_a_hole_are_those_of_the_domain(tmp_path):
    (tmp_path / "corner.py").write_text(read_example("l_shape").source.split("def reference")[0].replace("box", "_box"))
    example = read_example(str(tmp_path / "corner.py"))
    text = values_csv(example.module.system(), example.reference)
    rows = [tuple(map(float, line.split(","))) for line in text.splitlines()[1:]]
    assert text.startswith("x,y,u\n") and 4750 < len(rows) < 4900
    assert not any(x > 0.2 and y < -0.2 for x, y, _ in rows) and any(x > 0.9 and y > 0.9 for x, y, _ in rows)


@pytest.mark.slow
def test_a_file_of_ones_own_is_solved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "line.py").write_text(OWN)
    answer = json.loads(called("line.py", "--seconds", "2", "--json").splitlines()[-1])
    assert answer["error"] < 1e-3 and answer["equation"] == "line" and (tmp_path / answer["report"]).exists()


def test_what_is_not_known_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"'hat' is not known: .*heat"):
        read_example("hat")
    with pytest.raises(InputError, match=r"'heet' is not known: did you mean heat\? Known are"):
        read_example("heet")
    with pytest.raises(InputError, match=r"'nofile\.py': there is no such file here"):
        read_example("nofile.py")
    (tmp_path / "empty.py").write_text("box = None\n")
    with pytest.raises(InputError, match=r"says no system\(\)"):
        read_example(str(tmp_path / "empty.py"))
    (tmp_path / "other.py").write_text("def system():\n    return 1\n")
    with pytest.raises(InputError, match=r"system\(\) returns int: a pde.System is needed"):
        read_example(str(tmp_path / "other.py")).run(1.0)


POISSON = """from geodescent import pde
box = pde.Box(x=(0.0, 1.0))
def equation(u, x):
    {body}
    return u.xx - x
def system():
    {more}
    return pde.System(pde.mlp(1, [4], 1), [pde.Term("line", equation, box.inside(9))], coordinates="x")
"""
FAILING = {
    "a syntax error": (
        "def system(:",
        r"own\.py cannot be run, SyntaxError: invalid .*line 1 of .*own\.py: def system",
    ),
    "an import": (
        "import no_such_module",
        r"own\.py cannot be run, ModuleNotFoundError: No module named 'no_such_module'\. It comes from line 1 of "
        r".*own\.py: import no_such_module$",
    ),
    "system": (
        POISSON.format(body="", more="one = 1 / 0"),
        r"own\.py: system\(\) fails, ZeroDivisionError: division by zero\. .* line 7 of .*own\.py: one = 1 / 0$",
    ),
    "an equation": (
        POISSON.format(body="y = x[99]", more=""),
        r"term 'line': its equation fails, IndexError: .*It comes from line 4 of .*own\.py: y = x\[99\]$",
    ),
    "an error of ours": (
        "from geodescent import pde\npde.Box()\n",
        r"^a box needs coordinates.* It comes from line 2 of .*own\.py: pde\.Box\(\)$",
    ),
    "an exit": ("import sys\nsys.exit()\n", r"cannot be run: it ends the program, as sys\.exit\(\) does.* line 2 of"),
    "an exit in system": (
        POISSON.format(body="", more="raise SystemExit(3)"),
        r"system\(\) fails: it ends the program",
    ),
    "an exit in an equation": (
        POISSON.format(body="exit()", more=""),
        r"it ends the program.* line 4 of .*: exit\(\)$",
    ),
    "seconds": (POISSON.format(body="", more="") + "seconds = 'ten'\n", r"own\.py: seconds = 'ten', where a number"),
    "a reference": (
        POISSON.format(body="", more="") + "def reference(points):\n    return points.nothing\n",
        r"own\.py: its reference\(\) or table\(\) fails, AttributeError.* line 10 of .*: return points\.nothing$",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_file_that_fails_is_told_as_the_users_with_its_line(name, tmp_path):
    content, says = FAILING[name]
    (tmp_path / "own.py").write_text(content)
    with pytest.raises(InputError, match=says) as caught:
        example = read_example(str(tmp_path / "own.py"))
        example.require_sound()
        example.run(1.0)
    error = caught.value
    assert error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)


def test_an_equation_that_fails_in_the_midst_of_a_fit_is_told_with_its_line(tmp_path):
    late = "calls.append(1)\n    if len(calls) > 40:\n        raise ValueError('no more')"
    content = POISSON.format(body=late, more="").replace("def equation", "calls = []\ndef equation")
    (tmp_path / "own.py").write_text(content)
    with pytest.raises(InputError, match=r"ValueError: no more.* line 7 of .*own\.py: raise ValueError\('no more'\)$"):
        read_example(str(tmp_path / "own.py")).run(3.0)


TWO = """\"\"\"Two fields.\"\"\"
import torch
from geodescent import pde

box = pde.Box(t=(0.0, 1.0))


def system():
    term = pde.Term("both", lambda u, v, k: (u.t - k * v, v.t + u), box.inside(9))
    return pde.System(pde.mlp(1, [4], 2), [term], coordinates="t", fields=("u", "v"), unknowns={"k": 1.0})


"""
COLUMN = r"own\.py: reference\(points\) is torch.float64 of shape \((6400|2), 1\) for \1 points: real numbers of shape "
OF_ANOTHER_BOX = TWO[TWO.index("\n\ndef system") :].replace("box.", "box_of_terms.")
PLACES = "torch.linspace(0.0, 1.0, 5)[:, None]"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("def reference(p):\n    return torch.sin(p[:, :1])\n", COLUMN + r"\(\1, 2\) are needed, a column for each"),
        ("box_of_terms, box = box, None\n\ndef reference(p):\n    return p[:, :1] + 0.0\n" + OF_ANOTHER_BOX, COLUMN),
        ("def reference(p):\n    return p[:, 0].cfloat()\n", r"is torch\.complex64 of shape \(6400,\)"),
        ("def reference(p):\n    return 1 / 0\n", r"own\.py: its reference\(\) or table\(\) fails, ZeroDiv"),
        (f"def table():\n    return {PLACES}, {PLACES}\n", r"the second part of table\(\) is .* of shape \(5, 1\)"),
        (f"def table():\n    return {PLACES}.repeat(1, 2), {PLACES}\n", r"its points have shape \(5, 2\): \(N, 1\)"),
        ("truth = {'kappa': 2.0}\n", r"truth names 'kappa'; unknowns of the system are k: name one of these\."),
        ("truth = {'k': 0.0}\n", r"truth = \{'k': 0\.0\}: errors are relative to it, so that a number other than 0"),
        (
            "box_of_terms, box = box, pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))\n\ndef reference(p):\n    return p\n"
            + OF_ANOTHER_BOX,
            r"box has the coordinates t, x, the system has t: name the same in the same order",
        ),
    ],
)  # fmt: skip
def test_a_reference_of_other_shape_is_refused_before_any_fit(tmp_path, monkeypatch, content, says):
    def fit(*_, **__):
        raise AssertionError("a fit was begun")

    monkeypatch.setattr("geodescent.app.equations._example.fit", fit)
    (tmp_path / "own.py").write_text(TWO + content)
    with pytest.raises(InputError, match=says):
        read_example(str(tmp_path / "own.py")).run(1.0)


INVERSE = """\"\"\"The rate of a decay.\"\"\"
import torch
from geodescent import pde
box = pde.Box(t=(0.0, 1.0))
def system():
    t = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)[:, None]
    terms = [
        pde.Term("decay", lambda u, rate: u.t + rate * u, box.inside(12)),
        pde.Term("sensors", lambda u: u, t, target=torch.exp(-2.0 * t[:, 0]) + 0.01 * torch.randn(9)),
    ]
    return pde.System(pde.mlp(1, [5], 1), terms, coordinates="t", unknowns={"rate": 1.0})
"""


def test_coefficients_are_shown_where_nothing_is_known_to_compare_them_with(tmp_path):
    (tmp_path / "rate.py").write_text(INVERSE)
    solved = read_example(str(tmp_path / "rate.py")).run(2.0)
    found = solved.solution.unknowns["rate"]
    assert solved.sentence() == f"rate = {found}; there is no reference to compare it with"


def test_an_equation_without_a_reference_says_so(tmp_path):
    (tmp_path / "line.py").write_text(OWN.split("def reference")[0])
    assert read_example(str(tmp_path / "line.py")).run(0.5).sentence() == "there is no reference to compare it with"


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_was_measured_and_is_what_is_generated_from_it(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "examples" / "equations" / "gallery.py")
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    assert set(gallery.ANCHORS) <= set(NAMES)
    kept, page = json.loads(gallery.RESULTS.read_text()), gallery.PAGE.read_text()
    assert set(kept) == set(NAMES)
    for name, run in kept.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [{name}]"))
        assert len(run["runs"]) == 3 and gallery.shown(run["runs"]) in row
        section = page.split(f'<a id="{name}"></a>\n\n### {name}')[1].split("<a id=")[0]
        assert section.count(read_example(name).equation.split(", ")[0]) == 1
        assert 10_000 < (gallery.PICTURES / f"{name}.png").stat().st_size < 100_000
    monkeypatch.setattr(gallery, "PAGE", tmp_path / "page.md")
    gallery.PAGE.write_text(page)
    gallery.write(kept)
    assert gallery.PAGE.read_text() == page


def test_points_where_solutions_are_compared_are_none_of_those_that_were_fitted():
    example = read_example("poisson")
    fitted = {tuple(point) for point in example.module.box.inside(900).points.tolist()}
    assert not fitted & {tuple(point) for point in example.reference.points.tolist()}
    assert isinstance(example.module.system(), pde.System)


@pytest.mark.parametrize("path", sorted((ROOT / "src/geodescent/app/equations").glob("*/*.py")), ids=lambda p: p.stem)
def test_a_file_of_the_gallery_can_be_imported_as_a_module(path):
    """Then its room becomes an attribute of the package, which must not hide a function."""
    module = importlib.import_module(f"geodescent.app.equations.{path.parent.name}.{path.stem}")
    if hasattr(module, "reference"):
        found = module.reference(torch.full((2, len(module.system().coordinates)), 0.5, dtype=torch.float64))
        assert bool(torch.isfinite(torch.as_tensor(found)).all())


@pytest.mark.parametrize("viscosity", [0.1, 0.01, 0.01 / torch.pi])
def test_the_formula_of_cole_and_hopf_reaches_its_peak(viscosity, monkeypatch):
    """A longer and finer integral is the same, also where the peak is far from s = 0."""
    points = torch.rand(200, 2, dtype=torch.float64)
    found = cole_hopf(points, viscosity)
    monkeypatch.setattr(_references, "TAIL", 14.0)
    monkeypatch.setattr(_references, "NODES_OF_FORMULA", 12000)
    assert float((cole_hopf(points, viscosity) - found).abs().max()) < 1e-13
