"""Damped least squares by conjugate gradients against dense solves, and the rule that stops them."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from support.laws import assert_close
from support.matrices import F64, graded, rectangular, vector
from torch import Tensor

from geodescent.linalg import LeastSquares, Operator, conjugate_least_squares, paced

SHAPES = pytest.mark.parametrize(("m", "k"), [(20, 8), (8, 20), (12, 12), (1, 5), (5, 1)])


def never(falls: list[float]) -> bool:
    return False


def solved(
    matrix: Tensor,
    r: Tensor,
    damping: float,
    *,
    preconditioner: Operator = torch.clone,
    enough: Callable[[list[float]], bool] = never,
    max_iterations: int = 200,
) -> LeastSquares:
    return conjugate_least_squares(
        lambda v: matrix @ v,
        lambda u: matrix.T @ u,
        r,
        damping=damping,
        preconditioner=preconditioner,
        enough=enough,
        max_iterations=max_iterations,
    )


def dense(matrix: Tensor, r: Tensor, damping: float) -> Tensor:
    """`−(BᵀB + μ)⁻¹Bᵀr`."""
    return -torch.linalg.solve(normal(matrix, damping), matrix.T @ r)


def normal(matrix: Tensor, damping: float) -> Tensor:
    return matrix.T @ matrix + damping * torch.eye(matrix.shape[1], dtype=matrix.dtype)


def energy(matrix: Tensor, r: Tensor, damping: float, x: Tensor) -> float:
    """φ(x)."""
    return float((r + matrix @ x).square().sum() + damping * x.square().sum())


@SHAPES
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("by", ["nothing", "inverse", "near"])
def test_it_is_the_damped_least_squares_solution(m: int, k: int, scale: float, by: str) -> None:
    """And r + Bx is what is left, whatever stands before the gradient."""
    matrix, r, damping = scale * graded(m, k, 1.0), vector(m), 1e-2 * scale**2
    exact = torch.linalg.inv(normal(matrix, damping))
    near = exact + 0.5 / (scale * scale) * torch.diag(vector(k, 9).abs())
    operators: dict[str, Operator] = {
        "nothing": torch.clone,
        "inverse": lambda v: exact @ v,
        "near": lambda v: near @ v,
    }
    found = solved(matrix, r, damping, preconditioner=operators[by])
    assert_close(found.solution, dense(matrix, r, damping), 1e-9)
    assert_close(found.left, r + matrix @ found.solution, 1e-12)


def test_the_exact_inverse_takes_one_iteration_and_as_many_as_there_are_values_suffice() -> None:
    matrix, r = rectangular(30, 20, torch.tensor([1.0, 2.0, 5.0, 9.0] * 5, dtype=F64)), vector(30)
    inverse = torch.linalg.inv(normal(matrix, 0.1))
    once = solved(matrix, r, 0.1, preconditioner=lambda v: inverse @ v, max_iterations=1)
    assert once.count == 1
    assert_close(once.solution, dense(matrix, r, 0.1), 1e-12)
    four = solved(matrix, r, 0.1, max_iterations=4)
    assert four.count == 4
    assert_close(four.solution, dense(matrix, r, 0.1), 1e-12)


def test_phi_falls_with_each_iteration_by_what_the_rule_is_told() -> None:
    """The rule sees `ln φ(0)/φ(x)` after each, which never falls; φ is that of the solution and what is left."""
    matrix, r, damping = graded(40, 30, 3.0), vector(40), 1e-4
    seen: list[list[float]] = []

    def noted(falls: list[float]) -> bool:
        seen.append(list(falls))
        return False

    preconditioner = torch.linspace(1.0, 3.0, 30, dtype=F64)
    whole = solved(matrix, r, damping, preconditioner=lambda v: preconditioner * v, enough=noted, max_iterations=25)
    falls = seen[-1]
    assert falls[0] == 0.0 and len(falls) == whole.count + 1 == 26
    assert all(later > earlier for earlier, later in itertools.pairwise(falls))
    for count in (1, 4, 25):
        x = solved(matrix, r, damping, preconditioner=lambda v: preconditioner * v, max_iterations=count).solution
        assert falls[count] == pytest.approx(math.log(float(r @ r) / energy(matrix, r, damping, x)), rel=1e-9)


def test_each_iterate_is_the_least_of_phi_in_the_span_of_the_gradients() -> None:
    """Conjugate directions, and not merely descent: the gradient left is orthogonal to all before it."""
    matrix, r, damping = graded(30, 20, 2.0), vector(30), 1e-3
    krylov = [matrix.T @ r]
    for count in range(1, 5):
        basis = torch.linalg.qr(torch.stack(krylov, 1))[0]
        least = basis @ dense(matrix @ basis, r, damping)
        assert_close(solved(matrix, r, damping, max_iterations=count).solution, least, 1e-8)
        krylov.append(normal(matrix, damping) @ krylov[-1])


def test_a_preconditioner_that_changes_does_no_harm() -> None:
    """By the quotient of Polak and Ribière directions stay directions of descent."""
    matrix, r, calls = graded(30, 20, 1.0), vector(30), list[int]()

    def changing(v: Tensor) -> Tensor:
        calls.append(1)
        return v * (1.0 + 0.2 * vector(20, len(calls)).abs())

    assert_close(solved(matrix, r, 1e-2, preconditioner=changing).solution, dense(matrix, r, 1e-2), 1e-8)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_iterations_beyond_the_precision_do_no_harm(dtype: torch.dtype) -> None:
    """Nor where all but a millionth of the residual cannot be removed, so that φ says nothing of what is left."""
    matrix, r, damping = graded(60, 30, 2.0), vector(60), 1e-3
    orthogonal = r - matrix @ torch.linalg.lstsq(matrix, r[:, None]).solution[:, 0]
    for residual, tol in ((r, 1e-12), (1e3 * orthogonal / orthogonal.norm() + vector(60, 8), 1e-9)):
        found = solved(matrix.to(dtype), residual.to(dtype), damping, max_iterations=1000)
        tol = tol * torch.finfo(dtype).eps / torch.finfo(F64).eps
        assert_close(found.solution.double(), dense(matrix, residual, damping), min(0.1, tol))


def test_it_stops_when_told_and_at_the_bound() -> None:
    matrix, r = graded(30, 20, 3.0), vector(30)
    assert solved(matrix, r, 1e-6, enough=lambda falls: len(falls) == 4).count == 3
    assert solved(matrix, r, 1e-6, max_iterations=2).count == 2
    nothing = solved(matrix, r, 1e-6, max_iterations=0)
    assert nothing.count == 0 and not nothing.solution.any() and torch.equal(nothing.left, r)


@pytest.mark.parametrize("factor", [-1.0, 0.0, math.nan])
def test_a_preconditioner_that_is_none_gives_no_step(factor: float) -> None:
    matrix, r = graded(9, 6, 1.0), vector(9)
    found = solved(matrix, r, 0.1, preconditioner=lambda v: factor * v)
    assert found.count == 0 and not found.solution.any() and torch.equal(found.left, r)


def test_where_there_is_nothing_to_do() -> None:
    matrix = graded(9, 6, 1.0)
    zero = solved(matrix, torch.zeros(9, dtype=F64), 0.1)
    assert zero.count == 0 and not zero.solution.any()
    orthogonal = vector(9)
    orthogonal -= matrix @ torch.linalg.lstsq(matrix, orthogonal[:, None]).solution[:, 0]
    assert float(solved(matrix, orthogonal, 0.1, max_iterations=3).solution.norm()) < 1e-12


def test_the_precision_is_that_of_the_residual() -> None:
    matrix, r = graded(20, 12, 1.0), vector(20)
    found = solved(matrix.float(), r.float(), 1e-2, max_iterations=40)
    assert found.solution.dtype == found.left.dtype == torch.float32
    assert_close(found.solution.double(), dense(matrix, r, 1e-2), 1e-4)


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_a_fall_that_suffices_ends_the_solve() -> None:
    rule = paced(price=1e6, enough=0.5)
    assert rule([0.0, 0.5]) and rule([0.0, 0.1, 0.6])
    assert not rule([0.0, 0.4])


def test_steady_gains_go_on_and_a_slower_end_stops() -> None:
    """After four iterations the last two count: they stop where their mean is at most `fall/(count + price)`."""
    rule = paced(price=2.0, enough=math.inf)
    assert not rule([0.0, 1.0, 2.0, 3.0, 4.0])  # 1 an iteration, against 4/6
    assert not rule([0.0, 1.0, 2.0, 2.6, 3.01])  # (3.01 − 2)/2 = 0.505, against 3.01/6 = 0.502
    assert rule([0.0, 1.0, 2.0, 2.6, 2.99])  # 0.495, against 0.498
    assert not rule([0.0, 1.0, 2.0, 2.0, 4.0])  # a pause of one iteration does not count


def test_a_dear_step_is_solved_longer() -> None:
    falls = [0.0, 1.0, 1.5, 1.8, 2.0]  # 0.25 an iteration at the end
    assert [paced(price=price, enough=math.inf)(falls) for price in (1.0, 3.9, 4.1, 9.0)] == [True, True, False, False]


def test_the_window_is_a_quarter_of_all_and_one_more() -> None:
    rule = paced(price=1.0, enough=math.inf)
    assert rule([0.0, 1.0, 2.0, 3.0, 5.0, 5.0, 6.0, 6.0, 7.2])  # of eight the last three: 2.2/3 < 7.2/9; four: 4.2/4
    assert not rule([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.6, 7.6, 7.6])  # 2.6/3 > 7.6/9, though the last two gained nothing
    assert rule([0.0, 1.0, 1.45])  # two iterations: the last one alone, 0.45 < 1.45/3
    assert not rule([0.0, 1.0, 1.55])


def test_a_fall_that_cannot_be_told_from_none_stops_nothing() -> None:
    """Before φ has fallen by a millionth the pace says nothing."""
    rule = paced(price=1.0, enough=math.inf)
    assert not rule([0.0, 9e-7, 9e-7, 9e-7])
    assert rule([0.0, 2e-6, 2e-6, 2e-6])


def test_solves_end_by_the_rule() -> None:
    """A solve that it ends has gained most of what there was, in few of the iterations of an exact one."""
    matrix, r = graded(60, 50, 4.0), vector(60)
    short = solved(matrix, r, 1e-8, enough=paced(price=1.0, enough=math.inf))
    assert 1 < short.count < 30
    assert solved(matrix, r, 1e-8, enough=paced(price=20.0, enough=math.inf)).count > short.count
