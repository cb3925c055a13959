"""What every test starts from: one thread, float32 as torch's default, one seed."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partialmethod
from statistics import median

import pytest
import torch
from fuzz.run import first_seed

import geodescent as gd


def pytest_report_header() -> list[str]:
    """How fast this machine is while the tests run, beside which times are to be read; and today's random cases."""
    a = torch.randn(1000, 1000, dtype=torch.float64)
    seconds = list[float]()
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    rate = 2e9 / median(seconds) / 1e9
    speed = f"product of 1000 × 1000 float64 matrices: {rate:.0f} GF/s on {torch.get_num_threads()} threads"
    return [speed, f"random cases from seed {first_seed()}"]


@pytest.fixture(autouse=True)
def torch_defaults() -> Iterator[None]:
    """The same torch for every test, and a check that no test leaves another default behind."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small problems: threads that wait for each other cost more than they bring
    yield
    torch.set_num_threads(threads)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


@pytest.fixture(autouse=True)
def whole_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes of every result that a test makes are whole sentences."""
    for result in (gd.Solution, gd.Flow):
        monkeypatch.setattr(result, "__init__", partialmethod(_made_with_sentences, made=result.__init__))


def _made_with_sentences(
    self: gd.Solution | gd.Flow, *args: object, made: Callable[..., None], **named: object
) -> None:
    made(self, *args, **named)
    for note in map(str, self.stats.get("notes", ())):  # type: ignore[call-overload]
        assert not note[0].islower() and note[-1] in ".)" and not re.search(r"\w\w\w[.] [a-z]\w+ ", note), note


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device there is."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)
