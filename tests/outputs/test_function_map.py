"""FunctionMap: named and flat θ, how D is made, what is not seen by torch, and what is refused."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.laws import assert_close
from support.models import normal
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent.outputs import Parametrised, Traced
from geodescent.problem import gradient, hessian

F64 = torch.float64
THETA = torch.tensor([0.3, -0.7, 1.1], dtype=F64)


def names() -> dict[str, Tensor]:
    return {"b": torch.full((2, 1), 2.0, dtype=F64), "a": torch.tensor([3.0, 4.0], dtype=F64)}


def test_named_tensors_are_theta_in_their_order() -> None:
    outputs = gd.FunctionMap(lambda p: torch.cat([p["a"], 10.0 * p["b"][:, 0]]), names())
    assert outputs.theta.tolist() == [2.0, 2.0, 3.0, 4.0] and outputs.n_params == 4
    assert {name: tensor.tolist() for name, tensor in outputs.parameters().items()} == {
        "b": [[2.0], [2.0]],
        "a": [3.0, 4.0],
    }
    assert outputs(torch.arange(4, dtype=F64)).tolist() == [2.0, 3.0, 0.0, 10.0]
    assert isinstance(outputs, Parametrised) and gd.FunctionMap(torch.sin, THETA).parameters() == {}


def test_theta_is_a_copy_that_is_written_in_place() -> None:
    start = THETA.clone()
    outputs = gd.FunctionMap(torch.sin, start)
    memory, by_name = outputs.theta, gd.FunctionMap(lambda p: p["a"], {"a": start})
    view = by_name.parameters()["a"]
    outputs.write(start + 1.0)
    by_name.write(start + 1.0)
    assert torch.equal(memory, THETA + 1.0) and torch.equal(view, THETA + 1.0) and torch.equal(start, THETA)


@pytest.mark.parametrize(("returned", "shape"), [((), (1,)), ((4,), (4,)), ((4, 2), (4, 2))])
def test_one_number_a_vector_or_rows(returned: tuple[int, ...], shape: tuple[int, ...]) -> None:
    matrix = normal(math.prod(returned), 3)
    outputs = gd.FunctionMap(lambda t: (matrix @ t).view(returned), THETA)
    value, jacobian = outputs.linearise()
    assert outputs.shape == value.shape == outputs.second_derivative(THETA, THETA).shape == shape
    assert_close(jacobian.dense(), matrix, 1e-14)


# --- how D is made ---------------------------------------------------------------------------------------------------


class Cubed(torch.autograd.Function):
    """z³ without a forward derivative, and with one that vmap cannot take."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return 3.0 * g * ctx.saved_tensors[0] ** 2


def counted(f: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[gd.FunctionMap, list[int]]:
    calls = list[int]()

    def function(t: Tensor) -> Tensor:
        calls.append(1)
        return f(t)

    outputs = gd.FunctionMap(function, theta)
    calls.clear()
    return outputs, calls


@pytest.mark.parametrize(("m", "k", "calls"), [(1, 40, 2), (40, 3, 2), (300, 200, 2)])
def test_many_derivatives_are_taken_in_one_call(m: int, k: int, calls: int) -> None:
    """One call for the outputs and one for all rows, or all columns, of D."""
    matrix = normal(m, k)
    outputs, made = counted(lambda t: torch.sin(matrix @ t), normal(k))
    _, jacobian = outputs.linearise()
    assert_close(jacobian.dense(), torch.cos(matrix @ outputs.theta)[:, None] * matrix, 1e-13)
    assert len(made) == calls


@pytest.mark.parametrize(("m", "k", "calls"), [(40, 40, 1 + 40), (5, 40, 2), (40, 3, 2)])
def test_derivatives_are_taken_in_chunks(m: int, k: int, calls: int) -> None:
    """Forward a call for each chunk, of one column here; backward one call, whose graph all rows share.

    So it is with few parameters, whose columns are taken one by one.
    """
    matrix = normal(m, k)
    outputs, made = counted(lambda t: torch.sin(matrix @ t), normal(k))
    with spending(Budget(batch_bytes=1)):
        _, jacobian = outputs.linearise()
    assert_close(jacobian.dense(), torch.cos(matrix @ outputs.theta)[:, None] * matrix, 1e-13)
    assert len(made) == calls


@pytest.mark.parametrize("m", [1, 9])
def test_operations_that_only_a_loop_can_take(m: int) -> None:
    """And the ways that failed are not tried again."""
    matrix = normal(m, 3)
    outputs, calls = counted(lambda t: matrix @ Cubed.apply(t), THETA)
    for _ in range(2):
        calls.clear()
        _, jacobian = outputs.linearise()
        assert_close(jacobian.dense(), matrix * (3.0 * THETA**2), 1e-14)
    assert len(calls) == 2
    expected = matrix @ (6.0 * THETA * torch.ones(3, dtype=F64))
    assert_close(outputs.second_derivative(THETA, torch.ones(3, dtype=F64)), expected, 1e-12)


class Once(torch.autograd.Function):
    """z³ whose derivative autograd takes for a constant."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor) -> Tensor:
        return 3.0 * g * ctx.saved_tensors[0] ** 2


@pytest.mark.parametrize("limits", [Budget(free_bytes=100), Budget(factor_order=2)], ids=["memory", "flops"])
@pytest.mark.parametrize("cubed", [lambda t: t**3, Cubed.apply], ids=["forward", "backward alone"])
def test_a_large_derivative_is_known_by_its_products(cubed: Callable[[Tensor], Tensor], limits: Budget) -> None:
    """Also at another θ than the map's, which the map may leave meanwhile."""
    matrix, theta = normal(4, 3), THETA + 0.1
    outputs, calls = counted(lambda t: matrix @ cubed(t), theta)
    with spending(limits):
        value, jacobian = outputs.linearise()
    outputs.write(torch.zeros(3, dtype=F64))
    dense, u = matrix * (3.0 * theta**2), normal(4)
    assert_close(value, matrix @ theta**3, 1e-14)
    assert len(calls) == 2  # for the outputs, and for the graph
    assert_close(jacobian.mv(THETA), dense @ THETA, 1e-14)
    assert_close(jacobian.rmv(u), dense.T @ u, 1e-14)
    assert_close(jacobian.dense(), dense, 1e-14)
    with spending(Budget(free_bytes=50)), pytest.raises(gd.MemoryPlanError, match="D of 4 × 3"):
        jacobian.dense()


def test_what_has_no_product_by_torch_is_refused_where_it_is_large() -> None:
    outputs = gd.FunctionMap(Once.apply, THETA)
    assert_close(outputs.linearise()[1].dense(), torch.diag(3.0 * THETA**2), 1e-14)
    with spending(Budget(factor_order=2)):
        jacobian = outputs.linearise()[1]
    assert_close(jacobian.rmv(THETA), 3.0 * THETA**3, 1e-14)
    with pytest.raises(gd.JacobianError, match=r"differentiated only once. Pass jacobian=.*gd\.MatrixJacobian"):
        jacobian.mv(THETA)


def test_products_of_a_branch_that_does_not_depend_on_theta() -> None:
    outputs = gd.FunctionMap(lambda t: t if bool(t[0] > 0) else torch.ones(3, dtype=F64), THETA)
    with spending(Budget(factor_order=2)):
        _, jacobian = outputs.linearise(-THETA)
    assert not jacobian.rmv(THETA).any() and not jacobian.mv(THETA).any()


def test_a_penalty_on_fifty_thousand_parameters_is_fitted() -> None:
    """D would take 20 GB."""
    size = gd.FunctionMap(lambda t: t, torch.zeros(50_000, dtype=F64))
    target = normal(50_000)
    gd.fit(gd.Problem.over(size, target), max_steps=3)
    assert_close(size.theta, target, 1e-6)


def test_a_copy_is_a_map_of_its_own() -> None:
    outputs = gd.FunctionMap(torch.sin, THETA)
    other = copy.deepcopy(outputs)
    other.write(2.0 * THETA)
    assert torch.equal(outputs.theta, THETA)
    assert_close(other.linearise()[1].dense(), torch.diag(torch.cos(2.0 * THETA)), 1e-14)


# --- D by the user, and functions that leave torch -------------------------------------------------------------------


def by_numpy(theta: Tensor) -> Tensor:
    return torch.from_numpy(np.sin(theta.detach().numpy()))


LEAVING: dict[str, Callable[[Tensor], Tensor]] = {
    "numpy": by_numpy,
    "strictly numpy": lambda t: torch.from_numpy(np.sin(t.numpy())),
    "numbers": lambda t: torch.tensor([math.sin(v) for v in t.tolist()], dtype=F64),
    "detached": lambda t: torch.sin(t.detach()),
    "detached in part": lambda t: torch.sin(t.detach()) + 0.0 * t,
    "half detached": lambda t: torch.cat([torch.sin(t[:1]), torch.sin(t[1:].detach())]),
}


@pytest.mark.parametrize("name", LEAVING)
def test_a_function_that_leaves_torch_is_served_where_it_brings_its_derivative(name: str) -> None:
    """What torch would say of it, zeros or half of the truth, is not asked for."""
    outputs = gd.FunctionMap(LEAVING[name], THETA, jacobian=lambda t: torch.diag(torch.cos(t)))
    theta, v = THETA + 0.2, torch.tensor([1.0, 2.0, -1.0], dtype=F64)
    assert outputs.traced is None and not isinstance(outputs, Traced)
    assert_close(outputs.linearise(theta)[1].dense(), torch.diag(torch.cos(theta)), 1e-15)
    assert_close(outputs.second_derivative(theta, v), -torch.sin(theta) * v**2, 1e-6)
    zero = torch.zeros(3, dtype=F64)
    problem, seen = gd.Problem.over(outputs, zero), gd.Problem.over(gd.FunctionMap(torch.sin, THETA), zero)
    assert_close(gradient(problem, theta), gradient(seen, theta), 1e-13)
    assert_close(hessian(problem, theta), hessian(seen, theta), 1e-7)


def test_a_function_of_torch_that_brings_its_derivative_is_traced_all_the_same() -> None:
    outputs = gd.FunctionMap(torch.sin, THETA, jacobian=lambda t: torch.diag(torch.cos(t)).numpy())
    v = torch.ones(3, dtype=F64)
    assert isinstance(outputs, Traced) and isinstance(gd.FunctionMap(torch.sin, THETA), Traced)
    assert_close(outputs.second_derivative(THETA, v), -torch.sin(THETA), 1e-14)


def written_in_place(theta: Tensor) -> Tensor:
    out = torch.ones(3, dtype=F64)
    return out.mul_(theta).exp_().mul_(theta)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (LEAVING["strictly numpy"], r"RuntimeError, Can't call numpy\(\) on Tensor that requires grad"),
        (written_in_place, "modified by an inplace operation"),
    ],
)
def test_what_torch_says_of_a_function_is_told(function: Callable[[Tensor], Tensor], sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence + r".*none of them in place, or pass jacobian=") as caught:
        gd.FunctionMap(function, THETA)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("name", ["numpy", "numbers", "detached"])
def test_a_function_that_leaves_torch_and_brings_no_derivative_is_refused(name: str) -> None:
    with pytest.raises(gd.InputError, match=r"do not depend on θ through torch.*pass jacobian="):
        gd.FunctionMap(LEAVING[name], THETA)


def test_a_function_may_write_into_one_buffer() -> None:
    """What was returned before does not change with the next call."""
    buffer = np.zeros(3)

    def function(theta: Tensor) -> Tensor:
        buffer[:] = np.sin(theta.numpy())
        return torch.from_numpy(buffer)

    outputs = gd.FunctionMap(function, THETA, jacobian=lambda t: torch.diag(torch.cos(t)))
    first = outputs(THETA)
    outputs(2.0 * THETA)
    assert_close(first, torch.sin(THETA), 1e-15)


def test_a_derivative_may_be_a_jacobian() -> None:
    def jacobian(t: Tensor) -> gd.MatrixJacobian:
        return gd.MatrixJacobian((lambda v: torch.cos(t) * v, lambda u: torch.cos(t) * u), shape=(3, 3))

    outputs = gd.FunctionMap(by_numpy, THETA, jacobian=jacobian)
    theta = THETA + 0.2
    assert_close(outputs.linearise(theta)[1].mv(THETA), torch.cos(theta) * THETA, 1e-15)
    assert_close(outputs.linearise(theta)[1].dense(), torch.diag(torch.cos(theta)), 1e-15)
    matrix = gd.FunctionMap(by_numpy, THETA, jacobian=lambda t: gd.MatrixJacobian(torch.diag(torch.cos(t))))
    assert_close(matrix.linearise()[1].dense(), torch.diag(torch.cos(THETA)), 1e-15)


def test_a_derivative_may_carry_a_graph() -> None:
    factor = nn.Parameter(torch.tensor(2.0, dtype=F64))
    outputs = gd.FunctionMap(lambda t: factor * t, THETA, jacobian=lambda t: factor * torch.eye(3, dtype=F64))
    value, jacobian = outputs.linearise()
    assert not value.requires_grad and not jacobian.dense().requires_grad
    assert torch.equal(jacobian.dense(), 2.0 * torch.eye(3, dtype=F64))


def named_jacobian(**changed: Any) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def jacobian(p: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = {"a": torch.diag(2.0 * p["a"]), "b": torch.ones(2, 2, 1, dtype=F64)}
        return {name: part for name, part in {**parts, **changed}.items() if part is not None}

    return jacobian


def named_function(p: dict[str, Tensor]) -> Tensor:
    return p["a"] ** 2 + p["b"].sum()


def test_a_derivative_by_name_is_put_in_the_order_of_theta() -> None:
    outputs = gd.FunctionMap(named_function, names(), jacobian=named_jacobian())
    expected = torch.tensor([[1.0, 1.0, 6.0, 0.0], [1.0, 1.0, 0.0, 8.0]], dtype=F64)
    assert torch.equal(outputs.linearise()[1].dense(), expected)


def products_of_named(p: dict[str, Tensor]) -> gd.MatrixJacobian:
    parts = named_jacobian()(p)
    return gd.MatrixJacobian(torch.cat([parts["b"].flatten(1), parts["a"]], 1))


JACOBIANS: list[tuple[Any, type[Exception], str]] = [
    (named_jacobian(b=None), gd.InputError, "returned a dict without b"),
    (named_jacobian(a=torch.eye(2, dtype=F64)), gd.JacobianError, r"differs by .* is not its derivative"),
    (named_jacobian(a=torch.ones(3, dtype=F64)), gd.InputError, r"shape \(3,\) for 'a': \(m, \*shape\) = \(2, 2\) is"),
    (named_jacobian(a=["no"]), gd.InputError, r"the entry 'a' of what jacobian returned is list, which is no tensor"),
    (lambda p: "no", gd.InputError, "jacobian returned str, which is no tensor"),
    (lambda p: named_jacobian()({n: t.mul_(1.5) for n, t in p.items()}), gd.InputError, r"jacobian changes θ in place"),
    (
        lambda p: gd.MatrixJacobian(torch.ones(4, 2)),
        gd.InputError,
        r"a Jacobian of shape \(4, 2\): \(m, K\) = \(2, 4\)",
    ),
    (lambda p: gd.MatrixJacobian(torch.ones(2, 4)), gd.InputError, r"of torch\.float32 .* dtype=torch\.float64"),
    (
        lambda p: gd.MatrixJacobian((lambda v: torch.ones(2, dtype=F64), products_of_named(p).rmv), shape=(2, 4)),
        gd.JacobianError,
        "correct mv or rmv",
    ),
    (lambda p: torch.ones(2, 3, dtype=F64), gd.InputError, r"returned shape \(2, 3\): \(m, K\) = \(2, 4\)"),
    (lambda p: torch.ones(4, 2, dtype=F64), gd.InputError, r"returned shape \(4, 2\)"),
]


@pytest.mark.parametrize(("jacobian", "error", "sentence"), JACOBIANS)
def test_a_derivative_that_is_none_is_refused(jacobian: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        gd.FunctionMap(named_function, names(), jacobian=jacobian)


def test_a_dict_is_no_derivative_by_a_flat_theta() -> None:
    with pytest.raises(gd.InputError, match=r"returned a dict.*flat"):
        gd.FunctionMap(torch.sin, THETA, jacobian=lambda t: {"a": torch.diag(torch.cos(t))})


# --- what is refused -------------------------------------------------------------------------------------------------

FUNCTIONS: list[tuple[Callable[[Tensor], Any], type[Exception], str]] = [
    (lambda t: t.mul_(2.0), gd.InputError, r"changes θ in place.*theta\.clone\(\)"),
    (lambda t: [1.0], gd.InputError, "returns list, not a tensor"),
    (lambda t: t.view(1, 1, 3), gd.InputError, r"returns shape \(1, 1, 3\).*flatten\(1\)"),
    (lambda t: t[:0], gd.InputError, r"returns shape \(0,\)"),
    (lambda t: t.float(), gd.InputError, "returns torch.float32 on cpu and theta0 is torch.float64"),
    (lambda t: t + torch.randn(3), gd.JacobianError, "two calls .* gave different outputs"),
]


@pytest.mark.parametrize(("function", "error", "sentence"), FUNCTIONS)
def test_a_function_that_is_none(function: Callable[[Tensor], Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        gd.FunctionMap(function, THETA)


STARTS: list[tuple[Any, str]] = [
    (THETA[None], r"theta0 has shape \(1, 3\)"),
    (THETA[:0], r"theta0 has shape \(0,\)"),
    ([1.0], "not list"),
    ({}, "a dict without a single number"),
    ({"a": THETA[:0]}, "a dict without a single number"),
    ({"b": THETA, "a": 1.0}, r"theta0\['a'\] is float, not a tensor: pass torch\.tensor"),
    ({"b": THETA, "a": THETA.long()}, r"theta0\['a'\] is torch\.int64.*pass theta0\['a'\]\.double\(\)"),
    ({"a": THETA / 0.0}, r"theta0\['a'\] holds NaN"),
    (THETA.cfloat(), r"theta0 is torch\.complex64, and θ is real.*view_as_real\(theta0\).*view_as_complex"),
    ({"a": THETA, "b": THETA.float()}, r"torch\.float32.*torch\.float64.*one dtype"),
    (THETA.half(), r"theta0 is torch\.float16.*theta0\.double\(\)"),
    (THETA.long(), r"theta0 is torch\.int64"),
    (THETA / 0.0, "NaN or infinite"),
]


@pytest.mark.parametrize(("theta0", "sentence"), STARTS)
def test_a_start_that_is_none(theta0: Any, sentence: str) -> None:
    with pytest.raises(gd.InputError, match=sentence):
        gd.FunctionMap(torch.sin, theta0)
