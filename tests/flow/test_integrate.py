"""The error control of the integrator, read from the lengths of its steps along velocities that are known."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import DOP853
from torch import Tensor

import geodescent as gd
from geodescent.flow import Array, integrate

F64 = torch.float64
EPS = 2.0**-52
PIECES, UNTIL = 20, 4.0
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0], dtype=F64)


@dataclass
class Swinging:
    """`θ̇ = (1.5 + sin ωτ) u`: smooth, along one direction, and not that of any flow."""

    direction: Tensor
    frequency: float
    evaluations: int = 0

    def __call__(self, time: float, theta: Tensor) -> Tensor:
        self.evaluations += 1
        return (1.5 + math.sin(self.frequency * time)) * self.direction


def jacobian() -> Tensor:
    """Of outputs (5, 2): 10 × 12, so that two directions of θ are not seen by the outputs."""
    return torch.randn(10, 12, dtype=F64, generator=torch.Generator().manual_seed(0))


def problem(theta: Tensor, residual: float) -> gd.Problem:
    """x = Dθ with weights of the samples, and targets that leave this much of each output."""
    outputs = gd.FunctionMap(lambda at: (jacobian() @ at).view(5, 2), theta)
    return gd.Problem((gd.RowBlock("data", outputs, outputs(theta) - residual, weights=WEIGHTS),))


def weighted_jacobian() -> Array:
    return (WEIGHTS.sqrt().repeat_interleave(2)[:, None] * jacobian()).numpy()


def stages(velocity: Swinging, time: float, theta: Array, h: float) -> Array:
    """The thirteen velocities of one step, by the published coefficients of the pair."""
    k = [velocity(time, torch.from_numpy(theta)).numpy()]
    for c, row in zip(DOP853.C[1:], DOP853.A[1:], strict=False):
        k.append(velocity(time + c * h, torch.from_numpy(theta + h * (row[: len(k)] @ np.array(k)))).numpy())
    end = theta + h * (DOP853.B @ np.array(k))
    return np.array([*k, velocity(time + h, torch.from_numpy(end)).numpy()])


def combined(fifth: Array, third: Array) -> float:
    """`‖e₅‖²/√(‖e₅‖² + 0.01‖e₃‖²)`: the local error by two estimates of it."""
    return float(fifth @ fifth) / math.sqrt(float(fifth @ fifth) + 0.01 * float(third @ third))


def next_length(h: float, error: float) -> float:
    """The step after one whose error is this share of what is allowed, of eighth order."""
    return h * min(10.0, 0.9 * error ** (-1.0 / 8.0))


CASES = {
    # direction of θ, size of θ, left of each output, tolerance, frequency, which error decides
    "the outputs": (0, 1.0, 1.0, 1e-6, 60.0, "outputs"),
    "a smaller tolerance": (0, 1.0, 1.0, 1e-8, 60.0, "outputs"),
    "rounding of the outputs": (0, 1.0, 1e-12, 1e-6, 10.0, "outputs"),
    "theta": (11, 1.0, 1.0, 1e-6, 60.0, "theta"),
    "rounding of theta": (11, 1e10, 1.0, 1e-6, 60.0, "theta"),
}


@pytest.mark.parametrize("remaining", [None, 7.0], ids=["x - y", "of another cost"])
@pytest.mark.parametrize("name", CASES)
def test_the_lengths_of_steps_are_those_of_the_tolerance(name: str, remaining: float | None) -> None:
    """`‖sDe‖ ≤ tol·‖s(x − y)‖/10 + 100 eps ‖sx‖` and `‖e‖ ≤ 10 tol‖Δθ‖ + 100 eps‖θ‖`, at the start of each piece."""
    place, size, residual, tol, frequency, decides = CASES[name]
    rows = weighted_jacobian()
    direction = torch.from_numpy(np.linalg.svd(rows)[2][place].copy())
    theta = size * torch.linspace(0.5, 1.5, 12, dtype=F64)
    asked, velocity = problem(theta, residual), Swinging(direction, frequency)
    other = None if remaining is None else (lambda outputs: torch.full_like(outputs, remaining))
    path = [(0.0, theta), *integrate(asked, velocity, UNTIL, tol=tol, remaining=other)]
    assert velocity.evaluations == PIECES + 1 + 12 * (len(path) - 1)  # no step was refused
    lengths, deciding, piece = [end - begin for (begin, _), (end, _) in pairwise(path)], [], UNTIL / PIECES
    target = asked.target.numpy()
    scale = np.sqrt(np.repeat(WEIGHTS.numpy(), 2))
    for (time, at), h, following in zip(path, lengths, lengths[1:], strict=False):
        if time == 0.0 or round(time / piece, 9) == round(time / piece):
            outputs = jacobian().numpy() @ at.numpy()
            length = np.linalg.norm(scale * (outputs - target if remaining is None else remaining))
            allowed = 0.1 * tol * length + 100.0 * EPS * np.linalg.norm(scale * outputs)
            theta_rounding = 100.0 * EPS * np.linalg.norm(at)
        k = stages(velocity, time, at.numpy(), h)
        fifth, third = k.T @ DOP853.E5, k.T @ DOP853.E3
        errors = {
            "outputs": h * combined(rows @ fifth, rows @ third) / allowed,
            "theta": h * combined(fifth, third) / (10.0 * tol * h * np.linalg.norm(k[0]) + theta_rounding),
        }
        left = piece - (time + h) % piece
        left = piece if left < 1e-9 * piece else left
        expected = min(next_length(h, max(errors.values())), left)
        deciding.append(max(errors, key=errors.__getitem__) if expected < left else "the end of the piece")
        print(name, time, h, following, expected, errors, deciding[-1])
        assert following == pytest.approx(expected, rel=1e-2)
    assert deciding.count(decides) > 20
