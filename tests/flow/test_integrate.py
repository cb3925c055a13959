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


@dataclass(frozen=True)
class Swinging:
    """`θ̇ = (1.5 + sin ωτ) u`: smooth, along one direction, and not that of any flow."""

    direction: Tensor
    frequency: float

    def __call__(self, time: float, theta: Tensor) -> Tensor:
        return (1.5 + math.sin(self.frequency * time)) * self.direction

    def of_array(self, time: float, theta: Array) -> Array:
        return self(time, torch.from_numpy(theta)).numpy()


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
    k = [velocity.of_array(time, theta)]
    for c, row in zip(DOP853.C[1:], DOP853.A[1:], strict=False):
        k.append(velocity.of_array(time + c * h, theta + h * (row[: len(k)] @ np.array(k))))
    end = theta + h * (DOP853.B @ np.array(k))
    return np.array([*k, velocity.of_array(time + h, end)])


def combined(fifth: Array, third: Array) -> float:
    """`‖e₅‖²/√(‖e₅‖² + 0.01‖e₃‖²)`: the local error by two estimates of it."""
    return float(fifth @ fifth) / math.sqrt(float(fifth @ fifth) + 0.01 * float(third @ third))


@dataclass(frozen=True)
class Allowed:
    """What a step may be off by, worked out at the start of a piece of the path."""

    rows: Array
    outputs: float
    way: float
    theta: float

    def errors(self, velocity: Swinging, time: float, theta: Array, h: float) -> dict[str, float]:
        """Shares of what is allowed: in the outputs, and in θ."""
        k = stages(velocity, time, theta, h)
        fifth, third = h * (k.T @ DOP853.E5), h * (k.T @ DOP853.E3)
        way = h * float(np.linalg.norm(k[0]))
        return {
            "outputs": combined(self.rows @ fifth, self.rows @ third) / self.outputs,
            "theta": combined(fifth, third) / (self.way * way + self.theta),
        }

    def taken(self, velocity: Swinging, time: float, theta: Array, h: float) -> tuple[float, float, str]:
        """The step that is taken where this one is tried, the next to be tried, and which error decided."""
        most = 10.0
        while (errors := self.errors(velocity, time, theta, h)) and max(errors.values()) >= 1.0:
            h, most = h * max(0.2, 0.9 * max(errors.values()) ** (-1.0 / 8.0)), 1.0
        following = h * min(most, 0.9 * max(errors.values()) ** (-1.0 / 8.0))
        return h, following, max(errors, key=errors.__getitem__)


CASES = {
    # direction of θ, size of θ, left of each output, tolerance, frequency, which error decides
    "the outputs": (0, 1.0, 1.0, 1e-6, 60.0, "outputs"),
    "a smaller tolerance": (0, 1.0, 1.0, 1e-8, 60.0, "outputs"),
    "rounding of the outputs": (0, 1.0, 1e-12, 1e-6, 10.0, "outputs"),
    "theta": (11, 1.0, 1.0, 1e-6, 60.0, "theta"),
    "rounding of theta": (11, 1e10, 1.0, 1e-6, 60.0, "theta"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("remaining", [None, 1e-3], ids=["x - y", "of another cost"])
def test_the_lengths_of_steps_are_those_of_the_tolerance(name: str, remaining: float | None) -> None:
    """`‖sDe‖ ≤ tol·‖s(x − y)‖/10 + 100 eps‖sx‖` and `‖e‖ ≤ 10 tol‖Δθ‖ + 100 eps‖θ‖`, at the start of each piece."""
    place, size, residual, tol, frequency, decides = CASES[name]
    rows, scale = weighted_jacobian(), np.sqrt(np.repeat(WEIGHTS.numpy(), 2))
    _, sigma, right = np.linalg.svd(rows)
    theta, velocity = (
        size * torch.linspace(0.5, 1.5, 12, dtype=F64),
        Swinging(torch.from_numpy(right[place]), frequency),
    )
    asked = problem(theta, residual)
    other = None if remaining is None else (lambda outputs: torch.full_like(outputs, remaining))
    path = [(0.0, theta), *integrate(asked, velocity, UNTIL, tol=tol, remaining=other)]

    def allowed(at: Array) -> Allowed:
        outputs = jacobian().numpy() @ at
        length = float(np.linalg.norm(scale * (outputs - asked.target.numpy() if remaining is None else remaining)))
        rounding = 100.0 * EPS * float(np.linalg.norm(scale * outputs))
        return Allowed(rows, 0.1 * tol * length + rounding, 10.0 * tol, 100.0 * EPS * float(np.linalg.norm(at)))

    ends, deciding, tolerance = [UNTIL * k / PIECES for k in range(1, PIECES + 1)], [], allowed(theta.numpy())
    first = {"rtol": 100.0 * EPS, "atol": tolerance.outputs / (sigma[0] * 12.0**0.5)}
    planned = DOP853(velocity.of_array, 0.0, theta.numpy(), ends[0], **first).h_abs
    for (time, at), (end, _) in pairwise(path):
        if time == ends[0]:
            ends, tolerance = ends[1:], allowed(at.numpy())
        tried = min(planned, ends[0] - time)
        h, planned, which = tolerance.taken(velocity, time, at.numpy(), tried)
        assert end - time == pytest.approx(h, rel=2e-3)
        deciding.append(which if h < ends[0] - time else "the end of a piece")
    assert deciding.count(decides) > PIECES
