"""1.4: fewer parameters than numbers to fit: where the flow comes to rest, and how fast, beside the curvature there."""

import numpy as np
import torch
from study import BLUE, INK, ORANGE, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd
from geodescent.problem import gradient, hessian

SAMPLES = 150
CASES = {"tanh 10-1-1": (nn.Tanh, BLUE, "o"), "SiLU 10-1-1": (nn.SiLU, ORANGE, "s")}
AWAY = 1e-5  # ‖D(θ₀ − θ*)‖ over ‖x* − y‖
STEPS = 5  # of the flow, over which a mode's rate is measured: later it runs along slower ones
UNTIL = 4.0  # of τ, for the curve of the slowest mode
TICKS = (0.5, 1, 2, 5, 10, 20)


def settle(problem: gd.Problem) -> None:
    """Newton's method from where a fit ends, to the digits' end of the critical point."""
    for _ in range(4):
        theta = problem.theta
        problem.write(theta - torch.linalg.solve(hessian(problem, theta), gradient(problem, theta)))


def modes(problem: gd.Problem) -> tuple[np.ndarray, Tensor]:
    """Eigenvalues `1 − κ‖x* − y‖` of (DᵀD)⁻¹(DᵀD + Σ rᵢ∇²xᵢ), ascending, and eigenvectors of ‖Dv‖ = 1, as rows."""
    right = torch.linalg.inv(torch.linalg.qr(problem.linearise(problem.theta)[1].dense()).R)
    rates, vectors = torch.linalg.eigh(right.T @ (problem.n_samples * hessian(problem, problem.theta)) @ right)
    return rates.numpy(), (right @ vectors).T


def excess(problem: gd.Problem, direction: Tensor, until: float, steps: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Times of the flow from a little off the minimum, and C − C* there; of so many steps alone, where told."""

    def enough(record: object) -> None:
        if record.step == steps:
            raise StopIteration

    rest = problem.theta
    problem.write(rest + AWAY * float(problem.residual(rest).norm()) * direction)
    flow = gd.flow(problem, until=until, callback=enough if steps else None)
    problem.write(rest)
    return flow.time, flow.cost - problem.cost(rest)


def main() -> None:
    """Fits, moves a little off along each mode, follows the flow back, and prints and draws the rates."""
    inputs, targets = table("diabetes", SAMPLES)
    figure, (falls, rates) = panels("C − C* over its start, along the slowest mode", "rate of return, every mode")
    for name, (act, colour, marker) in CASES.items():
        model = network(10, 1, 1, act=act)
        gd.fit(model, inputs, targets)
        problem = gd.Problem.of(model, inputs, targets)
        settle(problem)
        predicted, vectors = modes(problem)
        residual, jacobian = problem.linearise(problem.theta)
        along = torch.linalg.qr(jacobian.dense()).Q.T @ residual
        print(
            f"{name}, K = {len(predicted)}, m = {SAMPLES}: at rest at C* = {problem.cost_of(residual):.4f}, where "
            f"‖P(x − y)‖ is {float(along.norm() / residual.norm()):.0e} of ‖x − y‖."
        )
        found = np.empty(len(predicted))
        for k, rate in enumerate(predicted):
            time, above = excess(problem, vectors[k], 0.5 / rate, STEPS)
            found[k] = 0.5 * np.log(above[0] / above[-1]) / time[-1]
        print(
            f"{name}: slowest rate {predicted[0]:.4f}, measured {found[0]:.4f}; fastest {predicted[-1]:.4f}, measured "
            f"{found[-1]:.4f}; all within {np.abs(found / predicted - 1.0).max():.0e}."
        )
        time, above = excess(problem, vectors[0], UNTIL)
        falls.semilogy(time, above / above[0], marker, color=colour, markersize=4, label=f"{name}, measured")
        line = np.exp(-2.0 * predicted[0] * time)
        falls.semilogy(time, line, color=colour, linewidth=1.0, label=f"rate {predicted[0]:.3f}, predicted")
        rates.loglog(predicted, found, marker, color=colour, markersize=5, fillstyle="none", label=name)
    ends = (0.4, 40.0)
    rates.loglog(ends, ends, color=INK, linewidth=5.0, alpha=0.15, label="as predicted")
    rates.set_xticks(TICKS, map(str, TICKS))
    rates.set_yticks(TICKS, map(str, TICKS))
    rates.minorticks_off()
    falls.set_xlabel("time τ")
    rates.set_xlabel("predicted, 1 − κ‖x* − y‖")
    rates.set_ylabel("measured")
    name_lines(falls)
    name_lines(rates)
    save(figure, __file__)


if __name__ == "__main__":
    main()
