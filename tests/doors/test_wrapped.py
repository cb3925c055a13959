"""Modules inside `torch.compile` and `DataParallel`: fitted as the module itself, which the notes say."""

import warnings
from collections.abc import Callable

import pytest
import torch
from support.diabetes import diabetes, theta_of
from torch import nn

import geodescent as gd


def compiled(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped: nn.Module = torch.compile(model, backend="eager")
        return wrapped


WRAPPED: dict[str, tuple[Callable[[nn.Module], nn.Module], list[str]]] = {
    "compiled": (compiled, ["torch.compile"]),
    "parallel": (nn.DataParallel, ["torch.nn.DataParallel"]),
    "both": (lambda m: compiled(nn.DataParallel(m)), ["torch.compile", "torch.nn.DataParallel"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRAPPED)
def test_the_module_inside_is_fitted_and_said(name: str) -> None:
    wrap, inside = WRAPPED[name]
    (model, x, y), plain = diabetes(10), diabetes(10)[0]
    expected = gd.fit(plain, x, y, max_steps=3)
    solution = gd.fit(wrap(model), x, y, max_steps=3)
    assert torch.equal(theta_of(model), theta_of(plain)) and solution.cost == expected.cost
    notes = solution.stats["notes"]
    assert [note.split(" is fitted")[0] for note in notes] == [f"The module inside {name}" for name in inside]
    assert solution.certificate.rank == expected.certificate.rank


@pytest.mark.slow
@pytest.mark.parametrize("name", WRAPPED)
def test_at_the_other_doors_too(name: str) -> None:
    wrap, _ = WRAPPED[name]
    model, x, y = diabetes(10)
    assert gd.certify(wrap(model), x, y).sigma_min == gd.certify(model, x, y).sigma_min
    assert gd.flow(wrap(model), x, y, until=1.0, max_seconds=0.0).stats["notes"][0].startswith("The module inside")
    assert gd.initialise(wrap(model), x, y).layers == ("0",)
    first, second = diabetes(10)[0], diabetes(10)[0]
    inside, plain = gd.GeoDescent(wrap(first)), gd.GeoDescent(second)
    assert [inside.step(x, y) for _ in range(3)] == [plain.step(x, y) for _ in range(3)]
    assert torch.equal(theta_of(first), theta_of(second))


def test_a_module_of_ones_own_by_that_name_is_left_alone() -> None:
    class DataParallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(10, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2.0 * self.module(x)

    _, x, y = diabetes(10)
    solution = gd.fit(DataParallel().double(), x, y, max_steps=1)
    assert solution.stats["notes"] == []
