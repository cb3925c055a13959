"""Whatever phase an interrupt falls into, it is said what is kept, and how to go on."""

import json
import shlex

import numpy as np
import polars as pl
import pytest

from geodescent import doors
from geodescent.app import cli, commands
from geodescent.app.commands import _close, _commands, _network, _opening, _predict


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


@pytest.fixture
def called(tmp_path, monkeypatch, capsys):
    """Runs the command as a shell does: its status, its object, and what it says."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    a = draw.normal(size=30)
    pl.DataFrame({"a": a, "y": np.sin(a) + 0.1 * draw.normal(size=30)}).write_csv("n.csv")

    def call(*words):
        monkeypatch.setattr("sys.argv", ["geodescent", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(end.value.code or 0), json.loads(printed.out), " ".join(printed.err.split())

    return call


FIT = ("fit", "n.csv", "--mode", "exact", "--hidden", "4", "--max-steps", "4", "--json", "--out", "run")
POSTERIOR = ("fit", "n.csv", "--mode", "posterior", "--json", "--out", "run")
NOTHING = "interrupted: nothing had been saved. The same command begins again."


@pytest.mark.parametrize(
    ("module", "name"),
    [(_opening, "read_table"), (_network, "SampleMap"), (doors, "initialise"), (doors, "fit"), (commands, "fit_table")],
)
def test_before_anything_is_saved(called, tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(module, name, interrupt)
    status, answer, said = called(*FIT)
    assert status == 130 and answer == {"error": NOTHING} and NOTHING in said
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert called(*FIT)[0] == 0


def test_while_options_are_read(called, monkeypatch):
    monkeypatch.setattr(cli, "widths", interrupt)
    assert called(*FIT)[:2] == (130, {"error": NOTHING})


def test_after_steps_were_saved_the_command_that_goes_on_is_said(called, tmp_path, monkeypatch):
    monkeypatch.setattr(_close, "baselines", interrupt)
    status, answer, _ = called(*FIT)
    assert status == 130 and "the last step that was saved is kept in run" in answer["error"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(answer["error"].partition("To go on from there: ")[2])
    assert words == ["geodescent", *FIT, "--resume"]
    status, answer, _ = called(*words[1:])
    assert status == 0 and answer["resumed_from"] == 4


def test_after_the_fit_of_a_posterior_it_predicts(called, tmp_path, monkeypatch):
    monkeypatch.setattr(_close, "baselines", interrupt)
    status, answer, _ = called(*POSTERIOR)
    assert status == 130 and "what was fitted is kept in run, and geodescent predict run DATA" in answer["error"]
    status, answer, _ = called("predict", "run", "n.csv", "--json")
    assert status == 0 and answer["rows"] == 30


def test_settings_alone_are_begun_again(called, tmp_path, monkeypatch):
    monkeypatch.setattr("geodescent.app.runs.RunFolder.append", interrupt)
    status, answer, _ = called(*POSTERIOR)
    assert status == 130 and "run holds the settings alone. To begin again: geodescent fit" in answer["error"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    again = ("fit", "n.csv", "--json", "--out", "run", "--resume")
    assert called(*again)[0] == 0


def test_a_prediction_that_was_interrupted_has_written_nothing(called, tmp_path, monkeypatch):
    called(*FIT)
    monkeypatch.setattr(_predict, "write_table", interrupt)
    before = set(tmp_path.iterdir())
    assert called("predict", "run", "n.csv", "--json")[:2] == (130, {"error": NOTHING})
    assert set(tmp_path.iterdir()) == before and _commands
