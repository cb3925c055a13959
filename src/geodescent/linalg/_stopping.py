"""Rules for when an iterative solve may stop."""

import math
from collections.abc import Callable

from torch import Tensor

from geodescent.linalg._sums import dot, row_dot, row_norm

Enough = Callable[[Tensor, Tensor, float], bool]
"""Whether to stop, decided from the solution, its residual ρ and `⟨ρ, Mρ⟩`, M the preconditioner."""

STEP_ITERATIONS = 15.0
"""Iterations: linearisation, factors and trial of a step cost as much as this many of them (docs/decisions.md)."""
LEAST_ITERATIONS = 2  # Iterations: fewer hardly leave the starting point.
SEEN = 1e-6  # Share of φ(0): a smaller fall of φ is too small to judge a solve by.


def residual_test(b: Tensor, *, tol: float, within: float = 0.0) -> Enough:
    """Stops at ‖ρ‖ ≤ max(tol·‖b‖, within), for a solution over rows."""
    small = max(tol * row_norm(b), within)
    return lambda z, residual, rho: row_norm(residual) <= small


def gap_test(b: Tensor, *, damping: float, slack: float) -> Enough:
    """For `(BBᵀ + μ) z = b`, z over rows: stops where the duality gap is below slack²·φ and slack²·(φ(0) − φ).

    At v = Bᵀz, `φ(v) = ‖Bv − b‖² + μ‖v‖²` is `‖ρ‖² + μ⟨z, b + ρ⟩`, and the gap, an upper bound on the difference
    between φ(v) and its minimum, is exactly ‖ρ‖².
    """
    energy = row_dot(b, b)

    def enough(z: Tensor, residual: Tensor, rho: float) -> bool:
        gap = row_dot(residual, residual)
        left = gap + damping * (row_dot(z, b) + row_dot(z, residual))
        return gap <= slack**2 * min(left, energy - left)

    return enough


def fall_test(tol: float) -> Enough:
    """Stops where ⟨ρ, Mρ⟩ is at most `tol` times its first value."""
    first = list[float]()

    def enough(z: Tensor, residual: Tensor, rho: float) -> bool:
        first.append(rho)
        return rho <= tol * first[0]

    return enough


def either(*tests: Enough) -> Enough:
    """Stops where one of the tests does."""
    return lambda z, residual, rho: any(test(z, residual, rho) for test in tests)


class Pace:
    """For `(BᵀB + μ) x = b = Bᵀv`: stops where further iterations gain less than a new step would.

    The step lowers φ(x) = ‖Bx − v‖² + μ‖x‖² from φ(0) = ‖v‖². Its average gain is ln φ(0)/φ(x), divided by its
    iterations and `STEP_ITERATIONS` more. Where each of the last iterations, a quarter of all and two more, gained less
    than this average, a new linearisation is the better use of the time (Charnov's marginal value theorem). The rule
    does not apply before φ has fallen by `SEEN`; `enough` does not apply before `LEAST_ITERATIONS` either.

    Args:
        b: Bᵀv, (K,).
        energy: φ(0).
        enough: a fall of ln φ that is sufficient to stop.

    Attributes:
        seen: whether φ has fallen by `SEEN`.
    """

    def __init__(self, b: Tensor, energy: float, *, enough: float = math.inf) -> None:
        self._b, self._energy, self._enough, self._falls = b, energy, enough, list[float]()
        self.seen = False

    def __call__(self, x: Tensor, residual: Tensor, rho: float) -> bool:
        left = self._energy - dot(x, self._b) - dot(x, residual)
        if not left > 0.0:
            return True
        fall = math.log(self._energy / left)
        self._falls.append(fall)
        count = len(self._falls) - 1
        window = 2 + count // 4
        self.seen = fall >= SEEN
        if self.seen and fall >= self._enough and count >= LEAST_ITERATIONS:
            return True
        if count <= window or not self.seen:
            return False
        recent = (fall - self._falls[count - window]) / window
        return recent <= fall / (count + STEP_ITERATIONS)
