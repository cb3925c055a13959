"""Parameters that enter linearly are found, and solved for at every point."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import geodescent as gd
from geodescent.descent import Linearised
from geodescent.descent._separated import Separated, linear_entries, settled

F64 = torch.float64
T = torch.linspace(0.1, 3.0, 25, dtype=F64)
Formula = Callable[[Tensor], Tensor]


def problem_of(formula: Formula, start: list[float], target: Tensor | None = None) -> gd.Problem:
    outputs = gd.FunctionMap(formula, torch.tensor(start, dtype=F64))
    return gd.Problem.over(outputs, torch.sin(3.0 * T) if target is None else target)


def product(b: Tensor) -> Tensor:
    return b[0] * b[1] * torch.exp(-b[2] * T)


def two_decays(b: Tensor) -> Tensor:
    return b[0] * torch.exp(-b[1] * T) + b[2] * torch.exp(-b[3] * T) + b[4]


FORMULAS: dict[str, tuple[Formula, list[float], list[bool] | None]] = {
    "sizes of decays and an offset": (two_decays, [1.0, 1.0, 2.0, 0.3, 0.0], [True, False, True, False, True]),
    "a product has one linear factor": (
        lambda b: b[0] * b[1] * torch.exp(-b[2] * T),
        [1.0, 2.0, 0.5],
        [True, False, False],
    ),
    "all linear": (lambda b: b[0] + b[1] * T, [1.0, 1.0], None),
    "none linear": (lambda b: torch.exp(-b[0] * T) + torch.sin(b[1] * T), [1.0, 1.0], None),
    "linear in pieces is not linear": (lambda b: b[0] * torch.relu(T - b[1]), [1.0, 1.0], [True, False]),
    "far from one": (lambda b: b[0] * torch.exp(-b[1] * T * 1e12), [1e-9, 3e-13], [True, False]),
}


@pytest.mark.parametrize(("formula", "start", "linear"), FORMULAS.values(), ids=FORMULAS)
def test_what_enters_linearly_is_found(formula: Formula, start: list[float], linear: list[bool] | None) -> None:
    found = linear_entries(problem_of(formula, start))
    assert (None if found is None else found.tolist()) == linear


def test_of_many_parameters_none_is_asked() -> None:
    matrix = torch.randn(80, 65, dtype=F64)
    for k, found in ((64, True), (65, False)):
        rows = matrix[:, :k]
        outputs = gd.FunctionMap(
            lambda b, rows=rows: rows[:, 1:] @ b[1:] + torch.exp(b[0] * rows[:, 0]), torch.ones(k).double()
        )
        assert (linear_entries(gd.Problem.over(outputs, torch.zeros(80).double())) is not None) is found


def test_a_formula_in_numpy_has_linear_parameters_too() -> None:
    def formula(b: Tensor) -> Tensor:
        return torch.from_numpy(b[0].item() * np.exp(-b[1].item() * T.numpy()))

    def jacobian(b: Tensor) -> Tensor:
        return torch.stack([torch.exp(-b[1] * T), -b[0] * T * torch.exp(-b[1] * T)], 1)

    outputs = gd.FunctionMap(formula, torch.tensor([1.0, 1.0], dtype=F64), jacobian=jacobian)
    found = linear_entries(gd.Problem.over(outputs, torch.sin(T)))
    assert found is not None and found.tolist() == [True, False]


LINEAR = torch.tensor([True, False, True, False, True])


def test_they_are_solved_for_by_least_squares() -> None:
    problem = problem_of(two_decays, [1.0, 1.0, 2.0, 0.3, 0.0])
    theta = settled(problem, problem.theta, LINEAR, F64)
    basis = torch.stack([torch.exp(-T), torch.exp(-0.3 * T), torch.ones_like(T)], 1)
    expected = torch.linalg.lstsq(basis, torch.sin(3.0 * T)[:, None]).solution[:, 0]
    assert torch.allclose(theta[LINEAR], expected, rtol=1e-9) and torch.equal(theta[~LINEAR], problem.theta[~LINEAR])


def test_a_solve_that_raises_the_cost_is_not_used() -> None:
    """Said to be linear, it is not: the linear model leads to a far point."""
    problem = problem_of(lambda b: torch.exp(b[0] * T), [1e-3], target=20.0 * torch.ones_like(T))
    theta = settled(problem, problem.theta, torch.tensor([True]), F64)
    assert torch.equal(theta, problem.theta)


def test_steps_see_what_the_linear_parameters_leave() -> None:
    """`(I − UUᵀ) B_N` is the derivative of the least residual, up to a term in the residual itself (Kaufman)."""
    problem = problem_of(two_decays, [1.0, 1.0, 2.0, 0.3, 0.0])
    theta = settled(problem, problem.theta, LINEAR, F64)
    separated = Separated.of(problem.linearise(theta)[1], LINEAR)
    assert separated is not None
    reduced, dense = separated.reduced().dense(), problem.linearise(theta)[1].dense()
    assert (reduced[:, LINEAR] == 0.0).all()
    basis = torch.linalg.qr(dense[:, LINEAR]).Q
    expected = dense[:, ~LINEAR] - basis @ (basis.T @ dense[:, ~LINEAR])
    assert torch.allclose(reduced[:, ~LINEAR], expected, atol=1e-12)
    v = separated.completed(torch.tensor([0.0, 0.7, 0.0, -0.2, 0.0], dtype=F64))
    assert torch.allclose(dense @ v, reduced @ v, atol=1e-12) and v[1] == 0.7 and v[3] == -0.2


def test_a_parameter_that_the_linear_ones_make_up_for_is_left_alone() -> None:
    """Of `b₀b₁ exp(−b₂t)` the column of b₁ is a multiple of that of b₀: what is left of it is rounding."""
    target = 3.0 * torch.exp(-1.7 * T)
    problem = problem_of(product, [1.0, 2.0, 0.5], target)
    separated = Separated.of(problem.linearise(problem.theta)[1], torch.tensor([True, False, False]))
    assert separated is not None and (separated.reduced().dense()[:, 1] == 0.0).all()
    solution = gd.fit(problem)
    assert solution.cost < 1e-20 and float(solution.theta[1]) == 2.0
    noisy = gd.fit(problem_of(product, [1.0, 2.0, 0.5], target + 0.01 * torch.sin(40.0 * T)))
    assert noisy.result.name == "stationary"


def test_the_first_step_solves_for_them_and_every_later_point_has_them_solved() -> None:
    problem, points = problem_of(two_decays, [1.0, 1.0, 2.0, 0.3, 0.0]), list[gd.StepRecord]()
    solution = gd.fit(problem, callback=points.append)
    theta = solution.theta
    assert points[0].cost == points[0].predicted < problem.cost(torch.tensor([1.0, 1.0, 2.0, 0.3, 0.0], dtype=F64))
    assert torch.allclose(settled(problem, theta, LINEAR, F64), theta, rtol=1e-9)
    assert solution.stats["linear solves"] > 0


def test_no_step_no_solve() -> None:
    problem = problem_of(two_decays, [1.0, 1.0, 2.0, 0.3, 0.0])
    solution = gd.fit(problem, max_steps=0)
    assert torch.equal(solution.theta, torch.tensor([1.0, 1.0, 2.0, 0.3, 0.0], dtype=F64))


def test_where_d_is_not_finite_nothing_is_separated() -> None:
    problem = problem_of(lambda b: b[0] * torch.sqrt(b[1] * T), [1.0, 0.0])
    here = Linearised.at(problem, problem.theta, lift=gd.NormalLift(), dtype=F64, linear=torch.tensor([True, False]))
    assert here.separated is None and here.settled(problem.theta) is not None
