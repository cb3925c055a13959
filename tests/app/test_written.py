"""Tables with predictions are written as they were read; the kind of the new file decides where it is another."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from geodescent.app.cli import app
from geodescent.app.tables import read_table

N = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, and its table in every spelling."""
    folder, draw = tmp_path_factory.mktemp("written"), np.random.default_rng(0)
    a = draw.normal(size=N).round(4)
    table = pl.DataFrame({"a": a, "größe": np.arange(N), "y": (3.0 * a + 0.1 * draw.normal(size=N)).round(4)})
    table.write_csv(folder / "points.csv")
    table.write_csv(folder / "tabs.tsv", separator="\t")
    table.write_csv(folder / "bars.csv", separator="|")
    table.write_csv(folder / "commas.csv", separator=";", decimal_comma=True)
    table.write_csv(folder / "quoted.csv", decimal_comma=True)
    table.write_csv(folder / "marked.csv", separator=";", decimal_comma=True, include_bom=True)
    table.write_parquet(folder / "table.parquet")
    called("fit", folder / "points.csv", "--hidden", "3", "--max-steps", 2, "--out", folder / "run")
    return folder


def called(*words):
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


SPELLINGS = {
    "points.csv": (",", ".", False),
    "tabs.tsv": ("\t", ".", False),
    "bars.csv": ("|", ".", False),
    "commas.csv": (";", ",", False),
    "quoted.csv": (",", ",", False),
    "marked.csv": (";", ",", True),
    "table.parquet": (",", ".", False),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_predictions_are_written_as_the_table_was(place, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    out = called("predict", place / "run", place / name)["out"]
    delimiter, point, marked = SPELLINGS[name]
    content = (tmp_path / out).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") is marked
    again = read_table(str(tmp_path / out))
    assert (again.form.delimiter, again.form.decimal_comma) == (delimiter, point == ",")
    plain = called("predict", place / "run", place / "points.csv", "--out", tmp_path / "plain.csv")["out"]
    assert again.frame.equals(pl.read_csv(plain)) and again.frame.columns[:2] == ["a", "größe"]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".tsv", "\t"), (".parquet", None)])
def test_the_kind_of_the_new_file_decides(place, tmp_path, suffix, delimiter):
    out = tmp_path / f"new{suffix}"
    called("predict", place / "run", place / "commas.csv", "--out", out)
    form = read_table(str(out)).form
    assert (form and (form.delimiter, form.decimal_comma)) == (delimiter and (delimiter, False))
