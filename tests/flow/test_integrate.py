"""The error control of the integrator, read from the lengths of its steps, along velocities that are known."""

import math
from collections.abc import Callable, Iterator
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
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0], dtype=F64)
SCALE = WEIGHTS.sqrt().repeat_interleave(2)
Outputs = Callable[[Tensor], Tensor]


def matrix() -> Tensor:
    """D, 10 × 12, of outputs (5, 2), of rank 10."""
    return torch.randn(10, 12, dtype=F64, generator=torch.Generator().manual_seed(0))


def problem(theta: Tensor, residual: Tensor) -> gd.Problem:
    """x = Dθ with weights of its samples, and targets that leave this residual, (10,)."""
    outputs = gd.FunctionMap(lambda at: (matrix() @ at).view(5, 2), theta)
    target = (matrix() @ theta - residual).view(5, 2)
    return gd.Problem((gd.RowBlock("data", outputs, target, weights=WEIGHTS),))


@dataclass
class Swinging:
    """`θ̇ = (1 + sin 9τ) u + ½ cos(14τ) Bθ̂`, θ̂ the way from the start: smooth, and of no flow."""

    start: Tensor
    along: Tensor
    evaluations: int = 0

    def __call__(self, time: float, theta: Tensor) -> Tensor:
        self.evaluations += 1
        turned = self.along * float(self.along @ (theta - self.start))
        return (1.0 + math.sin(9.0 * time)) * self.along + 0.5 * math.cos(14.0 * time) * turned


def directions() -> dict[str, Tensor]:
    """Of θ: one that the outputs see well, and one that they do not see at all."""
    _, _, right = torch.linalg.svd(matrix())
    return {"seen": right[0], "unseen": right[11]}


def stages(velocity: Swinging, time: float, theta: Array, h: float) -> Array:
    """The thirteen velocities of one step of the pair, by its published coefficients."""

    def at(when: float, where: Array) -> Array:
        return velocity(when, torch.from_numpy(where)).numpy()

    k = [at(time, theta)]
    for c, row in zip(DOP853.C[1:], DOP853.A[1:], strict=False):
        k.append(at(time + c * h, theta + h * (row[: len(k)] @ np.array(k))))
    k.append(at(time + h, theta + h * (DOP853.B @ np.array(k))))
    return np.array(k)


def combined(fifth: Array, third: Array) -> float:
    """`‖e₅‖²/√(‖e₅‖² + 0.01‖e₃‖²)`."""
    return float(fifth @ fifth) / math.sqrt(float(fifth @ fifth) + 0.01 * float(third @ third))


def errors(asked: gd.Problem, velocity: Swinging, tol: float, steps: list[tuple[float, Array]], length: Array):
    """Each step's error against its tolerance: in the outputs, and in θ.

    Args:
        length: what the tolerance of the outputs is a share of, (m,), weighted, at the start of each step's piece.
    """
    rows = SCALE.numpy()[:, None] * matrix().numpy()
    for i, ((time, theta), (end, _)) in enumerate(pairwise(steps)):
        k, h = stages(velocity, time, theta, end - time), end - time
        fifth, third = k.T @ DOP853.E5, k.T @ DOP853.E3
        outputs, at = length[i]
        rounding = 100.0 * EPS * float(np.linalg.norm(rows @ at))
        in_outputs = combined(rows @ fifth, rows @ third) / (0.1 * tol * outputs + rounding)
        way = 10.0 * tol * h * float(np.linalg.norm(k[0]))
        in_theta = combined(fifth, third) / (way + 100.0 * EPS * float(np.linalg.norm(at)))
        yield h * in_outputs, h * in_theta


CASES = {
    # name: direction, size of θ, size of the residual, tolerance, what decides
    "outputs": ("seen", 1.0, 1.0, 1e-6, "outputs"),
    "rounding of the outputs": ("seen", 1.0, 1e-12, 1e-6, "outputs"),
    "θ": ("unseen", 1.0, 1.0, 1e-6, "θ"),
    "rounding of θ": ("unseen", 1e9, 1.0, 1e-6, "θ"),
    "a smaller tolerance": ("seen", 1.0, 1.0, 1e-9, "outputs"),
}
