"""What a run shows: nothing, one live line, or a line a step, in 80 columns; the same through `logging`."""

import io
import logging
import sys
from typing import Any

import pytest
from rich.console import Console
from support.diabetes import diabetes

import geodescent as gd
from geodescent._record import StepRecord
from geodescent.doors import _progress
from geodescent.doors._progress import TITLES, PlainScreen, RichScreen, live_line, table_line

WIDE = StepRecord(123456, 1.0, 1.2345e-300, 9.8e-305, 1.234e-150, -123456.0, 7, 1.234e-310, 1e6, {})
FIRST = StepRecord(0, 0.0, 1.0, 1.0)


def run(verbose: int, **more: Any) -> gd.Solution:
    model, x, y = diabetes(16)
    return gd.fit(model, x[:12], y[:12], max_steps=4, verbose=verbose, validation=(x[12:], y[12:]), **more)


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_what_is_printed(lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is there to draw on, of the live line the last state alone."""
    seen: list[StepRecord] = []
    run(lines, callback=seen.append)
    shown = capsys.readouterr().out.splitlines()
    assert len(seen) == 4
    if lines == 1:
        assert shown == [live_line(seen[-1])]
    elif lines == 2:
        assert shown[0] == TITLES and shown[2:] == [table_line(record) for record in seen]
    else:
        assert shown == []


def test_lines_fit_into_80_columns() -> None:
    records = (FIRST, WIDE, StepRecord(3, 1.0, float("inf"), float("nan"), 1.0, float("-inf")))
    assert max(len(line) for record in records for line in (live_line(record), table_line(record), TITLES)) < 80
    assert len(table_line(FIRST)) == len(TITLES) == len(table_line(StepRecord(7, 1.0, 1e-3, 1e-4, 1e-9, 0.97)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_live_line_is_drawn_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    plain = PlainScreen()
    plain.live("step 1 of many")
    plain.live("step 2")
    plain.close()
    drawn = terminal.getvalue()
    assert drawn.count("\n") == 1 and drawn.count("\r") == 2
    assert all(len(part.rstrip("\n")) <= 79 for part in drawn.split("\r"))


def test_rich_draws_where_it_has_a_terminal_and_plain_lines_serve_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    plain = Console(file=terminal, force_terminal=True, color_system=None, highlight=False, width=60)
    with monkeypatch.context() as patched:
        patched.setattr("rich.console.Console", lambda **more: plain)
        assert isinstance(_progress.screen(), RichScreen)
        run(1)
        run(2)
    assert "step 4" in terminal.getvalue() and TITLES in terminal.getvalue()
    monkeypatch.setattr(_progress, "find_spec", lambda name: None)
    assert isinstance(_progress.screen(), PlainScreen)
    run(2)
    assert TITLES in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [0, 2])
def test_the_same_records_go_to_logging(verbose: int, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[StepRecord] = []
    with caplog.at_level(logging.INFO, logger="geodescent"):
        run(verbose, callback=seen.append)
    logged = [entry for entry in caplog.records if hasattr(entry, "record")]
    assert [entry.record for entry in logged][1:] == seen and logged[0].record.step == 0
    assert [entry.getMessage() for entry in logged[1:]] == [live_line(record) for record in seen]


def test_the_live_line_ends_whatever_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(record: StepRecord) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run(1, callback=fail)
    assert capsys.readouterr().out.startswith("step 1")


@pytest.mark.parametrize("verbose", [3, -1, "yes", None, 1.5])
def test_other_values_are_refused(verbose: Any) -> None:
    with pytest.raises(gd.InputError, match=r"verbose = .*: 0 shows nothing, 1 one live line, 2 a line a step"):
        run(verbose)
