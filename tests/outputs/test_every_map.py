"""The laws of an output map, for every kind of map there is, and for one of somebody else's."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from support.laws import assert_adjoint, assert_close
from support.models import Custom, Embedded, cast, mlp, normal, perturbed, taken, text
from support.snapshot import Snapshot
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

Theta, Outputs = Tensor, Tensor
STEP = 1e-5  # of central differences, whose error is then about 1e-10 of a derivative
EXACT = 1e-12


@dataclass
class Case:
    """A map, and what is known of it otherwise.

    Attributes:
        map: the map.
        function: `θ ↦ x[θ]` for autograd; None where it leaves torch.
        module: the module whose parameters are θ, or None.
        by_differences: whether its second derivative is a difference, half of whose digits are lost.
    """

    map: gd.OutputMap
    function: Callable[[Theta], Outputs] | None = None
    module: nn.Module | None = None
    by_differences: bool = False
    theta: Theta = field(init=False)
    v: Theta = field(init=False)

    def __post_init__(self) -> None:
        k = len(self.map.theta)
        self.theta = self.map.theta + 0.3 * normal(k).to(self.map.dtype)  # not where the map stands
        self.v = normal(k).to(self.map.dtype)


def function_of(model: nn.Module, x: Tensor | dict[str, Tensor]) -> Callable[[Theta], Outputs]:
    """The model as a function of the flat θ, by torch alone."""
    places = [(name, p.shape, p.numel()) for name, p in model.named_parameters()]

    def function(theta: Theta) -> Outputs:
        parts = theta.split([size for _, _, size in places])
        parameters = {name: part.view(shape) for (name, shape, _), part in zip(places, parts, strict=True)}
        return functional_call(model, parameters, (x,)).reshape(len(x), -1)

    return function


def sampled(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Case:
    model, x = perturbed(model.to(dtype)), cast(x, dtype)
    return Case(gd.SampleMap(model, x), function_of(model, x), model)


class OnceSquared(torch.autograd.Function):
    """z², of which torch has one derivative, and zeros for the second."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.slope = 2.0 * z.detach()
        return z.detach() ** 2

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return g.detach() * ctx.slope


def closed(dtype: torch.dtype, *, residuals: bool = False, once: bool = False) -> Case:
    model, x = (Custom(), normal(6, 6)) if residuals else mlp()
    model, x = model.to(dtype), x.to(dtype)
    y = normal(len(x), 2 if residuals else 3).to(dtype)
    square = OnceSquared.apply if once else torch.square

    def closure() -> Tensor | tuple[Tensor, Tensor]:
        return square(model(x)) - y if residuals else (square(model(x)), y)

    outputs, shift = function_of(model, x), y if residuals else 0.0
    return Case(gd.ClosureMap.of(model, closure), lambda t: outputs(t).square() - shift, model, once)


def streamed(dtype: torch.dtype) -> Case:
    model, x = mlp()
    model, x = model.to(dtype), x.to(dtype)
    loader = DataLoader(TensorDataset(x, normal(len(x), 3).to(dtype)), batch_size=4)
    (block,) = gd.StreamedSource.of(model, loader).whole.blocks
    return Case(block.map, function_of(model, x), model)


def decay(size: Tensor, rate: Tensor) -> Tensor:
    """Five points in time of each of the rates, (5, 2)."""
    return size.sum() * torch.exp(-torch.linspace(0.0, 1.0, 5, dtype=rate.dtype)[:, None] * rate)


def flat(dtype: torch.dtype) -> Case:
    def function(theta: Theta) -> Outputs:
        return decay(theta[:3], theta[3:])

    return Case(gd.FunctionMap(function, normal(5).to(dtype)), function)


def one_number(dtype: torch.dtype) -> Case:
    """More parameters than outputs: D is made backward."""

    def function(theta: Theta) -> Outputs:
        return (theta**3).sum()

    return Case(gd.FunctionMap(function, normal(7).to(dtype)), lambda t: function(t).reshape(1))


def named(dtype: torch.dtype) -> Case:
    theta0 = {"size": normal(3, 1).to(dtype), "rate": normal(2).to(dtype)}
    outputs = gd.FunctionMap(lambda p: decay(p["size"], p["rate"]), theta0)
    return Case(outputs, lambda t: decay(t[:3], t[3:]))


def with_jacobian(dtype: torch.dtype) -> Case:
    """f leaves torch, D is given by name."""

    def function(p: dict[str, Tensor]) -> Outputs:
        return torch.from_numpy(np.sin(p["a"].numpy())) * p["b"].detach()

    def jacobian(p: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"b": torch.sin(p["a"])[:, None], "a": torch.diag(torch.cos(p["a"]) * p["b"])}

    theta0 = {"a": normal(4).to(dtype), "b": normal(1).to(dtype)}
    outputs = gd.FunctionMap(function, theta0, jacobian=jacobian)
    return Case(outputs, lambda t: torch.sin(t[:4]) * t[4:], None, by_differences=True)


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
    "closure": closed,
    "closure of residuals": lambda dtype: closed(dtype, residuals=True),
    "closure of one derivative": lambda dtype: closed(dtype, once=True),
    "streamed": streamed,
    "function": flat,
    "function of one number": one_number,
    "function of names": named,
    "function with D": with_jacobian,
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
    if case.function is None or case.by_differences:
        return
    function, v = case.function, case.v
    expected = jvp(lambda t: jvp(function, (t,), (v,))[1], (case.theta,), (v,))[1]
    assert_close(case.map.second_derivative(case.theta, v), expected, 1e-11)


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
    kept, u = (outputs.clone(), jacobian.mv(case.v).clone(), jacobian.dense().clone()), torch.ones(outputs.numel())
    gradient = jacobian.rmv(u.to(outputs.dtype))
    case.map.write(2.0 * case.theta)
    case.theta.mul_(-3.0)
    assert all(map(torch.equal, kept, (outputs, jacobian.mv(case.v), jacobian.dense())))
    assert torch.equal(jacobian.rmv(u.to(outputs.dtype)), gradient)


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
