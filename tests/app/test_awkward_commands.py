"""Tables as people have them, through every command: a run, a plain account in 80 columns, and the same predictions
for the same rows in whatever order the columns stand.
"""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import geodescent as gd
from geodescent.app.cli import app
from geodescent.app.commands import _close
from geodescent.app.tables import read_table

N = 36
DRAW = np.random.default_rng(0)
A, B = DRAW.normal(size=N).round(3).tolist(), DRAW.normal(3.0, 5.0, size=N).round(3).tolist()
Y = [round(a - 2.0 * b + 0.5 * float(e), 3) for a, b, e in zip(A, B, DRAW.normal(size=N), strict=True)]
COLOURS = [("red", "green", "blue")[k] for k in DRAW.integers(3, size=N)]
PLAIN: dict[str, list[object]] = {"a": A, "b": B, "colour": COLOURS, "y": Y}
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=11 * k) for k in range(N)]
WIDE = DRAW.normal(size=(N, 2 * N)).round(4)
SQUARE = DRAW.normal(size=(13, 12)).round(4)


@dataclass(frozen=True)
class Awkward:
    """A table, what its account says of it, and how it is written."""

    columns: dict[str, list[object]]
    said: str
    how: dict[str, object] = field(default_factory=dict)
    encoding: str = "utf-8"

    def write(self, path: Path, names: list[str]) -> None:
        text = pl.DataFrame(self.columns, strict=False)[names].write_csv(**self.how)
        path.write_bytes(text.encode(self.encoding))


def plain(said: str, **others: list[object]) -> Awkward:
    return Awkward({**PLAIN, **others}, said)


TABLES = {
    "semicolons and decimal commas": Awkward(
        PLAIN, "semicolons between columns, decimal commas", {"separator": ";", "decimal_comma": True}
    ),
    "quotes": plain(
        "colour category yes or no for each of 3 values",
        colour=[{"red": 'dark "red", wide', "green": "two\nlines", "blue": "a;b"}[c] for c in COLOURS],
    ),
    "accents": Awkward({"Größe": A, "été à la mer": B, "предел": Y}, "Target: 'предел', the last column"),
    "booleans": plain("colour boolean 0 for false, 1 for true", colour=[c == "red" for c in COLOURS]),
    "dates": plain("colour date days as a number (read as YYYY-MM-DD)", colour=[day.isoformat() for day in DAYS]),
    "an id": Awkward({"id": [*range(1, N + 1)], **PLAIN}, "id left out it numbers the rows"),
    "a constant": Awkward({"c": [7] * N, **PLAIN}, "c left out it is constant: 7 in every training row"),
    "missing entries": plain(
        "missing ones filled with the median", a=[None if k % 4 == 0 else a for k, a in enumerate(A)]
    ),
    "an integer target": plain("3 classes (0, 1, 2), as it holds 3 different whole", y=[(y > -9) + (y > 0) for y in Y]),
    "a text target": plain("2 classes (ja ✓, no), as it holds text", y=["ja ✓" if y > -6 else "no" for y in Y]),
    "a category seen once": plain(" ", colour=["mauve", *COLOURS[1:]]),
    "a row more than columns": Awkward({f"x{j}": SQUARE[:, j].tolist() for j in range(12)}, "13 rows of 12 columns"),
    "twice as many columns as rows": Awkward(
        {f"x{j}": WIDE[:, j].tolist() for j in range(2 * N)} | {"y": Y}, "… 72 columns in all: the report lists them"
    ),
    "numbers near 1e12": plain("a number used, scaled", a=[1e12 + a for a in A]),
    "rows twice": Awkward({name: [*v, *v[:7]] for name, v in PLAIN.items()}, "7 rows repeat an earlier one"),
    "windows-1252": Awkward({"Größe": A, "b": B, "Preis €": Y}, "windows-1252", encoding="cp1252"),
    "per cent and currencies": plain(
        "Numbers were read without the sign beside them, in 'a' (€), 'b' (%).",
        a=[f"€{1000.0 + 100.0 * a:,.2f}" for a in A],
        b=[f"{b:.3f} %" for b in B],
    ),
    "names that would be obeyed": Awkward(
        {
            "<script>alert(1)</script>": A,
            "\x1b[31mred\x1b[0m": B,
            "\u202egnp.exe": DRAW.normal(size=N).tolist(),
            "$x$": DRAW.normal(size=N).tolist(),
            "L" * 300: DRAW.normal(size=N).tolist(),
            "😀 mood": COLOURS,
            "<b>y</b> \x1b[2J $y_1$": Y,
        },
        "\\x1b[31mred\\x1b[0m number",
    ),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Baselines take most of the time of a command, and pictures the rest."""
    monkeypatch.setattr(_close, "baselines", lambda table: ([], []))
    if "report" not in request.node.name:
        monkeypatch.setattr(_close, "page", lambda facts: "")
        monkeypatch.setattr(_close, "png", lambda figure: b"")


@pytest.fixture
def written(tmp_path, monkeypatch) -> Callable[[str], Awkward]:
    """Writes a table, and the same with its columns the other way round."""
    monkeypatch.chdir(tmp_path)

    def write(name: str) -> Awkward:
        table = TABLES[name]
        table.write(tmp_path / "table.csv", list(table.columns))
        table.write(tmp_path / "turned.csv", list(table.columns)[::-1])
        return table

    return write


def told(*words: str) -> str:
    """What a command says, where it ends well."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert all(letter.isprintable() for letter in done.output.replace("\n", ""))
    return " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_run_with_a_plain_account_and_the_same_predictions_of_turned_columns(name, written):
    table = written(name)
    said = told("fit", "table.csv", "--out", "run")
    assert table.said in said and "result How closely the rows are followed" in said
    assert re.search(r"test .* \(of \d+ rows put aside\) left out", said) and "Expect a" in said
    for name_of_file in ("table", "turned"):
        said = told("predict", "run", f"{name_of_file}.csv", "--out", f"{name_of_file}-out.csv")
        assert "the run was fitted on the others" in said
    new = [f"{name}-out.csv" for name in ("table", "turned")]
    one, other = (read_table(file).frame[:, len(table.columns) :] for file in new)
    assert one.equals(other) and len(one) == len(next(iter(table.columns.values())))
    assert one.columns[0] == "prediction" and not one.null_count().sum_horizontal().item()


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_certificate_and_a_flow(name, written):
    table = written(name)
    said = told("certify", "table.csv", "--hidden", "4")
    assert table.said in said and "problem m =" in said and "rank " in said
    said = told("flow", "table.csv", "--until", "0.5", "--hidden", "16", "--tol", "1e-6", "--out", "flow")
    assert "The flow reached the time that was asked for." in said
    assert gd.load("flow").predict("table.csv").shape == gd.load("flow").predict("turned.csv").shape


@pytest.mark.slow
def test_the_report_shows_names_and_obeys_none(written):
    written("names that would be obeyed")
    said = told("fit", "table.csv", "--out", "run")
    assert "report run/report.html" in said
    page = Path("run/report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>y</b>" not in page and "\x1b" not in page and "\u202e" not in page and "$x$" in page


@pytest.mark.slow
def test_rows_left_out_of_a_flow_are_judged_where_it_stopped(written):
    """At τ = 0.5 the outputs have gone two fifths of the way: on new rows they cannot be closer than that."""
    written("a constant")
    told("flow", "table.csv", "--until", "0.5", "--hidden", "32", "--out", "flow")
    run = gd.load("flow")
    test, foretold = run.result["test"], run.result["left_out"]
    assert foretold > 0.5 * np.std(Y) and 0.5 < test["rmse"] / foretold < 2.0
    assert test["coverage"] > 0.5
