"""The laws of an output map, for every kind of map there is, and for one of somebody else's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.laws import assert_adjoint, assert_close
from support.maps import (
    Case,
    Outputs,
    Placed,
    Theta,
    closed,
    closed_residuals,
    flat,
    named,
    one_number,
    sampled,
    streamed,
    with_jacobian,
)
from support.models import Custom, Embedded, mlp, normal, taken, text
from support.residuals import of_a_bilinear_layer, of_a_total, of_burgers, of_pairs, of_two_fields
from support.snapshot import Snapshot
from torch import Tensor, nn
from torch.autograd.functional import hvp

import geodescent as gd

STEP = 1e-5  # of central differences, whose error is then about 1e-10 of a derivative
EXACT = 1e-12


class Foreign:
    """`x_i = exp(A_i θ)` in NumPy: the verbs of an output map, and nothing else."""

    def __init__(self, dtype: torch.dtype, *, formed: bool) -> None:
        self._matrix, self._formed = 0.3 * normal(6, 4).to(dtype), formed
        self.theta, self.shape = normal(4).to(dtype), (6,)
        self.dtype, self.device = dtype, torch.device("cpu")

    def __call__(self, theta: Theta) -> Outputs:
        return torch.from_numpy(np.exp((self._matrix @ theta).numpy()))

    def linearise(self, theta: Theta) -> tuple[Outputs, gd.Jacobian]:
        outputs, a = self(theta), self._matrix
        if self._formed:
            return outputs, gd.MatrixJacobian(outputs[:, None] * a)
        pair = (lambda v: outputs * (a @ v)), (lambda u: a.T @ (outputs * u))
        return outputs, gd.MatrixJacobian(pair, shape=(6, 4), dtype=self.dtype)

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        return self(theta) * (self._matrix @ direction) ** 2

    def write(self, theta: Theta) -> None:
        self.theta = theta.detach().clone()


CASES: dict[str, Callable[[torch.dtype], Case]] = {
    "samples": lambda dtype: sampled(*mlp(), dtype),
    "samples, rows": lambda dtype: sampled(Custom(), normal(6, 6), dtype),
    "samples, words": lambda dtype: sampled(Embedded(), 1 + text(5, 4, 10), dtype),
    "samples, placed": lambda dtype: sampled(Placed(), normal(5, 1), dtype),
    "closure": lambda dtype: closed(*mlp(), dtype),
    "closure, placed": lambda dtype: closed(Placed(), normal(5, 1), dtype),
    "closure of residuals": closed_residuals,
    "closure of one derivative": lambda dtype: closed(*mlp(), dtype, once=True),
    "streamed": streamed,
    "function": flat,
    "function of one number": one_number,
    "function of names": named,
    "function with D": with_jacobian,
    "residuals": of_burgers,
    "residuals of two fields": of_two_fields,
    "residuals at pairs of points": of_pairs,
    "residual of a total": of_a_total,
    "residuals by torch.func": of_a_bilinear_layer,
    "foreign": lambda dtype: Case(Foreign(dtype, formed=True)),
    "foreign products": lambda dtype: Case(Foreign(dtype, formed=False)),
}
PRECISIONS = {torch.float64: EXACT, torch.float32: 1e-4}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param](torch.float64)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_outputs_and_derivative_are_of_one_kind_and_the_transpose_is_the_adjoint(name: str, dtype: torch.dtype) -> None:
    case = CASES[name](dtype)
    outputs, jacobian = case.map.linearise(case.theta)
    assert isinstance(case.map, gd.OutputMap)
    assert tuple(outputs.shape) == tuple(case.map.shape) and jacobian.shape == (outputs.numel(), len(case.theta))
    assert {outputs.dtype, jacobian.dtype, case.map.dtype, case.map.theta.dtype} == {dtype}
    assert outputs.device == jacobian.device == case.map.device == case.map.theta.device
    assert not outputs.requires_grad and not case.map(case.theta).requires_grad
    assert_close(outputs, case.map(case.theta), PRECISIONS[dtype])
    assert_adjoint(jacobian, PRECISIONS[dtype])


def test_the_derivative_is_that_of_differences(case: Case) -> None:
    derivative = case.map.linearise(case.theta)[1].mv(case.v)
    ahead, behind = case.map(case.theta + STEP * case.v), case.map(case.theta - STEP * case.v)
    assert_close(derivative, ((ahead - behind) / (2.0 * STEP)).reshape(-1), 1e-7)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_outputs_and_derivative_are_those_of_autograd(name: str, dtype: torch.dtype) -> None:
    case = CASES[name](dtype)
    if case.function is None:
        assert name.startswith("foreign")
        return
    outputs, jacobian = case.map.linearise(case.theta)
    expected = torch.autograd.functional.jacobian(case.function, case.theta)
    assert_close(outputs, case.function(case.theta), PRECISIONS[dtype])
    assert_close(jacobian.dense(), expected.reshape(jacobian.shape), PRECISIONS[dtype])


def test_the_second_derivative_is_that_of_differences_of_the_first(case: Case) -> None:
    """Asked first: nothing that was asked before helps it."""
    ours = case.map.second_derivative(case.theta, case.v)
    assert tuple(ours.shape) == tuple(case.map.shape) and not ours.requires_grad
    ahead, behind = (case.map.linearise(case.theta + h * case.v)[1].mv(case.v) for h in (STEP, -STEP))
    assert_close(ours.reshape(-1), (ahead - behind) / (2.0 * STEP), 1e-5 if case.by_differences else 1e-7)
    doubled = case.map.second_derivative(case.theta, 2.0 * case.v)
    assert_close(doubled, 4.0 * ours, 1e-5 if case.by_differences else EXACT)


def test_the_second_derivative_is_that_of_autograd(case: Case) -> None:
    """Output by output, by products with its Hessian: torch has forward over forward wrong at times."""
    if case.function is None or case.by_differences:
        return
    function, v = case.function, case.v

    def curvature(k: int) -> Tensor:
        return hvp(lambda t: function(t).reshape(-1)[k], case.theta, v)[1] @ v

    ours = case.map.second_derivative(case.theta, v)
    assert_close(ours.reshape(-1), torch.stack([curvature(k) for k in range(ours.numel())]), 1e-11)


def test_without_a_direction_there_is_no_second_derivative(case: Case) -> None:
    zeros = torch.zeros(case.map.shape, dtype=torch.float64)
    assert torch.equal(case.map.second_derivative(case.theta, torch.zeros_like(case.theta)), zeros)


def test_what_is_written_is_read_and_the_module_is_never_re_pointed(case: Case) -> None:
    before = None if case.module is None else Snapshot(case.module)
    theta, start = case.theta.clone().requires_grad_(), case.map.theta.clone()
    case.map.write(theta)
    assert torch.equal(case.map.theta, case.theta) and not case.map.theta.requires_grad
    with torch.no_grad():
        theta.zero_()
    assert torch.equal(case.map.theta, case.theta)
    if case.module is not None and before is not None:
        assert torch.equal(nn.utils.parameters_to_vector(case.module.parameters()), case.theta)
        case.map.write(start)
        before.assert_unchanged()


def test_a_question_leaves_the_map_where_it_stands(case: Case) -> None:
    before = None if case.module is None else Snapshot(case.module)
    start, theta = case.map.theta.clone(), case.theta.clone()
    outputs, jacobian = case.map.linearise(case.theta)
    answers = [outputs, jacobian.mv(case.v), case.map(case.theta), case.map.second_derivative(case.theta, case.v)]
    again = [
        case.map.second_derivative(case.theta, case.v),
        case.map(case.theta),
        case.map.linearise(case.theta)[1].mv(case.v),
        case.map.linearise(case.theta)[0],
    ]
    assert all(map(torch.equal, answers, reversed(again)))
    assert torch.equal(case.map.theta, start) and torch.equal(case.theta, theta)
    if before is not None:
        before.assert_unchanged()


def test_a_derivative_stays_when_the_map_moves_and_its_theta_is_written_over(case: Case) -> None:
    outputs, jacobian = case.map.linearise(case.theta)
    u = torch.ones(outputs.numel(), dtype=outputs.dtype)
    rows = case.map.linearise(case.theta)[1].dense()  # of another one, whose columns may be made before the map moves
    kept = outputs.clone(), jacobian.mv(case.v).clone(), jacobian.rmv(u).clone(), rows.clone()
    case.map.write(2.0 * case.theta)
    case.theta.mul_(-3.0)
    for before, after in zip(kept, (outputs, jacobian.mv(case.v), jacobian.rmv(u), jacobian.dense()), strict=True):
        assert_close(after, before, 1e-14)  # products of matrices may round by where memory lies


def test_the_map_stands_where_its_own_derivative_is_taken(case: Case) -> None:
    """`linearise(map.theta)` once the map has moved is that of the new point."""
    case.map.write(case.theta)
    outputs, jacobian = case.map.linearise(case.map.theta)
    assert torch.equal(outputs, case.map(case.theta))
    assert_close(jacobian.mv(case.v), case.map.linearise(case.theta)[1].mv(case.v), EXACT)


@pytest.mark.parametrize("chosen", [[2, 0], [4], torch.tensor([3, 3, 1])], ids=str)
def test_a_map_of_samples_is_asked_for_some_or_put_on_others(case: Case, chosen: list[int] | Tensor) -> None:
    if not isinstance(case.map, gd.Sampled):
        assert not isinstance(case.map, gd.SampleMap)
        return
    n, q = case.map.shape
    before = case.map.inputs
    outputs, jacobian = case.map.linearise(case.theta)
    rows = jacobian.dense().view(n, q, -1)[chosen].flatten(0, 1)
    for some in (case.map.at(chosen), case.map.on(taken(case.map.inputs, chosen))):
        assert some.shape == (len(chosen), q) and some.target_shape[0] == len(chosen)
        ours, part = some.linearise(case.theta)
        assert_close(ours, outputs[chosen], EXACT)
        assert_close(part.dense(), rows, EXACT)
        assert_close(some.second_derivative(case.theta, case.v), _second(case)[chosen], EXACT)
        assert torch.equal(some.theta, case.map.theta)
    assert case.map.inputs is before and case.map.shape == (n, q)


def _second(case: Case) -> Outputs:
    return case.map.second_derivative(case.theta, case.v)
