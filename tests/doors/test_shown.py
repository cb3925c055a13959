"""Results as people see them: six lines, a short form, pictures, a page in a notebook."""

import re
import sys
from collections.abc import Callable

import pytest
import torch
from support.diabetes import diabetes
from support.printed import rows_of
from torch import nn

import geodescent as gd
from geodescent.doors._in_words import NEXT, WORDS_AT_AN_END, lines_of
from geodescent.doors._on_demand import on_demand

Solved = gd.Solution | gd.Flow
DOORS: dict[str, Callable[[], Solved]] = {
    "solution": lambda: gd.fit(*diabetes(10), max_steps=2),
    "flow": lambda: gd.flow(*diabetes(10), until=0.1, max_seconds=1.0),
}
NAMES = {
    "solution": ["cost", "result", "steps", "known", "notes", "next"],
    "flow": ["cost", "deviation", "result", "known", "notes", "next"],
}


@pytest.mark.parametrize("door", DOORS)
def test_six_lines(door: str) -> None:
    solved = DOORS[door]()
    lines = rows_of(str(solved))
    assert max(map(len, str(solved).splitlines())) <= 80
    assert [line.split()[0] for line in lines] == NAMES[door]
    assert solved.certificate.meaning in lines[3] and len(repr(solved)) < 100
    assert lines[4].split(maxsplit=1)[1] == (" ".join(solved.stats["notes"]) or "none")
    assert all(line[-1] in ".?!)" for line in (lines[3], lines[5]))


@pytest.mark.parametrize("result", gd.Result)
def test_whatever_ends_a_run_something_is_to_do(result: gd.Result) -> None:
    problem = gd.Problem.of(*diabetes(10))
    made = on_demand(problem, problem.theta, target_cost=None)
    stats = {"notes": ["A.", "B."], "model_dtype": "float32"}
    (_, known), (_, notes), (_, following) = lines_of(made, 1.0, result, stats, call="gd.flow")
    assert notes == "A. B." and following.endswith(".") and known[-1] in ".)" and "{" not in following
    assert result in NEXT or result in WORDS_AT_AN_END or following == made.get().advice


@pytest.mark.parametrize("end", ["time", "stopped"])
@pytest.mark.parametrize("door", ["fit", "flow"])
def test_what_is_to_be_called_again_is_what_was_called(door: str, end: str) -> None:
    def stop(record: gd.StepRecord) -> None:
        raise StopIteration

    how = {"max_seconds": 0.0} if end == "time" else {"callback": stop}
    shown = rows_of(str(getattr(gd, door)(*diabetes(10), **how)))[-1]
    other = {"fit": "flow", "flow": "fit"}[door]
    assert f"Call gd.{door} again" in shown and f"gd.{other}" not in shown


def test_what_the_start_was_suited_to_is_said_in_sentences() -> None:
    model, x, y = diabetes(30)
    notes = gd.fit(model, 1e6 * x, 1e9 * y + 1e10, initialise=True, max_steps=1).stats["notes"]
    assert len(notes) >= 3 and all(note[0].isupper() and note[-1] == "." for note in notes)


def test_a_flow_in_float32_that_is_slow_tells_of_float64() -> None:
    for dtype in (torch.float32, torch.float64):
        model, x, y = diabetes(10)
        path = gd.flow(model.to(dtype), x.to(dtype), y.to(dtype), until=1e3, max_seconds=0.5)
        assert path.result is gd.Result.max_seconds
        note = " ".join(map(str, path.stats["notes"]))
        assert ("convert model and data to float64" in note) == (path.theta.dtype == torch.float32)


def test_the_notes_tell_of_a_start_that_units_have_saturated() -> None:
    model, x, y = diabetes(30)
    shown = rows_of(str(gd.fit(model, x * 1e6, y, max_steps=1)))
    assert "gd.initialise(model, X, y)" in next(row for row in shown if row.startswith("notes"))


def test_the_step_that_validation_kept_is_said() -> None:
    model, x, y = diabetes(60)
    solution = gd.fit(model, x[:40], y[:40], validation=(x[40:], y[40:]), max_steps=60)
    validation = solution.history["validation_cost"]
    kept = int(validation.argmin())
    assert solution.result is gd.Result.validation_rose and kept < solution.steps
    assert f"Kept is step {kept}" in rows_of(str(solution))[4]
    assert f"validation cost {validation.min():.4g} at its least" in rows_of(str(solution))[0]
    assert solution.cost == solution.history["cost"][kept]


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_pictures_and_pages(door: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    solved = DOORS[door]()
    axes = solved.plot()
    assert axes.figure.number in pyplot.get_fignums() and "‖x − y‖²" in axes.get_ylabel()
    axes.figure.savefig(tmp_path / "plot.png")
    pyplot.close(axes.figure)
    page = solved._repr_html_()
    assert page.count("<tr>") == 6 and "data:image/png;base64," in page and solved.result.value in page
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=rf"{door}\.plot\(\) draws with matplotlib.*pip install 'geodescent\[app\]'"):
        solved.plot()
    monkeypatch.setitem(sys.modules, "geodescent.pictures", None)
    assert solved._repr_html_().endswith("</table>")


def test_text_in_a_page_is_text() -> None:
    block = gd.RowBlock("<b>x</b>", gd.SampleMap(nn.Linear(2, 1), torch.ones(3, 2)), torch.ones(3, 1))
    solution = gd.fit(gd.Problem((block,)), max_steps=1)
    object.__setattr__(solution, "stats", {**solution.stats, "notes": ["a < b & c"]})
    assert "a &lt; b &amp; c" in solution._repr_html_() and not re.search(r"a < b", solution._repr_html_())
