"""Runs that are saved and resumed."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support.callbacks import Clock, stop_after
from support.diabetes import diabetes, theta_of
from support.laws import assert_close

import geodescent as gd
from geodescent.descent import State, _checkpoint

STATE = "state.safetensors"  # the file in the folder


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """θ, costs, dampings: to the rounding of products, which may depend on where in memory their factors lie.

    Five steps: the sixth is so near the rounding floor that its cost is rounding to four digits.
    """
    whole, x, y = diabetes()
    full = gd.fit(whole, x, y, max_steps=5)
    broken, _, _ = diabetes()
    gd.fit(broken, x, y, max_steps=5, checkpoint=tmp_path, callback=stop_after(3))
    fresh, _, _ = diabetes()
    resumed = gd.fit(fresh, x, y, max_steps=5, checkpoint=tmp_path)
    for name in ("step", "cost", "predicted", "damping", "gain_ratio", "time"):
        assert np.allclose(resumed.history[name], full.history[name], rtol=1e-5, atol=0.0, equal_nan=True), name
    assert resumed.history["block_rms"]["data"] == pytest.approx(full.history["block_rms"]["data"], rel=1e-5)
    assert_close(theta_of(fresh), theta_of(whole), 1e-10)
    assert resumed.cost0 == full.cost0
    assert resumed.steps == 5
    assert resumed.history["seconds"][-1] >= resumed.history["seconds"][4]


def test_an_exception_leaves_a_checkpoint(tmp_path: Path) -> None:
    model, x, y = diabetes()
    with pytest.raises(RuntimeError):
        gd.fit(model, x, y, checkpoint=tmp_path, callback=stop_after(3, RuntimeError))
    assert gd.fit(diabetes()[0], x, y, checkpoint=tmp_path, max_steps=3).steps == 3


@pytest.mark.parametrize("content", [b"", b"\xff" * 7, b"\x10\x00\x00\x00\x00\x00\x00\x00{torn"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path: Path, content: bytes) -> None:
    model, x, y = diabetes()
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=2)
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=5)
    (tmp_path / STATE).write_bytes(content)
    steps: list[int] = []
    gd.fit(diabetes()[0], x, y, checkpoint=tmp_path, max_steps=5, callback=lambda r: steps.append(r.step))
    assert steps and steps == list(range(steps[0], 6))


@pytest.mark.parametrize(
    ("seconds", "price", "written"),
    [
        (1.0, 0.0, [1, 2, 3, 4, 5, 6]),  # what costs nothing is done at every step
        (1.0, 0.09, [1, 3, 5, 6]),  # a twentieth of the time: every 2 s; at the end in any case
        (16.0, 10.0, [1, 3, 5, 6]),  # at the latest after 30 s
        (40.0, 10.0, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_state_is_written_as_often_as_a_twentieth_of_the_time_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, price: float, written: list[int]
) -> None:
    """By a clock that each step and each saving moves."""
    monkeypatch.setattr(time, "monotonic", (clock := Clock(seconds)).read)
    steps, write_state = list[int](), _checkpoint.write_state

    def write(folder: Path, state: State) -> None:
        write_state(folder, state)
        steps.append(state.step)
        clock.now += price

    monkeypatch.setattr(_checkpoint, "write_state", write)
    gd.fit(*diabetes(), checkpoint=tmp_path, max_steps=6, callback=clock)
    assert steps == written and not list(tmp_path.glob("*.part"))


def test_the_seconds_before_a_break_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that each step moves: the third step is seen after 2 s, and three more come before 4.5 s are over."""
    monkeypatch.setattr(time, "perf_counter", (clock := Clock()).read)
    model, x, y = diabetes()
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=3, callback=clock)
    resumed = gd.fit(diabetes()[0], x, y, checkpoint=tmp_path, max_seconds=4.5, callback=clock)
    assert resumed.result is gd.Result.max_seconds
    assert list(resumed.history["seconds"]) == [0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 4.0]


def test_a_foreign_checkpoint_is_an_error(tmp_path: Path) -> None:
    model, x, y = diabetes()
    gd.fit(model, x, y, checkpoint=tmp_path, max_steps=2)
    other, _, _ = diabetes(hidden=5)
    before = theta_of(other)
    with pytest.raises(gd.InputError, match=r"holds 145 parameters .*another run\. Choose another folder"):
        gd.fit(other, x, y, checkpoint=tmp_path)
    assert torch.equal(theta_of(other), before)
    with pytest.raises(gd.InputError, match=r"on these data: it belongs to another run"):
        gd.fit(diabetes()[0], x, 2.0 * y, checkpoint=tmp_path)
    with pytest.raises(gd.InputError, match=r"holds 145 parameters of torch\.float64 .* torch\.float32"):
        gd.fit(*diabetes(dtype=torch.float32), checkpoint=tmp_path)


CONTROLS = {"gain ratio": gd.GainRatio(), "natural": gd.NaturalControl(), "spring": gd.Spring()}


@pytest.mark.parametrize("saved", CONTROLS)
def test_a_run_of_another_control_is_not_resumed(saved: str, tmp_path: Path) -> None:
    """Whatever the two remember in common."""

    def run(control: str, steps: int) -> gd.Solution:
        method = gd.Method(lift=gd.GramLift(), walk=gd.EulerWalk(), control=CONTROLS[control])
        return gd.fit(*diabetes(), method=method, max_steps=steps, checkpoint=tmp_path)

    run(saved, 2)
    for other in CONTROLS:
        if other == saved:
            assert run(saved, 3).steps == 3
        else:
            with pytest.raises(gd.InputError, match=r"saved with another control\. Pass the same method"):
                run(other, 3)
