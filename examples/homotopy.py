"""2.1: from ordinary gradient flow, α = 1, to the adapted flow, α = 0: the rates of the modes and the cost."""

import math

import numpy as np
import torch
from study import COLOURS, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import HomotopyLift, HomotopyPath, homotopy

ALPHAS = (1.0, 0.1, 0.01, 0.0)
UNTIL = 6.0
STEP = 1e-5  # of ‖θ‖: half the way between the two forward passes of a difference


def case() -> tuple[nn.Module, Tensor, Tensor]:
    """Thirty wines, standardised, and a tanh network at torch's start."""
    return network(13, 32, 3), *table("wine", 30)


def rates(problem: gd.Problem, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """σ, the measured rate of each mode's residual, and the law's; D̃ = D/s, s = ‖D‖_F/√m."""
    residual, jacobian = problem.linearise(problem.theta)
    dense = jacobian.dense()
    left, sigma, _ = torch.linalg.svd(dense * math.sqrt(len(dense)) / dense.norm(), full_matrices=False)
    velocity = HomotopyLift(alpha).for_flow().prepare(jacobian).lift(-residual, damping=0.0).velocity
    h = STEP * float(problem.theta.norm() / velocity.norm())
    ahead, behind = (problem.outputs(problem.theta + way * velocity) for way in (h, -h))
    measured = -(left.T @ (ahead - behind)) / (2.0 * h * (left.T @ residual))
    return sigma.numpy(), measured.numpy(), (sigma**2 / (alpha + (1.0 - alpha) * sigma**2)).numpy()


def arrival(path: HomotopyPath) -> str:
    """When the cost is at a thousandth of its start, between steps on a logarithmic line."""
    fallen = -np.log(path.cost / path.cost[0])
    if fallen[-1] < math.log(1e3):
        return f"later than τ = {path.time[-1]:g}"
    return f"at τ = {np.interp(math.log(1e3), fallen, path.time):.2f}"


def main() -> None:
    """Measures the rates at the start, then follows the flows."""
    torch.set_num_threads(1)  # with matrices of ninety rows a second one mostly waits
    figure, (modes, costs) = panels("rate of each mode at the start", "cost over its start")
    problem = gd.Problem.of(*case())
    for colour, alpha in zip(COLOURS, ALPHAS, strict=False):
        sigma, measured, law = rates(problem, alpha)
        off = np.abs(measured / law - 1.0).max()
        modes.loglog(sigma, law, color=colour, linewidth=5.0, alpha=0.15)
        modes.loglog(sigma, measured, ".", color=colour, markersize=3, label=f"α = {alpha:g}")
        path = homotopy(*case(), alpha=alpha, until=UNTIL, tol=1e-6)
        costs.semilogy(path.time, path.cost / path.cost[0], color=colour, label=f"α = {alpha:g}")
        print(
            f"α = {alpha:g}: {len(sigma)} modes, rates {measured.min():.4f} to {measured.max():.4f}, at most {off:.0e} "
            f"off σ²/(α+(1−α)σ²); a thousandth of the cost {arrival(path)}."
        )
    path = homotopy(*case(), alpha=lambda time: math.exp(-2.0 * time), until=UNTIL, tol=1e-6)
    costs.semilogy(path.time, path.cost / path.cost[0], "--", color=COLOURS[4], label="α = exp(−2τ)")
    late = path.time > UNTIL - 1.0
    rate = np.polyfit(path.time[late], -np.log(path.cost[late]), 1)[0]
    print(
        f"α = exp(−2τ): a thousandth {arrival(path)}; over the last unit of τ the cost's rate is {rate:.3f}, "
        f"the adapted flow's being 2; s = {path.scale:.2f}."
    )
    modes.set_xlabel("singular value σ of D/s")
    costs.set_xlabel("time τ")
    name_lines(modes, loc="lower right")
    name_lines(costs, loc="lower left")
    save(figure, __file__)


if __name__ == "__main__":
    main()
