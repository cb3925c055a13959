"""Runs of the command that were killed, interrupted, or had ended, and `--resume`."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import geodescent as gd
from geodescent import doors
from geodescent.app.cli import app
from geodescent.app.commands import _close

EXACT = ("--hidden", "8", "--max-steps", "6")


@pytest.fixture(autouse=True)
def no_baselines(monkeypatch):
    """They take most of the time of a command, and are not what these tests are about."""
    monkeypatch.setattr(_close, "baselines", lambda table: ([], []))


def fit(*words, status=0):
    done = CliRunner().invoke(app, ["fit", *map(str, words), "--json"])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout), " ".join(done.stderr.split())


def killed_after(steps, monkeypatch, *words):
    """A run whose process is gone in the midst of a step: nothing that would follow is done."""
    whole = doors.fit

    def broken(*arguments, callback, **options):
        def call(record):
            callback(record)
            if record.step == steps:
                raise SystemExit(9)

        return whole(*arguments, callback=call, **options)

    monkeypatch.setattr(doors, "fit", broken)
    CliRunner().invoke(app, ["fit", *map(str, words)])
    monkeypatch.setattr(doors, "fit", whole)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path):
    words = ["fit", "digits", "--hidden", "12", "--max-steps", "12"]
    run = [sys.executable, "-m", "geodescent", *words, "--out", "run"]
    process = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    history, deadline = tmp_path / "run" / "history.jsonl", time.monotonic() + 120.0
    while not (history.exists() and history.read_text().count("\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    answer, _ = fit(*words[1:], "--out", tmp_path / "run", "--resume")
    fit(*words[1:], "--out", tmp_path / "whole")
    resumed, uninterrupted = (gd.load(tmp_path / name) for name in ("run", "whole"))
    assert answer["resumed_from"] >= 2
    assert resumed.history["step"].tolist() == list(range(1, 13))
    assert np.allclose(resumed.history["cost"], uninterrupted.history["cost"], rtol=1e-6)


@pytest.mark.parametrize("lost", [0, 1])
def test_the_history_is_whole_wherever_the_run_was_killed(lost, tmp_path, monkeypatch):
    """Also between a state that was saved and its record."""
    killed_after(3, monkeypatch, "iris", *EXACT, "--out", tmp_path / "run")
    history = tmp_path / "run" / "history.jsonl"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join(lines[: len(lines) - lost]) + '{"step": 4, "co')
    answer, _ = fit("iris", *EXACT, "--out", tmp_path / "run", "--resume")
    assert answer["resumed_from"] == 3 and answer["steps"] == 6
    found, (whole, _) = gd.load(tmp_path / "run").history, fit("iris", *EXACT, "--out", tmp_path / "whole")
    assert found["step"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert found["cost"].min() == pytest.approx(whole["cost"], rel=1e-6)


def test_a_run_that_has_ended_is_told_again(tmp_path):
    first, _ = fit("iris", *EXACT[:2], "--target-cost", 0.1, "--out", tmp_path / "run")
    assert first["result"] == "target_reached"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    again, words = fit("iris", *EXACT[:2], "--target-cost", 0.1, "--out", tmp_path / "run", "--resume")
    assert again == first and "has ended; this is its result again" in words
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_a_run_that_ended_for_lack_of_steps_goes_on_with_more(tmp_path):
    fit("iris", *EXACT, "--out", tmp_path / "run")
    answer, _ = fit("iris", "--hidden", "8", "--max-steps", 9, "--out", tmp_path / "run", "--resume")
    assert answer["resumed_from"] == 6 and answer["steps"] == 9


def test_where_there_is_nothing_to_go_on_with_the_run_begins_anew(tmp_path):
    answer, words = fit("iris", *EXACT, "--out", tmp_path / "run", "--resume")
    assert answer["resumed_from"] is None and answer["steps"] == 6
    assert f"There is no run in {tmp_path / 'run'} to go on with: it begins anew." in words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("wine", *EXACT), "a run of another table, iris: give the data that it was begun with"),
        (("iris", "--hidden", "9"), "holds a run of other options (--hidden 8 there and 9 here)"),
        (("iris", *EXACT, "--seed", "1"), "holds a run of other options (--seed 0 there and 1 here)"),
    ],
    ids=["another table", "another network", "another split"],
)
def test_a_run_of_something_else_is_not_gone_on_with(words, sentence, tmp_path):
    fit("iris", *EXACT, "--out", tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    answer, _ = fit(*words, "--out", tmp_path / "run", "--resume", status=1)
    assert sentence in answer["error"]
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_links_in_the_folder_are_not_written_through(tmp_path):
    fit("iris", *EXACT, "--out", tmp_path / "run")
    (tmp_path / "run" / "history.jsonl").rename(tmp_path / "precious")
    (tmp_path / "run" / "history.jsonl").symlink_to(tmp_path / "precious")
    answer, _ = fit("iris", *EXACT, "--out", tmp_path / "run", "--resume", status=1)
    assert "history.jsonl is a link, which is not followed" in answer["error"]


def test_resume_without_a_folder_is_a_usage_error():
    done = CliRunner().invoke(app, ["fit", "iris", "--resume"])
    assert done.exit_code == 2 and "--resume needs --out DIR" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    words = ["fit", "digits", "--hidden", "16", "--target-cost", "0", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "geodescent", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    history, deadline = tmp_path / "run" / "history.jsonl", time.monotonic() + 120.0
    while not (history.exists() and history.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert f"geodescent {' '.join(words)} --resume" in " ".join(out.decode().split())
