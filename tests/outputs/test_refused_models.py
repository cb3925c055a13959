"""What SampleMap refuses, how it says so, and that the model is then as it was."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.models import Applied, Counting, mlp, normal
from support.snapshot import Snapshot
from torch import Tensor, nn

from geodescent._budget import Budget, spending
from geodescent._errors import InputError, JacobianError, MemoryPlanError
from geodescent.outputs import SampleMap


class Moody(nn.Module):
    """Other outputs at every call, without torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) * self.calls


JACOBIAN, INPUT = JacobianError, InputError

RETURNED = [  # what a model makes of the outputs of a linear layer on (5, 4)
    (lambda y: F.dropout(y, 0.5), JACOBIAN, r"draws random numbers.*model\.eval\(\)"),
    (lambda y: F.dropout(y, 1e-9), JACOBIAN, "draws random numbers"),
    (lambda y: y - y.mean(0), JACOBIAN, r"change by .*mixes samples"),
    (lambda y: y - 1e-4 * y.mean(0), JACOBIAN, "mixes samples"),
    (lambda y: (y, y), INPUT, r"returns tuple, not a tensor.*select="),
    (lambda y: None, INPUT, "returns NoneType, not a tensor"),
    (lambda y: torch.complex(y, y), INPUT, r"returns torch\.complex128.*view_as_real"),
    (lambda y: y.float(), INPUT, r"returns torch\.float32 but its parameters are torch\.float64"),
    (lambda y: y.sum(), INPUT, r"shape \(\) for 2 samples"),
    (lambda y: y.T, INPUT, r"\(3, 2\) for 2 samples: samples must come first"),
    (lambda y: 0.0 * y.detach(), INPUT, "depend on no parameter that requires grad"),
]

CALLED_ON = [  # inputs of a network of five inputs
    (torch.tensor([[1.0, math.nan, 0.0, math.inf, 1.0]] * 3).double(), "X holds 6 NaN or infinite values of 15"),
    (torch.ones(5, 5, dtype=torch.int64), r"could not be called on X of torch\.int64.*X\.to\(torch\.float64\)"),
    (normal(5, 6), "could not be called on two samples of X"),
    (normal(5, 5).float(), r"an input is torch\.float32 but parameter 0\.weight is torch\.float64.*X\.double\(\)"),
    (torch.ones(5, 5, dtype=torch.complex128), r"an input is torch\.complex128"),
    ([1.0, 2.0], r"X has one axis, \(N,\): as a column it is numpy\.reshape\(X, \(-1, 1\)\)"),
    (normal(0, 5), "at least one"),
    (torch.tensor(1.0).double(), "samples on the first axis"),
    ((normal(5, 5), normal(4, 2)), r"hold \[4, 5\] samples"),
]

MODELS = [  # models of four inputs
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), r"^1 \(BatchNorm1d\) uses the statistics.*model\.eval"),
    (lambda: nn.BatchNorm1d(4, track_running_stats=False).eval(), r"^the model \(BatchNorm1d\) uses the statistics"),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.2)), r"^1 \(Dropout, p = 0\.2\) is active.*model\.eval\(\)"),
    (lambda: Moody(), "two identical calls gave different outputs"),
    (lambda: Counting(), r"changes the buffer count, .*Take that out of the forward pass, or, .* call model\.eval\(\)"),
]


@pytest.mark.parametrize(("after", "error", "message"), RETURNED)
def test_outputs_that_are_none(after: Any, error: type[Exception], message: str) -> None:
    assert_refused(Applied(after), normal(5, 4), error, message)


@pytest.mark.parametrize(("x", "message"), CALLED_ON)
def test_inputs_that_cannot_be_used(x: Any, message: str) -> None:
    assert_refused(mlp()[0], x, InputError, message)


@pytest.mark.parametrize(("make", "message"), MODELS)
def test_models_that_are_no_function_of_one_sample(make: Any, message: str) -> None:
    assert_refused(make(), normal(5, 4), JacobianError, message)


def test_mixing_is_noticed_where_the_first_samples_are_alike() -> None:
    """Three equal samples do not see each other; the check looks at samples from all over X."""
    x = normal(20, 4)
    x[1:3] = x[0]
    assert_refused(Applied(lambda y: y - y.mean(0)), x, JacobianError, r"^layer: .* by layers differs.*mixes samples")


def test_outputs_that_cancel_are_no_mixing() -> None:
    """Two equal halves: outputs of zero to rounding, and a Jacobian that is not."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(9, 80), nn.Tanh(), nn.Linear(80, 2))
            self.right = copy.deepcopy(self.left)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) - self.right(x) + 1e-16 * len(x)

    jacobian = SampleMap(Halves().double(), normal(6, 9)).linearise()[1]
    assert float(jacobian.row_squares().min()) > 1.0


def test_nothing_to_fit() -> None:
    assert_refused(
        mlp()[0].requires_grad_(False), normal(5, 5), InputError, r"no parameter .* grad.*requires_grad_\(True\)"
    )


def assert_refused(model: nn.Module, x: Any, error: type[Exception], message: str) -> None:
    """The error, its sentence, and a model that is as it was."""
    model = model.double()
    before = Snapshot(model)
    with pytest.raises(error, match=message):
        SampleMap(model, x)
    before.assert_unchanged()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match="float32 and float64 are supported"):
        SampleMap(nn.Linear(4, 3).to(dtype), normal(5, 4).to(dtype))


def test_tensors_without_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="X is on meta, where tensors hold no numbers"):
        SampleMap(nn.Linear(4, 3), torch.empty(5, 4, device="meta"))


def test_new_inputs_are_looked_at_too() -> None:
    outputs = SampleMap(nn.Linear(4, 3).double(), normal(5, 4))
    with pytest.raises(InputError, match=r"torch\.float32"):
        outputs.on(normal(5, 4).float())


def test_too_many_rows_outside_the_rules_are_refused() -> None:
    model, sentence = nn.Bilinear(3, 3, 1).double(), "rows of 9 parameters outside the rules, for 5 residuals"
    with spending(Budget(free_bytes=2000)), pytest.raises(MemoryPlanError, match=sentence):
        SampleMap(model, (normal(5, 3), normal(5, 3)))


def test_a_call_on_too_many_samples_is_refused() -> None:
    outputs = SampleMap(nn.Sequential(nn.Linear(1, 300), nn.Tanh(), nn.Linear(300, 1)).double(), normal(100, 1))
    sentence = "a call of the model on 100 samples needs"
    with spending(Budget(free_bytes=200_000)):  # the graph of a call holds 240,000 bytes
        with pytest.raises(MemoryPlanError, match=sentence):
            outputs.linearise()
        with pytest.raises(MemoryPlanError, match=sentence):
            outputs(outputs.theta)
        few = outputs.at([0, 1, 2])
        assert few.linearise()[0].shape == few(few.theta).shape == (3, 1)
