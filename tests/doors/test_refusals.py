"""Questions that the doors refuse before any work."""

import math
from typing import Any

import pytest
import torch
from support.diabetes import diabetes, theta_of
from torch import Tensor, nn

import geodescent as gd
from geodescent._budget import Budget, spending

F64 = torch.float64


class Returns(nn.Module):
    """A linear layer, and something else made of its outputs."""

    def __init__(self, after: Any) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(10, 1), after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.layer(x))


def spoiled(values: Tensor, what: float) -> Tensor:
    values = values.clone()
    values[0, 0] = what
    return values


def three_outputs() -> nn.Module:
    return nn.Linear(10, 3).double()


M, X, Y = diabetes(8)
REFUSED = {
    "NaN in X": (lambda: (M, spoiled(X, math.nan), Y), "X holds 1 NaN or infinite values of 80"),
    "Inf in X": (lambda: (M, spoiled(X, math.inf), Y), "X holds 1 NaN or infinite"),
    "NaN in y": (lambda: (M, X, spoiled(Y, math.nan)), "y holds 1 NaN or infinite values of 8"),
    "Inf in y": (lambda: (M, X, spoiled(Y, -math.inf)), "y holds 1 NaN or infinite"),
    "lengths": (lambda: (M, X, Y[:5]), r"X holds 8 samples and y has shape \(5, 1\)"),
    "would broadcast": (lambda: (three_outputs(), X, Y), r"y has shape \(8, 1\) .*nothing is broadcast.*\(8, 3\)"),
    "would broadcast to a square": (lambda: (M, X, Y.expand(8, 8)), r"nothing is broadcast"),
    "labels": (lambda: (three_outputs(), X, torch.arange(8) % 3), r"8 class labels as numbers.*one_hot\(y, 3\)"),
    "integer y": (lambda: (M, X, torch.ones(8, 1, dtype=torch.int64)), r"y is torch\.int64 .*y\.to\(torch\.float64\)"),
    "integer X": (lambda: (M, X.long(), Y), r"torch\.int64.*X\.to\(torch\.float64\)"),
    "dtype of X": (lambda: (M, X.float(), Y), r"torch\.float32 .*torch\.float64"),
    "dtype of y": (lambda: (M, X, Y.float()), r"y is torch\.float32 but the model computes in torch\.float64"),
    "complex X": (lambda: (M, X.to(torch.complex128), Y), r"torch\.complex128"),
    "complex y": (lambda: (M, X, Y.to(torch.complex128)), r"y is torch\.complex128"),
    "None": (lambda: (Returns(lambda y: None).double(), X, Y), "returns NoneType, not a tensor"),
    "tuple": (lambda: (Returns(lambda y: (y, y)).double(), X, Y), "returns tuple, not a tensor"),
    "no numbers": (lambda: (M, X, {"y": Y}), "y is dict: pass a tensor, an array, a list, a series or a frame"),
    "nothing to fit": (lambda: (diabetes(8)[0].requires_grad_(False), X, Y), "no parameter .*requires_grad_"),
}


@pytest.mark.parametrize("door", [gd.fit, gd.flow, gd.certify], ids=lambda door: door.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_before_any_work(name: str, door: Any) -> None:
    make, message = REFUSED[name]
    model, x, y = make()
    before = theta_of(model)
    with pytest.raises(gd.InputError, match=message):
        door(model, x, y)
    assert torch.equal(theta_of(model), before)


def test_targets_on_another_device_are_refused() -> None:
    elsewhere = torch.empty(8, 1, dtype=F64, device="meta")
    with pytest.raises(gd.InputError, match=r"y is on meta but the model is on cpu: move them to one device"):
        gd.RowBlock("data", gd.SampleMap(M, X), elsewhere)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_cost": -1.0}, "a cost of zero or above is needed"),
        ({"target_cost": math.nan}, "a cost of zero or above is needed"),
        ({"max_steps": -1}, "must not be negative"),
        ({"max_seconds": -1.0}, "must not be negative"),
        ({"max_seconds": math.nan}, "must not be negative"),
        ({"weights": torch.ones(7, dtype=F64)}, r"weights has shape \(7,\).*\(8,\)"),
        ({"weights": -torch.ones(8, dtype=F64)}, "weights must be ≥ 0"),
        ({"weights": torch.zeros(8, dtype=F64)}, "with a positive sum"),
        ({"weights": torch.full((8,), math.nan, dtype=F64)}, "weights holds 8 NaN"),
        ({"validation": (X, Y[:3])}, "X holds 8 samples and y has shape"),
        ({"validation": (X, spoiled(Y, math.nan))}, "the y of block 'validation' holds 1 NaN"),
        ({"validation": (spoiled(X, math.nan), Y)}, "holds 1 NaN or infinite"),
    ],
)
def test_bad_options_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    model, x, y = diabetes(8)
    before = theta_of(model)
    with pytest.raises(gd.InputError, match=message):
        gd.fit(model, x, y, **options)
    assert torch.equal(theta_of(model), before)


def test_a_lift_that_memory_does_not_hold_is_refused() -> None:
    model, x, y = diabetes(30)
    before = theta_of(model)
    with (
        spending(Budget(free_bytes=55_000)),
        pytest.raises(gd.MemoryPlanError, match=r"the Gram lift of 30 residuals needs"),
    ):
        gd.fit(model, x, y, method=gd.Method(lift=gd.GramLift()))
    assert torch.equal(theta_of(model), before)
