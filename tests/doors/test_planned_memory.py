"""`stats["planned_mb"]` and `stats["peak_mb"]`: what is asked for before it is taken, beside what was held at most."""

import json
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.memory_shapes import SHAPES, mlp, normal
from torch import Tensor

import geodescent as gd
from geodescent._budget import require, reserved
from geodescent._memory import LEAST_PLANNED, MB, accounting, highest_bytes

CPU = torch.device("cpu")
LEAST, MOST = 0.9, 1.5  # Planned over measured, of fits that take 50 to 500 MB.
SMALL_BLOCKS = 15.0  # MB: what torch's kernels and blocks of less than a megabyte add, which no plan has.

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is that of Linux")


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    """What each shape takes, in a process of its own."""
    return measurement()


def measurement(*names: str) -> dict[str, dict[str, Any]]:
    """A line for each shape of these names; for all of them without names."""
    program = [sys.executable, str(Path(__file__).parents[1] / "support" / "memory_shapes.py"), *names]
    ran = subprocess.run(program, capture_output=True, text=True, check=True)
    return {line["name"]: line for line in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.parametrize("name", [shape.__name__ for shape in SHAPES])
def test_planned_memory_is_true_memory(name: str, measured: dict[str, dict[str, Any]]) -> None:
    planned, peak = measured[name]["planned"], measured[name]["peak"]
    if not LEAST * peak <= planned <= MOST * peak:  # once more: a system short of memory takes pages back meanwhile,
        again = measurement(name)[name]  # and how much freed memory the allocator keeps depends on its threads
        planned, peak = again["planned"], again["peak"]
    assert 50.0 < peak < 600.0
    assert LEAST * peak <= planned <= MOST * peak


def test_every_lift_is_among_the_shapes(measured: dict[str, dict[str, Any]]) -> None:
    assert {"gram", "normal", "krylov"} == {line["lift"] for line in measured.values() if "lift" in line}


def test_cotangents_are_held_once(measured: dict[str, dict[str, Any]]) -> None:
    """Their shares of single outputs, the inputs and their patches come on top."""
    line = measured["linearisation"]
    assert line["peak"] <= 1.2 * line["cotangents"]
    assert line["planned"] >= LEAST * line["peak"]


# --- the account ----------------------------------------------------------------------------------------------------


def held(mb: float) -> Tensor:
    """So many megabytes, touched."""
    return torch.ones(int(mb * MB / 8), dtype=torch.float64)


def test_the_peak_is_above_what_was_held_and_is_kept() -> None:
    before = held(80.0)
    with accounting() as account:
        del before
        once = held(200.0)
        del once
        after = held(20.0)
    later = held(300.0)
    assert len(after) < len(later)
    assert account.peak_mb(CPU) == pytest.approx(120.0, abs=SMALL_BLOCKS)
    with accounting() as account:
        pass
    assert account.peak_mb(CPU) < SMALL_BLOCKS


def test_what_is_asked_for_counts_on_top_of_what_is_held() -> None:
    with accounting() as account:
        require(60.0 * MB, CPU, what="a matrix", instead="")
        some = held(100.0)
        require(30.0 * MB, CPU, what="a matrix", instead="")
        assert account.planned_mb(CPU) == pytest.approx(130.0, abs=SMALL_BLOCKS)
        del some
        require(70.0 * MB, CPU, what="a matrix", instead="")
    assert account.planned_mb(CPU) == pytest.approx(130.0, abs=SMALL_BLOCKS)
    require(1000.0 * MB, CPU, what="a matrix", instead="")
    assert account.planned_mb(CPU) == pytest.approx(130.0, abs=SMALL_BLOCKS)


def test_what_does_not_fit_and_what_is_small_is_not_in_the_plan() -> None:
    with accounting() as account:
        assert not reserved(1e18, CPU) and reserved(0.9 * LEAST_PLANNED, CPU)
    assert account.planned_mb(CPU) == 0.0


def test_an_account_inside_of_another_leaves_the_other_its_peak() -> None:
    """Of more than the C library keeps of freed memory, which is held already when it is used again."""
    before = highest_bytes()
    with accounting() as outside:
        first = held(300.0)
        del first
        with accounting() as inside:
            second = held(150.0)
            require(100.0 * MB, CPU, what="a matrix", instead="")
            del second
    assert inside.peak_mb(CPU) == pytest.approx(150.0, abs=SMALL_BLOCKS)
    assert outside.peak_mb(CPU) == pytest.approx(300.0, abs=SMALL_BLOCKS)
    assert outside.planned_mb(CPU) == pytest.approx(250.0, abs=SMALL_BLOCKS)
    assert highest_bytes() >= before


def test_accounts_of_threads_count_the_process() -> None:
    with accounting() as account:
        other = threading.Thread(target=lambda: require(90.0 * MB, CPU, what="a matrix", instead=""))
        other.start()
        other.join()
    assert account.planned_mb(CPU) == pytest.approx(90.0, abs=SMALL_BLOCKS)


def test_on_cuda_it_is_what_the_allocator_has_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"now": 10 * MB, "peak": 900 * MB}
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"some": 1} if device == gpu else {})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: given["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: given["peak"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: given.update(peak=given["now"]))
    with accounting() as account:
        given.update(now=40 * MB, peak=170 * MB)
        require(70.0 * MB, torch.device("cuda"), what="a matrix", instead="")
    given.update(peak=500 * MB)
    assert account.planned_mb(gpu) == account.planned_mb(torch.device("cuda")) == pytest.approx(100.0)
    assert account.peak_mb(gpu) == account.peak_mb(torch.device("cuda")) == pytest.approx(160.0)
    assert account.planned_mb(CPU) == 0.0


def test_an_account_is_closed_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), accounting() as account:
        raise ZeroDivisionError
    require(500.0 * MB, CPU, what="a matrix", instead="")
    assert account.planned_mb(CPU) == 0.0


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x, y: gd.fit(m, x, y, max_steps=1, method=gd.Method(lift=gd.GramLift())),
        lambda m, x, y: gd.flow(m, x, y, until=1e-3, tol=1e-2),
    ],
)
def test_fit_and_flow_say_both(run: Any) -> None:
    torch.manual_seed(0)
    stats = run(mlp(4, 60, 60, 1), normal(400, 4), normal(400, 1)).stats
    assert 0.0 < stats["planned_mb"] < 200.0 and 0.0 <= stats["peak_mb"] < 200.0


class Watching(gd.NormalLift):
    """Counts the Jacobians of earlier points that are still held when that of the next one has been made."""

    seen: ClassVar[list[weakref.ref[Any]]] = []
    held: ClassVar[list[int]] = []

    def prepare(self, jacobian: Any, *, metric: Tensor | None = None) -> Any:
        self.held.append(sum(ref() is not None and ref() is not jacobian for ref in self.seen))
        self.seen.append(weakref.ref(jacobian))
        return super().prepare(jacobian, metric=metric)


def test_no_linearisation_is_held_beside_the_next_one() -> None:
    """Neither that of the last round, nor that of the last step of a polish."""
    Watching.seen.clear()
    Watching.held.clear()
    torch.manual_seed(0)
    t = torch.linspace(0.0, 1.0, 60, dtype=torch.float64)
    decay = gd.FunctionMap(lambda p: p[0] ** 3 * torch.exp(-(p[1] ** 2) * t), torch.ones(2, dtype=torch.float64))
    problem = gd.Problem((gd.RowBlock("data", decay, 8.0 * torch.exp(-9.0 * t) + 0.1 * normal(60)),))
    solution = gd.fit(problem, method=gd.Method(lift=Watching()))
    polishing = solution.stats["polishing steps"]
    assert isinstance(polishing, int) and polishing > 1 and solution.steps > 2
    assert len(Watching.held) > solution.steps + polishing and not any(Watching.held)
