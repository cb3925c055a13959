"""One thread where several are slower, inside a run alone."""

import pytest
import torch

from geodescent import _threads
from geodescent._threads import suited_threads


@pytest.mark.parametrize(("together", "within"), [(2.0, 1), (0.5, 2)])
def test_the_faster_number_of_threads_holds_inside_the_block(
    monkeypatch: pytest.MonkeyPatch, together: float, within: int
) -> None:
    monkeypatch.setattr(_threads, "_seconds", lambda threads: 1.0 if threads == 1 else together)
    monkeypatch.setattr(_threads, "BEFORE_A_LOOK", -1.0)
    torch.set_num_threads(2)
    with pytest.raises(KeyError), suited_threads() as threads:
        threads.look()
        assert torch.get_num_threads() == within
        assert (threads.sentence is not None) == (within == 1)
        raise KeyError
    assert torch.get_num_threads() == 2


def test_short_runs_and_single_threads_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_seconds", lambda threads: pytest.fail("measured"))
    for own, before in ((2, 10.0), (1, -1.0)):
        monkeypatch.setattr(_threads, "BEFORE_A_LOOK", before)
        torch.set_num_threads(own)
        with suited_threads() as threads:
            threads.look()
            assert threads.sentence is None and torch.get_num_threads() == own


def test_a_measurement_is_a_time() -> None:
    with suited_threads():
        assert 0.0 < _threads._seconds(1) < 5.0
