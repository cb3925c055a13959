"""The output flow of a convex cost, lifted in the Euclidean metric or that of its own Hessian."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Outputs, Theta
from geodescent.costs import OutputCost
from geodescent.flow import Array, Velocity, is_finite, path_of
from geodescent.jacobian import Jacobian
from geodescent.lift import PlannedLift
from geodescent.outputs import Inputs, SampleMap
from geodescent.problem import Problem

OutputMetric = Literal["euclidean", "hessian"]
MetricRows = Callable[[OutputCost, Tensor, Tensor, Jacobian], tuple[Jacobian, Outputs]]


@dataclass(frozen=True)
class CostPath:
    """The path of a convex cost's flow, at every accepted step; the model is left at its end.

    Attributes:
        time: τ.
        cost: C, by a forward pass.
        gradient: `‖N∇ₓC‖`; in the Hessian's metric it falls as e^{−τ} where D keeps full row rank.
        outputs: x, (T, N, Q).
    """

    time: Array
    cost: Array
    gradient: Array
    outputs: Array


def cost_flow(
    model: nn.Module,
    X: Inputs,
    y: Tensor,
    *,
    cost: OutputCost,
    metric: OutputMetric = "euclidean",
    until: float,
    tol: float = 1e-9,
    max_seconds: float = math.inf,
) -> CostPath:
    """Integrates the gradient flow of a convex cost of the outputs, `dx/dτ = −N∇ₓC` or `−H⁺N∇ₓC`, lifted by D⁺.

    In the Euclidean metric `dθ/dτ = −D⁺N∇ₓC`: each sample's outputs follow their own gradient flow, whatever the
    network, while D keeps full row rank. In the metric of the Hessian H = N∇ₓ²C, one Q × Q block a sample,
    `dθ/dτ = −(H^{½}D)⁺H^{−½}N∇ₓC`, the generalised Gauss–Newton direction `(DᵀHD)⁺Dᵀ(−N∇ₓC)`: then
    `∇ₓC(τ) = e^{−τ}∇ₓC(0)`, so that under cross-entropy the probabilities walk a straight line to the labels'. For the
    squared error both are the adapted flow. Where the gradient leaves range(H), as beyond Huber's quadratic part, that
    part of it is not followed; where H all but vanishes, as under confident wrong predictions, the flow turns stiff.

    Args:
        model: as in `gd.fit`.
        X: its samples.
        y: targets in the outputs' shape, as the cost takes them: see `gd.costs`.
        cost: such as `gd.costs.CrossEntropy()`.
        metric: of output space, "euclidean" or "hessian".
        until: τ > 0. In the Euclidean metric the rates are the eigenvalues of H: under cross-entropy slow where
            probabilities are small.
        tol: as in `gd.flow`.
        max_seconds: bound of the run; the path then ends at the time it came to.

    Raises:
        InputError: for targets outside the cost's domain.
        ArithmeticError: where no step size keeps the tolerance; the model is then as it was.

    Cost: as of a flow; in the Hessian's metric N eigendecompositions of Q × Q more an evaluation.
    """
    if metric not in _ROWS:
        raise InputError(f'metric must be "euclidean" or "hessian", not {metric!r}.')
    outputs = SampleMap(model, X)
    problem = Problem.over(outputs, y)
    targets = problem.blocks[0].target.double()
    cost.require(targets)

    def gradient(x: Outputs) -> Outputs:
        return cost.gradient(x.view_as(targets).double(), targets).reshape(-1)

    velocity = _velocity(outputs, targets, cost, _ROWS[metric])
    times, points = path_of(problem, velocity, until, tol=tol, max_seconds=max_seconds, remaining=gradient)
    problem.write(points[-1])
    path = torch.stack([outputs(theta).double() for theta in points])
    costs = torch.tensor([cost.value(x, targets) for x in path], dtype=torch.float64, device="cpu")
    gradients = torch.stack([cost.gradient(x, targets).norm() for x in path])
    return CostPath(times, costs.numpy(), gradients.cpu().numpy(), path.cpu().numpy())


def _velocity(outputs: SampleMap, targets: Tensor, cost: OutputCost, rows: MetricRows) -> Velocity:
    lift = PlannedLift().for_flow()

    def velocity(time: float, theta: Theta) -> Theta:
        x, jacobian = outputs.linearise(theta)
        if not is_finite(x.reshape(-1), jacobian) or not bool(cost.gradient(x.double(), targets).isfinite().all()):
            return torch.full_like(theta, torch.nan)
        lifted, wanted = rows(cost, x.double(), targets, jacobian.to(torch.float64))
        return lift.prepare(lifted).lift(wanted, damping=0.0).velocity

    return velocity


def _euclidean(cost: OutputCost, outputs: Tensor, targets: Tensor, jacobian: Jacobian) -> tuple[Jacobian, Outputs]:
    """`D` and `−N∇ₓC`."""
    return jacobian, -cost.gradient(outputs, targets).reshape(-1)


def _by_hessian(cost: OutputCost, outputs: Tensor, targets: Tensor, jacobian: Jacobian) -> tuple[Jacobian, Outputs]:
    """`H^{½}D` and `−(H^{½})⁺N∇ₓC`, by the eigenvectors of each sample's block."""
    values, vectors = torch.linalg.eigh(cost.hessian(outputs, targets))
    kept = values > values.shape[1] * torch.finfo(values.dtype).eps * values[:, -1:]
    root = torch.where(kept, values, 0.0).sqrt()
    inverse = torch.where(kept, 1.0 / torch.where(kept, root, 1.0), 0.0)
    along = inverse * (vectors.mT @ cost.gradient(outputs, targets)[:, :, None])[:, :, 0]
    return jacobian.mixed(vectors * root[:, None]), -along.reshape(-1)


_ROWS: dict[str, MetricRows] = {"euclidean": _euclidean, "hessian": _by_hessian}
