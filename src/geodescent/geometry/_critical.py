"""The critical set near a critical point: found by leaving along ker ∇²C and correcting back."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.linalg import norm, singular_values
from geodescent.problem import Problem, gradient, hessian

REACH = 1e-2  # Share of the larger of ‖θ‖ and 1: how far a walk goes.
NEARER = 0.05  # Share of `REACH`: how far from where a walk ended the next one goes, to see one branch alone.
FLAT = 1e-8  # Share of ‖∇²C‖ times the way walked: a ‖∇C‖ below it counts as zero.
CHORDS = 12  # Newton steps with one Hessian that a correction may take.
FIRST_DAMPING = 0.1  # Share of ‖∇²C‖²: the damping of the first round of a correction; each round halves it.
DAMPED_ROUNDS = 60  # Rounds of a damped correction: the last damping is 1e-19 of ‖∇²C‖².
WALKS = 6  # Directions that are walked along, where the kernel of ∇²C has as many.
RETURNED = 0.05  # Share of the way walked: what is left of it where there was nowhere to go.
APART = 0.1  # Share of the largest singular value of displacements: those below it are curvature.


@dataclass(frozen=True)
class CriticalPoint:
    """A point where ∇C = 0, with its Hessian decomposed.

    Attributes:
        problem: whose C.
        theta: θ, (K,).
        values, vectors: of ∇²C, ascending; vectors in columns.
        scale: `‖∇²C‖₂` there or a little way off, whichever is larger: what an eigenvalue is small against.
    """

    problem: Problem
    theta: Theta
    values: Tensor
    vectors: Tensor
    scale: float

    @classmethod
    def at(cls, problem: Problem, theta: Theta) -> "CriticalPoint":
        """Decomposes ∇²C there and once a little way off. Cost: 2K backward passes and 12K³ flops."""
        direction = torch.randn(
            len(theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64, device="cpu"
        )
        step = REACH * max(1.0, norm(theta)) * (direction / norm(direction)).to(theta)
        nearby = float(torch.linalg.eigvalsh(hessian(problem, theta + step)).abs().max())
        return cls._decomposed(problem, theta, nearby)

    @classmethod
    def _decomposed(cls, problem: Problem, theta: Theta, least: float) -> "CriticalPoint":
        values, vectors = torch.linalg.eigh(hessian(problem, theta))
        return cls(problem, theta, values, vectors, max(float(values.abs().max()), least))

    def moved(self, theta: Theta) -> "CriticalPoint":
        """The same problem at another θ near by."""
        return self._decomposed(self.problem, theta, self.scale)

    @cached_property
    def flat(self) -> Tensor:
        """Which eigenvalues cannot be distinguished from zero where ∇C is zero to rounding only."""
        level = math.sqrt(torch.finfo(self.theta.dtype).eps) * self.scale
        return self.values.abs() <= level

    @property
    def kernel(self) -> Tensor:
        """An orthonormal basis of ker ∇²C, (K, nullity)."""
        return self.vectors[:, self.flat]

    @property
    def nullity(self) -> int:
        return int(self.flat.sum())

    @property
    def falls(self) -> bool:
        """Whether some direction has negative curvature."""
        return bool((self.values[~self.flat] < 0.0).any())

    def solve(self, g: Theta) -> Theta:
        """`(∇²C)⁺ g`, eigenvalues that are none left out."""
        u = self.vectors[:, ~self.flat]
        return u @ ((u.T @ g.double()) / self.values[~self.flat])


def nearest(point: CriticalPoint) -> CriticalPoint | None:
    """The critical point that Newton's iteration comes to, within `REACH`; None where it comes to none.

    A descent ends a little way before it: what is left lies along small singular values of D.
    """
    start, here, reach = point.theta, point, REACH * max(1.0, norm(point.theta))
    for _ in range(CHORDS):
        g = gradient(here.problem, here.theta)
        if norm(g) <= FLAT * here.scale * reach:
            return here
        theta = here.theta - here.solve(g).to(start.dtype)
        if not norm(theta - start) <= reach:
            return None
        here = here.moved(theta)
    return here if norm(gradient(here.problem, here.theta)) <= FLAT * here.scale * reach else None


def walked(point: CriticalPoint, step: Theta) -> Theta | None:
    """The critical point that lies over θ + step, by corrections across the kernel; None where ∇C stays above zero."""
    theta, enough = point.theta + step.to(point.theta.dtype), FLAT * point.scale * norm(step)
    for _ in range(CHORDS):
        g = gradient(point.problem, theta)
        if norm(g) <= enough:
            return theta
        theta = theta - point.solve(g).to(theta.dtype)
    return None


def settled(point: CriticalPoint, step: Theta) -> CriticalPoint | None:
    """The critical point that a descent of ‖∇C‖ comes to from θ + step; None where it comes to none.

    `θ ← θ − (H² + μ)⁻¹H∇C`, μ halved each round: Newton's iteration alone would go back to a crossing from anywhere.
    """
    theta, damping = point.theta + step.to(point.theta.dtype), FIRST_DAMPING
    here = point.moved(theta)
    for _ in range(DAMPED_ROUNDS):
        g = gradient(point.problem, theta)
        if norm(g) <= FLAT**2 * point.scale * norm(step):
            break
        largest = float(here.values.square().max())
        if largest == 0.0:
            break
        shrunk = here.values / (here.values.square() + damping * largest)
        theta = theta - (here.vectors @ (shrunk * (here.vectors.T @ g))).to(theta.dtype)
        damping, here = 0.5 * damping, point.moved(theta)
    arrived = norm(gradient(point.problem, theta)) <= FLAT * point.scale * norm(step)
    return here if arrived else None


def dimension_at(point: CriticalPoint, *, seed: int = 0) -> int:
    """The dimension of the critical set at a point, found by walking.

    Where every direction of the kernel leads to critical points it is the nullity (Morse–Bott). Elsewhere the set is
    met from some points of the kernel (`settled`), and its dimension is that at the points met: the point
    itself may be a crossing, or the only one.
    """
    if point.nullity == 0:
        return 0
    generator = torch.Generator().manual_seed(seed)
    reach = REACH * max(1.0, norm(point.theta))
    steps = [_drawn(point, reach, generator) for _ in range(WALKS)]
    if all(walked(point, step) is not None for step in steps):
        return point.nullity
    met = [settled(point, step) for step in steps]
    away = [other for other in met if other is not None and norm(other.theta - point.theta) > RETURNED * reach]
    smooth = [other.nullity for other in away if _is_smooth(other, NEARER * reach, generator)]
    dimension = max(smooth or [_spread(other, NEARER * reach, generator) for other in away], default=0)
    return min(dimension, point.nullity)


def _is_smooth(point: CriticalPoint, reach: float, generator: torch.Generator) -> bool:
    """Whether the set is a manifold there whose tangent space is the kernel; a crossing, where one was met, is not."""
    return all(walked(point, _drawn(point, reach, generator)) is not None for _ in range(min(WALKS, point.nullity)))


def _spread(point: CriticalPoint, reach: float, generator: torch.Generator) -> int:
    """The rank of the displacements from there that survive correction, where the kernel is larger than the set."""
    met = [settled(point, _drawn(point, reach, generator)) for _ in range(point.nullity + WALKS)]
    ways = [(other.theta - point.theta).double() for other in met if other is not None]
    sigma = singular_values(torch.stack(ways)) if ways else torch.zeros(1, device="cpu")
    return int((sigma > APART * sigma[0]).sum()) if float(sigma[0]) > RETURNED * reach else 0


def _drawn(point: CriticalPoint, reach: float, generator: torch.Generator) -> Theta:
    """A random step of this length in the kernel."""
    kernel = point.kernel
    direction = torch.randn(kernel.shape[1], generator=generator, dtype=torch.float64, device="cpu").to(kernel.device)
    return reach * (kernel @ (direction / norm(direction)))
