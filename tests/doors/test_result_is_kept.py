"""A finished fit is not lost: not to a full disk, not to SIGTERM, and not to what is told of it afterwards."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from support.diabetes import diabetes, theta_of
from torch import Tensor, nn

import geodescent as gd
from geodescent.certificate import Certificate, PlainWords
from geodescent.descent import _checkpoint
from geodescent.doors._flow import _largest_deviation
from geodescent.problem import Problem


def notes_of(solution: gd.Solution | gd.Flow) -> list[str]:
    notes = solution.stats["notes"]
    assert isinstance(notes, list)
    return notes


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 4 kB: what is written beyond that fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_checkpoint_alone(full_disk: None, tmp_path: Path) -> None:
    """The state of 1,801 parameters does not fit into 4 kB."""
    model, x, y = diabetes(20, hidden=150)
    plain = gd.fit(diabetes(20, hidden=150)[0], x, y, max_steps=5)
    solution = gd.fit(model, x, y, max_steps=5, checkpoint=tmp_path)
    assert solution.cost == pytest.approx(plain.cost, rel=1e-6) and solution.steps == 5
    assert torch.equal(theta_of(model), solution.theta)
    (note,) = notes_of(solution)
    assert note.startswith(f"The state at step 5 could not be saved to {tmp_path} (") and "the result itself" in note
    assert list(tmp_path.iterdir()) == []


def test_what_was_saved_before_the_disk_was_full_is_still_there(tmp_path: Path) -> None:
    data = diabetes(20, hidden=150)
    gd.fit(*data, max_steps=2, checkpoint=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        assert notes_of(gd.fit(*diabetes(20, hidden=150), max_steps=4, checkpoint=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = gd.fit(*diabetes(20, hidden=150), max_steps=4, checkpoint=tmp_path)
    assert again.steps == 4 and not notes_of(again)


ERRORS = [OSError(28, "No space left on device"), OSError(30, "Read-only file system"), SafetensorError("I/O error")]


@pytest.mark.parametrize("error", [*ERRORS, MemoryError(), RuntimeError("of a driver")], ids=repr)
def test_whatever_writing_raises_is_a_note(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(_checkpoint, "save_file", fail)
    solution = gd.fit(*diabetes(20), max_steps=3, checkpoint=tmp_path)
    assert solution.steps == 3 and type(error).__name__ in notes_of(solution)[0]


def test_a_disk_that_was_full_for_a_while_is_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = _checkpoint.save_file, list[int]()

    def fail_once(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ERRORS[0]
        write(*arguments, **options)

    monkeypatch.setattr(_checkpoint, "save_file", fail_once)
    monkeypatch.setattr(_checkpoint.Keeper.__init__, "__kwdefaults__", {"every": 0.0})
    assert notes_of(gd.fit(*diabetes(20), max_steps=3, checkpoint=tmp_path)) == []
    assert len(calls) > 1


def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def remove(record: gd.StepRecord) -> None:
        if record.step == 1:
            shutil.rmtree(folder)

    solution = gd.fit(*diabetes(20), max_steps=2, checkpoint=folder, callback=remove)
    assert solution.steps == 2 and not notes_of(solution)
    assert list(folder.iterdir())


@pytest.mark.parametrize("how", ["a file", "in a file", "not writable"])
def test_where_nothing_could_be_saved_is_refused_before_any_work(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    if how == "not writable":  # rights do not bind whoever runs these tests

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    else:
        (tmp_path / "run").write_text("")
        folder = folder / "below" if how == "in a file" else folder
    model, x, y = diabetes(20)
    before = theta_of(model)
    with pytest.raises(gd.InputError, match=r"the checkpoint folder .*\. Choose another folder\.$"):
        gd.fit(model, x, y, checkpoint=folder)
    assert torch.equal(theta_of(model), before)


# --- signals ----------------------------------------------------------------------------------------------------------


def kill_at(step: int, number: int) -> Any:
    def callback(record: gd.StepRecord) -> None:
        if record.step == step:
            os.kill(os.getpid(), number)

    return callback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_and_saves_it(number: int, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    solution = gd.fit(*diabetes(20), max_steps=6, checkpoint=tmp_path, callback=kill_at(3, number))
    assert solution.result is gd.Result.interrupted and solution.steps == 3
    assert signal.getsignal(number) is before
    steps: list[int] = []
    gd.fit(*diabetes(20), max_steps=6, checkpoint=tmp_path, callback=lambda record: steps.append(record.step))
    assert steps == [4, 5, 6]


def test_the_programs_own_answer_to_sigterm_holds(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        solution = gd.fit(*diabetes(20), max_steps=4, checkpoint=tmp_path, callback=kill_at(2, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] and solution.steps == 4


def test_a_fit_in_another_thread_sets_no_signals(tmp_path: Path) -> None:
    ended: list[gd.Solution] = []
    thread = threading.Thread(target=lambda: ended.append(gd.fit(*diabetes(20), max_steps=2, checkpoint=tmp_path)))
    thread.start()
    thread.join()
    assert ended[0].steps == 2


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["'run'", "None"])
def test_without_a_checkpoint_sigterm_ends_the_process_as_ever(checkpoint: str, tmp_path: Path) -> None:
    """There is nothing to save."""
    script = f"""
        import os, signal, torch, geodescent as gd
        X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        end = lambda record: os.kill(os.getpid(), signal.SIGTERM)
        print(gd.fit(torch.nn.Linear(3, 1), X, X[:, :1] ** 2, checkpoint={checkpoint}, callback=end).result.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True)
    if checkpoint == "None":
        assert done.returncode == -signal.SIGTERM and done.stdout == ""
    else:
        assert done.returncode == 0 and done.stdout == "interrupted\n"


# --- what is told afterwards ------------------------------------------------------------------------------------------


class Spoilt(nn.Module):
    """A module that fails from a certain moment on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.over = nn.Linear(3, 1).double(), False

    def forward(self, x: Tensor) -> Tensor:
        if self.over:
            raise RuntimeError("the module is gone")
        return self.layer(x)


@pytest.mark.parametrize("door", ["fit", "flow"])
def test_a_module_that_fails_after_the_run_costs_the_certificate_alone(
    door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, X = Spoilt(), torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    write = Problem.write

    def spoil(self: Problem, theta: Tensor) -> None:
        write(self, theta)
        model.over = True

    monkeypatch.setattr(Problem, "write", spoil)
    y = X[:, :1] ** 2
    solution: Any = gd.fit(model, X, y, max_steps=3) if door == "fit" else gd.flow(model, X, y, until=0.1, tol=1e-3)
    assert solution.theta.isfinite().all()
    assert "the module is gone" in " ".join(str(solution).split()) and solution.certificate.rank is None


class Mute(gd.GramLift):
    """A lift that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unplanned(gd.GramLift):
    """A lift that plans once and no more."""

    def choice(self, m: int, k: int, *, dtype: torch.dtype, device: torch.device) -> gd.Lift:
        planned.append(m)
        if len(planned) > 1:
            raise RuntimeError("no plan")
        return self


planned: list[int] = []


@pytest.mark.parametrize("lift", [Mute, Unplanned])
def test_a_lift_that_fails_to_describe_itself_costs_the_description_alone(lift: type[gd.GramLift]) -> None:
    planned.clear()
    solution = gd.fit(*diabetes(20), max_steps=2, method=gd.Method(lift=lift()))
    assert solution.steps == 2 and solution.stats["lift"] is None
    assert solution.stats["n_params"] == len(solution.theta)
    assert any(
        note.startswith("The lift and the routes could not be described (RuntimeError") for note in notes_of(solution)
    )


def test_a_certificate_that_cannot_be_printed_costs_its_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    solution = gd.fit(*diabetes(20), max_steps=2)

    def fail(self: Certificate, **how: bool) -> PlainWords:
        raise ZeroDivisionError("in a sentence")

    monkeypatch.setattr(Certificate, "in_words", fail)
    said = " ".join(str(solution).split())
    assert "What is known could not be told (ZeroDivisionError: in a sentence)." in said


def test_a_flow_so_long_that_the_law_is_zero_has_an_end() -> None:
    """e^{−2τ} is 0 in float64 beyond τ = 372."""
    assert _largest_deviation(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == 1.0
    assert np.isnan(_largest_deviation(np.array([1.0, 0.0]), np.array([1.0, 0.0])))
