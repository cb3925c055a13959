"""∇C and ∇²C: by differentiating the outputs twice, or by differences of Dᵀr where a map cannot be traced."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import lanczos_extremes, norm
from geodescent.outputs import Traced
from geodescent.problem._problem import Problem

HESSIAN_LANCZOS = 40  # Products with ∇²C in an estimate of its extreme eigenvalues.
ROWS_TOGETHER = 64  # Rows of the Hessian that are made in one pass.


def gradient(problem: Problem, theta: Theta) -> Theta:
    """`∇C = Dᵀr/N`, (K,), float64. Cost: one backward pass."""
    return curvature_at(problem, theta).gradient.detach().double()


def hessian(problem: Problem, theta: Theta) -> Tensor:
    """`∇²C = (DᵀD + Σᵢ rᵢ∇²xᵢ)/N`, (K, K), float64, symmetric.

    Cost: K backward passes through the gradient, `ROWS_TOGETHER` of them at a time where the module allows it.
    """
    there = curvature_at(problem, theta)
    units = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
    rows = None
    with suppress(RuntimeError):  # of an operation that torch cannot batch
        rows = torch.cat([there.products(part) for part in torch.split(units, ROWS_TOGETHER)])
    if rows is None:
        rows = torch.stack([there.product(unit) for unit in units])
    matrix = rows.double()
    return (matrix + matrix.T) / 2.0


def hessian_extremes(problem: Problem, theta: Theta) -> tuple[float, float]:
    """`(λ_max, an upper bound of λ_min)` of ∇²C, by Lanczos."""
    there = curvature_at(problem, theta)
    start = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu").to(
        theta.device
    )

    def operator(v: Tensor) -> Tensor:
        return there.product(v.to(theta.dtype)).double()

    return (0.0, 0.0) if norm(operator(start)) == 0.0 else lanczos_extremes(operator, start, iterations=HESSIAN_LANCZOS)


@dataclass(frozen=True)
class Curvature:
    """∇C at one θ, and products with ∇²C.

    Attributes:
        gradient: ∇C, (K,).
        product: v ↦ ∇²C v, (K,).
        products: the same of several vectors, (n, K).
    """

    gradient: Theta
    product: Callable[[Theta], Theta]
    products: Callable[[Tensor], Tensor]


def curvature_at(problem: Problem, theta: Theta) -> Curvature:
    """The gradient and the Hessian's products at θ."""
    maps = [block.map for block in problem.blocks if isinstance(block.map, Traced)]
    if len(maps) == len(problem.blocks):
        with suppress(RuntimeError):  # a sparse gradient, which torch cannot differentiate again
            return _traced(problem, maps, theta)
    return _by_differences(problem, theta)


def _traced(problem: Problem, maps: Sequence[Traced], theta: Theta) -> Curvature:
    leaf = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = torch.cat([traced.traced(leaf).reshape(-1) for traced in maps])
        residual = problem.residual_of(outputs, dtype=theta.dtype)
        cost = residual.square().sum() / (2.0 * problem.n_samples)
        (slope,) = torch.autograd.grad(cost, leaf, create_graph=True)

    def differentiated(v: Tensor, *, batched: bool = False) -> Tensor:
        if not slope.requires_grad:
            return torch.zeros_like(v)
        (product,) = torch.autograd.grad(slope, leaf, v, retain_graph=True, allow_unused=True, is_grads_batched=batched)
        return torch.zeros_like(v) if product is None else product.detach()

    def product(v: Theta) -> Theta:
        with suppress(RuntimeError):
            return differentiated(v)
        return _difference(problem, theta, v)  # of an operation that torch can differentiate only once

    return Curvature(slope, product, lambda rows: differentiated(rows, batched=True))


def _by_differences(problem: Problem, theta: Theta) -> Curvature:
    def product(v: Theta) -> Theta:
        return _difference(problem, theta, v)

    return Curvature(_slope(problem, theta), product, lambda rows: torch.stack([product(v) for v in rows]))


def _difference(problem: Problem, theta: Theta, v: Theta) -> Theta:
    """`∇²C v ≈ (∇C(θ + hv) − ∇C(θ − hv))/(2h)`, ‖hv‖ = eps^⅓ of θ's size: eps^⅔ of ∇²C is lost."""
    length = norm(v)
    if length == 0.0:
        return torch.zeros_like(v)
    size = math.pow(torch.finfo(theta.dtype).eps, 1.0 / 3.0) * max(1.0, norm(theta) / math.sqrt(len(theta)))
    step = (size / length) * v
    return (_slope(problem, theta + step) - _slope(problem, theta - step)) * (length / (2.0 * size))


def _slope(problem: Problem, theta: Theta) -> Theta:
    residual, jacobian = problem.linearise(theta)
    return jacobian.rmv(residual) / problem.n_samples
