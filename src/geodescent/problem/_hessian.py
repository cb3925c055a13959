"""∇C and ∇²C, by differentiating the outputs twice."""

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import lanczos_extremes, norm
from geodescent.problem._problem import Problem

HESSIAN_LANCZOS = 40
TOGETHER = 64  # rows of the Hessian made in one pass


def gradient(problem: Problem, theta: Theta) -> Theta:
    """`∇C = Dᵀr/N`, (K,), float64. Cost: one backward pass."""
    return _attached(problem, theta)[1].detach().double()


def hessian(problem: Problem, theta: Theta) -> Tensor:
    """`∇²C = (DᵀD + Σᵢ rᵢ∇²xᵢ)/N`, (K, K), float64, by differentiating twice.

    Cost: K backward passes through the gradient, `TOGETHER` of them at a time where the module allows it.
    """
    leaf, slope = _attached(problem, theta)
    units = torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
    try:
        rows = torch.cat([_product(slope, leaf, part, batched=True) for part in units.split(TOGETHER)])
    except RuntimeError:  # an operation that torch cannot batch
        rows = torch.stack([_product(slope, leaf, unit) for unit in units])
    matrix = rows.double()
    return (matrix + matrix.T) / 2.0


def hessian_extremes(problem: Problem, theta: Theta) -> tuple[float, float]:
    """`(λ_max, an upper bound of λ_min)` of ∇²C, by Lanczos."""
    leaf, slope = _attached(problem, theta)
    start = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(theta.device)

    def operator(v: Tensor) -> Tensor:
        return _product(slope, leaf, v.to(theta.dtype)).double()

    return (0.0, 0.0) if norm(operator(start)) == 0.0 else lanczos_extremes(operator, start, iterations=HESSIAN_LANCZOS)


def _attached(problem: Problem, theta: Theta) -> tuple[Theta, Theta]:
    """θ as a leaf, and ∇C(θ) attached to the graph."""
    leaf = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        outputs = torch.cat(
            [b.map.function.outputs(b.map.function.views(leaf), b.map.inputs).reshape(-1) for b in problem.blocks]
        )
        residual = problem.residual(outputs)
        scaled = residual if problem.row_scale is None else residual * problem.row_scale.to(theta.dtype)
        cost = scaled.square().sum() / (2.0 * problem.n_samples)
        (slope,) = torch.autograd.grad(cost, leaf, create_graph=True)
    return leaf, slope


def _product(slope: Theta, leaf: Theta, v: Tensor, *, batched: bool = False) -> Tensor:
    """`∇²C v`, (K,), or of the rows of v, (n, K)."""
    if not slope.requires_grad:
        return torch.zeros_like(v)
    (found,) = torch.autograd.grad(slope, leaf, v, retain_graph=True, allow_unused=True, is_grads_batched=batched)
    return torch.zeros_like(v) if found is None else found.detach()
