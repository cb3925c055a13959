"""1.8: what a finite step leaves of the law, the damped lift by its two routes, and the linear model's cost."""

import math

import numpy as np
import torch
from study import COLOURS, INK, name_lines, network, panels, save, table
from torch import nn

import geodescent as gd

STEPS = np.logspace(-5.0, 0.0, 21)  # h
SMALL = STEPS < 1e-3  # where the slope is measured
DAMPINGS = (1e-8, 1e-4, 1.0, 1e4)  # of ‖D‖_F²/m
CASES = {
    "wine, tanh 13-64-3": lambda: (network(13, 64, 3), *table("wine", 60)),
    "diabetes, SiLU 10-24-24-24-1": lambda: (network(10, 24, 24, 24, 1, act=nn.SiLU), *table("diabetes", 80)),
    "breast cancer, GELU 30-40-2": lambda: (network(30, 40, 2, act=nn.GELU), *table("breast_cancer", 40)),
}


def off_the_law(problem: gd.Problem) -> np.ndarray:
    """`‖r(θ + hv) − (1 − h)r‖/‖r‖` for each h, v the adapted velocity."""
    residual, jacobian = problem.linearise(problem.theta)
    velocity = gd.GramLift().prepare(jacobian).lift(-residual, damping=0.0).velocity
    after = [(h, problem.residual(problem.theta + h * velocity)) for h in STEPS]
    return np.array([float((r - (1.0 - h) * residual).norm() / residual.norm()) for h, r in after])


def routes(problem: gd.Problem) -> tuple[float, float]:
    """How far the two routes to `D_μr` are apart, and μz from r + Dv, over all dampings, relative."""
    residual, jacobian = problem.linearise(problem.theta)
    gram = jacobian.gram()
    by_gram, by_normal = gd.GramLift().prepare(jacobian), gd.NormalLift().prepare(jacobian)
    apart, free = [], []
    for damping in (relative * by_gram.mean_square for relative in DAMPINGS):
        v, w = (lift.lift(-residual, damping=damping).velocity for lift in (by_gram, by_normal))
        z = torch.linalg.solve(gram + damping * torch.eye(len(gram)).double(), residual)
        apart.append(float((v - w).norm() / v.norm()))
        free.append(float((residual + jacobian.mv(v) - damping * z).norm() / residual.norm()))
    return max(apart), max(free)


def fitted(h: float, lift: gd.GramLift | gd.NormalLift) -> gd.Solution:
    """A fit of the wine network by Euler steps of h, judged by the gain ratio."""
    model, inputs, targets = CASES["wine, tanh 13-64-3"]()
    method = gd.Method(walk=gd.EulerWalk(h), lift=lift, control=gd.GainRatio())
    return gd.fit(model, inputs, targets, method=method, max_steps=25)


def main() -> None:
    """Measures one step of each h, then fits by steps of three sizes and by both routes."""
    figure, (one, many) = panels("off (1 − h)(x − y) after one step, relative", "cost over its start, step by step")
    for colour, (name, case) in zip(COLOURS, CASES.items(), strict=False):
        problem = gd.Problem.of(*case())
        off = off_the_law(problem)
        slope = np.polyfit(np.log(STEPS[SMALL]), np.log(off[SMALL]), 1)[0]
        apart, free = routes(problem)
        one.loglog(STEPS, off, ".-", color=colour, label=name, linewidth=1.0)
        print(
            f"{name}: off by {off[0] / STEPS[0] ** 2:.2g}·h^{slope:.3f} for h < 1e-3, by {off[-1]:.1e} at h = 1; "
            f"the routes are {apart:.0e} apart, r + Dv and μz {free:.0e}."
        )
    one.loglog(STEPS, 10.0 * STEPS**2, color=INK, linewidth=5.0, alpha=0.15, label="10 h²")
    last = []
    for colour, h in zip(COLOURS, (0.25, 0.5, 1.0), strict=False):
        history = fitted(h, gd.GramLift()).history
        cost = history["cost"]
        last.append(math.sqrt(cost[-1] / cost[-2]))
        many.semilogy(history["step"], cost / cost[0], ".-", color=colour, label=f"h = {h:g}")
    twin = fitted(1.0, gd.NormalLift()).history
    many.semilogy(twin["step"], twin["cost"] / cost[0], "o", color=INK, fillstyle="none", label="h = 1, by DᵀD")
    same = int((cost > 1e-20).sum())  # the last costs are rounding
    apart = np.abs(twin["cost"][:same] / cost[:same] - 1.0).max()
    gains = ", ".join(f"{rho:.4f}" for rho in history["gain_ratio"][1:5])
    print(f"Fits: the last step of h = 0.25 leaves {last[0]:.4f} of the residual, that of h = 0.5 {last[1]:.4f}.")
    print(
        f"h = 1: C = {cost[-1]:.0e} after {len(cost) - 1} steps, gain ratios {gains}, …; by the other route "
        f"costs above 1e-20 are the same to {apart:.0e}."
    )
    one.minorticks_off()
    one.set_xlabel("step size h")
    many.set_xlabel("step")
    many.set_ylim(1e-33, 10.0)
    name_lines(one)
    name_lines(many)
    save(figure, __file__)


if __name__ == "__main__":
    main()
