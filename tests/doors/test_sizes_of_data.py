"""Data of any size: their squares are in the range of float64, or the doors refuse them and say what to do."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd

F64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
X, Y = (torch.randn(12, n, generator=GENERATOR, dtype=F64) for n in (2, 1))
BEYOND = r"{} holds numbers of up to .*e\+\d+, and the sum of their squares leaves the range of float64"


def made(dtype: torch.dtype = F64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).to(dtype)


def one_step(x: Tensor, y: Tensor) -> float:
    return gd.GeoDescent(made()).step(x, y)


DOORS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "fit": lambda x, y: gd.fit(made(), x, y, max_steps=2),
    "fit from a start for the data": lambda x, y: gd.fit(made(), x, y, max_steps=2, initialise=True),
    "fit over a loader": lambda x, y: gd.fit(made(), loader(x, y), max_steps=2),
    "plan": lambda x, y: gd.plan(made(), x, y),
    "initialise": lambda x, y: gd.initialise(made(), x, y),
    "a step of the optimizer": one_step,
    "fit_posterior": lambda x, y: gd.fit_posterior(x, y, starts=1, max_seconds=0.5),
    "flow": lambda x, y: gd.flow(made(), x, y, until=0.1, max_seconds=0.2),
    "certify": lambda x, y: gd.certify(made(), x, y),
}
BY_COST = {"flow", "certify"}  # Doors that compute with the module as it is, and not with the units of its inputs.


def loader(x: Tensor, y: Tensor) -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))


@pytest.mark.parametrize("size", [1e154, 1e200, 1e300])
@pytest.mark.parametrize("door", DOORS)
def test_targets_whose_squares_are_infinite_are_refused(door: str, size: float) -> None:
    y = size * Y
    with pytest.raises(gd.InputError, match=BEYOND.format("y")):
        DOORS[door](X, y)
    DOORS[door](X, y / y.abs().max())


@pytest.mark.parametrize("size", [1e154, 1e200, 1e300])
@pytest.mark.parametrize("door", [name for name in DOORS if name not in BY_COST])
def test_inputs_whose_squares_are_infinite_are_refused(door: str, size: float) -> None:
    x = size * X
    with pytest.raises(gd.InputError, match=BEYOND.format("(X|the input of layer 0)")):
        DOORS[door](x, Y)
    DOORS[door](x / x.abs().max(), Y)


@pytest.mark.parametrize(
    "door",
    [
        lambda model: gd.fit(model, X, Y, max_steps=1),
        lambda model: gd.flow(model, X, Y, until=0.1, max_seconds=0.2),
        lambda model: gd.plan(model, X, Y),
    ],
)
def test_a_start_whose_outputs_have_infinite_squares_is_refused_with_both_sizes(door: Any) -> None:
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.fill_(1e160)
    with pytest.raises(gd.InputError, match=r"Outputs are up to .*e\+160 and y up to .*: start where outputs are sma"):
        door(model)
    with torch.no_grad():
        model.weight.fill_(1.0)
    door(model)


@pytest.mark.parametrize("which", ["X", "y"])
@pytest.mark.parametrize("size", [1e-38, 1e20, 1e37])
def test_float32_has_room_for_all_its_numbers(size: float, which: str) -> None:
    """Squares of float32 numbers are in the range of float64: the fit is that of data of order one, in their unit."""
    x, y = X.float(), Y.float()
    usual = gd.fit(nn.Linear(2, 1), x, y, initialise=True, max_steps=20)
    sized = (size * x, y) if which == "X" else (x, size * y)
    solution = gd.fit(nn.Linear(2, 1), *sized, initialise=True, max_steps=20)
    unit = size if which == "y" else 1.0
    assert math.sqrt(solution.cost) / unit == pytest.approx(math.sqrt(usual.cost), rel=1e-5)


@pytest.mark.parametrize("size", [1e-155, 1e-200, 1e-300])
def test_targets_whose_squares_are_zero_count_as_zeros(size: float) -> None:
    """No cost shows them, and the fit goes to zero as for targets that are zero."""
    solution = gd.fit(made(), X, size * Y, max_steps=30)
    assert solution.cost < 1e-20 < solution.cost0
