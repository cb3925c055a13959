"""Parameters that enter linearly are solved for at every point, and steps see what they leave: variable projection."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._deadline import FORWARD_PASS, SMALL_SHARE, in_time, measuring
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Block, BlockJacobian, DenseColumns, Jacobian, require_room
from geodescent.linalg import svd
from geodescent.problem import Problem

MOST_PARAMS = 64  # Parameters: each is asked for by two forward passes.
LINEAR = 1e-13  # Share of ‖x‖: second differences below it are rounding.
NO_RISE = 1e-9  # Share of C: a linear solve whose cost rises by more was none, and is not used.


@dataclass(frozen=True)
class Separated:
    """`B = (B_S, B_N)` at a point, S the parameters that enter linearly: `B_S = U σ Vᵀ diag(c)`, c the column norms.

    Attributes:
        linear: which entries of θ are S, a mask (K,).
        left, values, right: U, σ and Vᵀ, without what is rounding.
        scale: c.
        others: B_N, (m, K − |S|).

    Source: Golub & Pereyra (1973), in the form of Kaufman (1975), which leaves out the derivative of U.
    """

    linear: Tensor
    left: Tensor
    values: Tensor
    right: Tensor
    scale: Tensor
    others: Tensor

    @classmethod
    def of(cls, jacobian: Jacobian, linear: Tensor) -> "Separated | None":
        """None where D is not finite."""
        dense = jacobian.dense()
        if not bool(torch.isfinite(dense).all()):
            return None
        require_room(2.0 * dense.numel(), dense, "the columns of the parameters that enter linearly, and the others")
        part = dense[:, linear]
        norms = part.norm(dim=0)
        scale = torch.where(norms > 0.0, norms, 1.0)
        left, values, right = svd(part / scale)
        keep = values > max(part.shape) * torch.finfo(values.dtype).eps * values[0]
        return cls(linear, left[:, keep], values[keep], right[keep], scale, dense[:, ~linear])

    def solve(self, v: Outputs) -> Tensor:
        """`B_S⁺ v`, (|S|,)."""
        return (self.right.T @ ((self.left.T @ v) / self.values)) / self.scale

    def reduced(self) -> Jacobian:
        """`(I − UUᵀ) B_N`: the derivative of what S leaves of the residual; columns of S are zero."""
        require_room(3.0 * self.others.numel(), self.others, "what the parameters that enter linearly leave of D")
        rest = self.others - self.left @ (self.left.T @ self.others)
        rounding = max(self.others.shape) * torch.finfo(rest.dtype).eps * self.others.norm(dim=0)
        rest = torch.where(rest.norm(dim=0) > rounding, rest, 0.0)  # no column where S makes up for all of it
        index = (~self.linear).nonzero()[:, 0]
        block = Block((DenseColumns(rest[:, None], index, "the parameters that do not enter linearly"),), len(rest), 1)
        return BlockJacobian((block,), len(self.linear), rest.dtype, rest.device)

    def completed(self, velocity: Theta) -> Theta:
        """The velocity with that of S which keeps S solved for, `v_S = −B_S⁺ B_N v_N`."""
        whole = velocity.clone()
        whole[self.linear] = -self.solve(self.others @ velocity[~self.linear])
        return whole


def settled(problem: Problem, theta: Theta, linear: Tensor, dtype: torch.dtype) -> Theta:
    """θ with S solved for: one linearisation and a forward pass; θ itself where that does not lower the cost."""
    residual, jacobian = problem.linearise(theta, dtype=dtype)
    separated = Separated.of(jacobian, linear)
    if separated is None or not bool(torch.isfinite(residual).all()):
        return theta
    moved = theta.clone()
    moved[linear] -= separated.solve(residual).to(theta.dtype)
    return moved if problem.cost(moved) <= problem.cost_of(residual) * (1.0 + NO_RISE) else theta


def linear_entries(problem: Problem) -> Tensor | None:
    """S, a mask (K,): entries of θ in which x is affine, all of them together, by second differences near θ.

    None where there are none, where x is affine in all of θ, and with more than `MOST_PARAMS` parameters.

    Cost: two forward passes a parameter.
    """
    theta = problem.theta
    if len(theta) > MOST_PARAMS:
        return None
    generator, linear = torch.Generator().manual_seed(0), torch.zeros(len(theta), dtype=torch.bool, device="cpu")
    sizes = torch.where(theta == 0.0, 1.0, theta.abs()).double().cpu()
    with measuring(FORWARD_PASS, problem.device):
        here = problem.outputs(theta).double()
    if not in_time(0.0, "parameters that enter linearly", forward_passes=2.0 * len(theta), share=SMALL_SHARE):
        return None
    for j in range(len(theta)):
        tried = linear.clone()
        tried[j] = True
        signs = 2.0 * torch.randint(0, 2, (len(theta),), generator=generator, device="cpu") - 1.0
        lengths = (
            (1.0 + torch.rand(sizes.shape, generator=generator, dtype=sizes.dtype, device=sizes.device)) * sizes * signs
        )
        direction = torch.where(tried, lengths, 0.0).to(theta)
        if _is_affine(problem, theta, direction, here):
            linear = tried
    some = 0 < int(linear.sum()) < len(theta)
    return linear.to(theta.device) if some else None


def _is_affine(problem: Problem, theta: Theta, direction: Theta, here: Outputs) -> bool:
    """Whether `x[θ + u] − 2x[θ] + x[θ − u]` is rounding."""
    ahead, behind = problem.outputs(theta + direction).double(), problem.outputs(theta - direction).double()
    size = ahead.abs() + behind.abs() + 2.0 * here.abs()
    rounding = LINEAR * torch.finfo(theta.dtype).eps / torch.finfo(torch.float64).eps
    return bool(((ahead - here) + (behind - here)).norm() <= rounding * size.norm())
