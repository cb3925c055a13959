"""A walk along a critical submanifold: the gradient stays zero and the cost constant."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geodescent._budget import budget
from geodescent._errors import InputError
from geodescent._settings import ANY_SEED, POSITIVE, Whole
from geodescent._types import Theta
from geodescent.geometry._critical import CriticalPoint, nearest, walked
from geodescent.geometry._precision import require_double
from geodescent.linalg import norm
from geodescent.outputs import Inputs
from geodescent.problem import Model, gradient, problem_of

HALVINGS = 6  # Times that a step whose correction does not converge is halved.


@dataclass(frozen=True)
class CriticalPath:
    """Points of a critical set, one after the other.

    Attributes:
        theta: (n, K), the start first: the critical point nearest to the model.
        cost: C at each, by a forward pass, (n,).
        gradient: ‖∇C‖ at each, (n,).
        nullity: dim ker ∇²C at each, (n,): the dimension of the set where it is a manifold.
    """

    theta: Tensor
    cost: Tensor
    gradient: Tensor
    nullity: Tensor

    @property
    def length(self) -> float:
        """`Σ‖Δθ‖`."""
        return float((self.theta[1:] - self.theta[:-1]).norm(dim=1).sum())


def critical_manifold(
    model: Model,
    X: Inputs | None = None,
    y: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    direction: Tensor | None = None,
    steps: int = 20,
    step_size: float = 0.01,
    seed: int = 0,
) -> CriticalPath:
    """Walks from a critical point along the kernel of ∇²C, corrected back to ∇C = 0 after every step.

    Args:
        model: as in `gd.fit`, or a whole problem; it stands at a critical point, at zero cost, or where a descent ended
            close by, and is not moved.
        X: its samples.
        y: targets in the outputs' shape.
        weights: w ≥ 0, (N,), of single samples.
        direction: where to set out, (K,); its part in the kernel counts. A random one by default.
        steps: at most; fewer where the set ends, as at a kink or a crossing.
        step_size: of each, relative to max(1, ‖θ‖).
        seed: of the random direction.

    Raises: InputError, where no critical point is near, where no direction is flat, or where K is above 1,500.
    Cost: a Hessian a step, K backward passes, and two to six gradients.
    """
    steps, seed = Whole(20).of("steps", steps), ANY_SEED.of("seed", seed)
    step_size = POSITIVE.such_as(0.01).of("step_size", step_size)
    problem = problem_of(model, X, y, weights, call="geometry.critical_manifold")
    require_double(problem.dtype, "critical_manifold")
    theta = problem.theta
    if len(theta) > budget().hessian_order:
        raise InputError(f"K = {len(theta)} parameters: the Hessian is formed up to {budget().hessian_order}.")
    point = CriticalPoint.at(problem, theta)
    start, reach = nearest(point), step_size * max(1.0, norm(theta))
    if start is None:
        raise InputError(
            f"‖∇C‖ = {norm(gradient(problem, theta)):.2g} beside ‖∇²C‖ = {point.scale:.2g}: this is no critical point, "
            "and Newton's iteration finds none near by. Fit the model to the end first."
        )
    point = start
    if point.nullity == 0:
        raise InputError("∇²C has no kernel here: the critical point is isolated.")
    way, points = (_drawn(theta, seed) if direction is None else direction).double().to(theta.device), [point]
    for _ in range(steps):
        following = _onward(points[-1], way, reach)
        if following is None:
            break
        way = (following.theta - points[-1].theta).double()
        points.append(following)
    return CriticalPath(
        torch.stack([p.theta for p in points]),
        torch.tensor([problem.cost(p.theta) for p in points], dtype=torch.float64, device="cpu"),
        torch.tensor([norm(gradient(problem, p.theta)) for p in points], dtype=torch.float64, device="cpu"),
        torch.tensor([p.nullity for p in points], device="cpu"),
    )


def _drawn(theta: Theta, seed: int) -> Theta:
    """A random direction."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(theta), generator=generator, dtype=torch.float64, device="cpu")


def _onward(point: CriticalPoint, way: Tensor, reach: float) -> CriticalPoint | None:
    """The next point in this direction, nearer where corrections do not converge."""
    tangent = point.kernel @ (point.kernel.T @ way)
    if norm(tangent) == 0.0:
        return None
    for _ in range(HALVINGS):
        theta = walked(point, reach * tangent / norm(tangent))
        if theta is not None:
            return point.moved(theta)
        reach *= 0.5
    return None
