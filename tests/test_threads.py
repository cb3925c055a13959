"""One thread where several are slower, inside a run alone."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

import geodescent as gd
from geodescent import _threads
from geodescent._threads import suited_threads


@pytest.mark.parametrize(("together", "within"), [(2.0, 1), (0.5, 2)])
def test_the_faster_number_of_threads_holds_inside_the_block(
    monkeypatch: pytest.MonkeyPatch, together: float, within: int
) -> None:
    monkeypatch.setattr(_threads, "_seconds", lambda threads: 1.0 if threads == 1 else together)
    monkeypatch.setattr(_threads, "_here", _threads._Here())
    monkeypatch.setattr(_threads, "_others", lambda: 4)
    torch.set_num_threads(2)
    with pytest.raises(KeyError), suited_threads() as threads:
        assert torch.get_num_threads() == within
        with suited_threads() as same:
            assert same is threads
        assert (threads.sentence is not None) == (within == 1)
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("own", "others"), [(2, 0), (2, None), (1, 4)])
def test_nothing_is_measured_where_nobody_else_computes(
    monkeypatch: pytest.MonkeyPatch, own: int, others: int | None
) -> None:
    monkeypatch.setattr(_threads, "_seconds", lambda threads: pytest.fail("measured"))
    monkeypatch.setattr(_threads, "_here", _threads._Here())
    monkeypatch.setattr(_threads, "_others", lambda: others)
    monkeypatch.setattr(_threads, "_cores", lambda: 2)
    torch.set_num_threads(own)
    with suited_threads() as threads:
        threads.look()
        assert threads.sentence is None and torch.get_num_threads() == own


def test_what_was_found_holds_for_the_next_call_until_others_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    for others, alone, within in ((4, 1.0, 1), (4, 3.0, 1), (0, 3.0, 2)):
        monkeypatch.setattr(_threads, "_others", lambda others=others: others)
        monkeypatch.setattr(_threads, "_seconds", lambda threads, alone=alone: alone if threads == 1 else 2.0)
        if others == 0:
            _threads._here.next = 0.0  # the time of the next look has come
        with suited_threads():
            assert torch.get_num_threads() == within


def test_every_door_computes_with_the_suited_number(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[int]()

    class Looks(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x)

    def curve(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return a + b * x

    monkeypatch.setattr(_threads, "_others", lambda: 4)
    monkeypatch.setattr(_threads, "_seconds", float)
    X, y = torch.randn(12, 2), torch.randn(12, 1)
    x, ys = np.arange(5.0), np.arange(10.0).reshape(2, 5)
    doors: dict[str, Callable[[], object]] = {
        "fit": lambda: gd.fit(Looks(2, 1), X, y, max_steps=1),
        "certify": lambda: gd.certify(Looks(2, 1), X, y),
        "flow": lambda: gd.flow(Looks(2, 1), X, y, until=0.1),
        "initialise": lambda: gd.initialise(Looks(2, 1), X, y),
        "step": lambda: gd.GeoDescent(Looks(2, 1)).step(X, y),
        "curve_fit": lambda: gd.curve_fit(curve, x, ys[0]),
        "least_squares": lambda: gd.least_squares(lambda p: curve(p, p[0], p[1]), [1.0, 2.0]),
        "curve_fit_batched": lambda: gd.curve_fit_batched(curve, x, ys),
    }
    for name, door in doors.items():
        monkeypatch.setattr(_threads, "_here", _threads._Here())
        torch.set_num_threads(2)
        seen.clear()
        door()
        assert set(seen) == {1}, name
        assert torch.get_num_threads() == 2, name


def test_a_measurement_is_a_time() -> None:
    assert 0.0 < _threads._seconds(1) < 5.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counted by Linux alone")
def test_others_are_counted() -> None:
    others = _threads._others()
    assert others is not None and others >= 0
