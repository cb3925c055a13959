"""The command speaks of its options where the library speaks Python; a certificate comes behind a plain sentence."""

import re
from pathlib import Path
from types import FunctionType

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from geodescent._errors import InputError
from geodescent.app.cli import app
from geodescent.app.commands import _close
from geodescent.app.report import in_options
from geodescent.app.tables import prepare
from geodescent.certificate import _equation_words, _plain_words
from geodescent.doors import _in_words

PYTHON = re.compile(
    r"\bgd\.|max_steps|max_seconds|target_cost|test_size|(?<!\w)(until|tol|stop|seed|dtype) = |validation=|torch\.float"
)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Calls the command beside two tables: its status, and all that it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_close, "baselines", lambda table: ([], []))
    draw = np.random.default_rng(0)
    a = draw.normal(size=30)
    pl.DataFrame({"a": a, "y": np.sin(a) + 0.1 * draw.normal(size=30)}).write_csv("n.csv")

    def call(*words):
        done = CliRunner().invoke(app, [*words, "--out", "run"] if words[0] in ("fit", "flow") else [*words])
        return done.exit_code, " ".join((done.stdout + done.stderr).split())

    return call


EXACT, FLOW = ("fit", "n.csv", "--mode", "exact", "--hidden", "4"), ("flow", "n.csv", "--hidden", "8")
REFUSED = {
    ("fit", "n.csv", "--target-cost", "-1"): "--target-cost -1.0: a cost of zero or above is needed, for example",
    ("fit", "n.csv", "--target-cost", "nan"): "for example --target-cost 1e-12",
    ("fit", "n.csv", "--test-size", "1.5"): "--test-size must lie between 0 and 1",
    ("fit", "n.csv", "--test-size", "0.99"): "--test-size 0.99 leaves 0 of 30 rows to train on: change --test-size",
    (*EXACT, "--stop", "validation", "--test-size", "0.9"): "leave --stop validation out, or choose a smaller",
    (*FLOW, "--until", "0.5", "--target-cost", "1e-3"): "--until 0.5 and --target-cost 0.001 both say when to stop",
    (*FLOW, "--until", "-2"): "--until -2.0: the flow's time",
    (*FLOW, "--tol", "-1"): "--tol -1.0: a relative tolerance",
    (*FLOW, "--target-cost", "-1"): "--target-cost -1.0: the flow reaches no cost",
    ("certify", "n.csv", "--target-cost", "inf"): "--target-cost inf: a cost of zero or above",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_refusal_names_the_option(words, told):
    status, said = told(*words)
    error = said.partition("error: ")[2]
    assert status == 1 and REFUSED[words] in error and not PYTHON.search(error)


ENDED = {
    "steps": (*EXACT, "--max-steps", "3"),
    "time": (*EXACT, "--max-seconds", "0"),
    "validation": (*EXACT, "--stop", "validation", "--max-steps", "20"),
    "a target below rounding": (*EXACT, "--target-cost", "1e-40", "--max-steps", "3", "--dtype", "float32"),
    "a flow": ("flow", "n.csv", "--hidden", "64", "--until", "0.1", "--tol", "1e-3", "--max-seconds", "3"),
}


@pytest.mark.parametrize("end", ENDED)
def test_an_exact_run_ends_in_a_plain_sentence_and_not_in_the_rows_of_a_certificate(end, told):
    status, said = told(*ENDED[end])
    assert status == 0 and "In short: " in said and not PYTHON.search(said), PYTHON.search(said)
    assert "spectrum" not in said and "left out in turn (" not in said
    assert said.count("lies under the rounding floor") == (end == "a target below rounding")
    assert "σ_max" in Path("run/report.html").read_text(encoding="utf-8")


def test_with_verbose_the_rows_stand_below_the_sentence(told):
    status, said = told(*EXACT, "--max-steps", "2", "--verbose")
    assert status == 0 and said.index("In short: ") < said.index("certificate at the end") < said.index("spectrum")
    assert "left out in turn (" in said


def test_certify_says_what_it_means_before_the_rows(told):
    told(*EXACT, "--max-steps", "2")
    for place in ("n.csv", "run"):
        status, said = told("certify", place, *(("--hidden", "4") if place == "n.csv" else ()))
        assert status == 0 and said.index("In short: ") < said.index("problem m =") and "gd." not in said


def test_every_advice_of_the_library_is_translated():
    advices = [
        *map(str, _in_words.NEXT.values()),
        *_strings(_plain_words),
        *_strings(_equation_words),
        _equation_words.OTHER_START,
    ]
    assert len(advices) > 20
    for advice in advices:
        assert not re.search(r"gd\.|max_seconds|max_steps|p\.add_", in_options(advice)), advice


def _strings(module):
    """Texts of several words in the code of a module's functions."""
    for function in vars(module).values():
        if isinstance(function, FunctionType) and function.__module__ == module.__name__:
            yield from (c for c in function.__code__.co_consts if isinstance(c, str) and " " in c)


@pytest.mark.parametrize("text", ["no column 'max_steps'", "runs/max_steps holds a run", "'target_cost' is missing"])
def test_names_of_columns_and_paths_stay_what_they_are(text):
    assert in_options(text) == text


def test_the_library_itself_speaks_python():
    with pytest.raises(InputError, match="test_size must lie between 0 and 1"):
        prepare("iris", test_size=2.0)
