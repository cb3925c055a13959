"""2.2, 2.3: outputs walk a straight line in finite time, and what takes them off it where rank is lost."""

import math

import numpy as np
import torch
from study import COLOURS, INK, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd

UNTIL = 3.0
Case = tuple[nn.Module, Tensor, Tensor]


def full_rank() -> Case:
    """Forty patients, K = 385."""
    return network(10, 32, 1), *table("diabetes", 40)


def duplicated() -> Case:
    """The same, the first twenty patients twice, with the targets of forty."""
    inputs, targets = table("diabetes", 40)
    return network(10, 32, 1), torch.cat([inputs[:20], inputs[:20]]), targets


def few_parameters() -> Case:
    """Two hundred patients, K = 25."""
    return network(10, 2, 1), *table("diabetes", 200)


CASES = {"full rank": full_rank, "every sample twice": duplicated, "K = 25 < m = 200": few_parameters}


def on_the_line() -> gd.Flow:
    """The first case on two clocks, τ and t; prints how far from the line and from each other they are."""
    ends = []
    for field in (gd.StraightLineField(), gd.AdaptedField()):
        model, inputs, targets = CASES["full rank"]()
        flow = gd.flow(model, inputs, targets, until=UNTIL, tol=1e-8, field=field)
        ends.append(nn.utils.parameters_to_vector(model.parameters()).detach())
    print(
        f"full rank: at most {flow.line_deviation.max():.0e} off the line; way {flow.displacement[-1]:.2f}, certified "
        f"{flow.path_bound[-1]:.2f}, σ_min from {flow.sigma_min.min():.3f} to {flow.sigma_min.max():.3f}."
    )
    apart = float((ends[0] - ends[1]).norm() / ends[1].norm())
    print(
        f"With the vector y − x₀ frozen and t as the clock, up to t = {line_time(flow)[-1]:.4f}: "
        f"θ ends {apart:.0e} of ‖θ‖ away."
    )
    return flow


def off_the_line(name: str) -> tuple[gd.Flow, np.ndarray]:
    """A flow of lost rank, and its deviation's part inside range(D), which came of the range's turning."""
    flow = gd.flow(*CASES[name](), until=UNTIL, tol=1e-8)
    inside = np.sqrt(np.maximum(flow.line_deviation**2 - flow.line_deviation_lost**2, 0.0))
    print(
        f"{name}: off the line by {flow.line_deviation[-1]:.4f}, {flow.line_deviation_lost[-1]:.4f} outside range(D), "
        f"{inside[-1]:.4f} inside; foretold {standing(flow)[-1]:.4f}; C = {flow.cost[-1]:.4f}, F = {flow.floor:.4f}."
    )
    return flow, inside


def line_time(flow: gd.Flow) -> np.ndarray:
    """`t = 1 − e^{−τ}`."""
    return -np.expm1(-flow.time)


def standing(flow: gd.Flow) -> np.ndarray:
    """`t‖(I − P)(x₀ − y)‖/‖x₀ − y‖`, the deviation while P is constant."""
    return line_time(flow) * math.sqrt(flow.floor / flow.cost0)


def main() -> None:
    """Follows the three cases and draws them."""
    torch.set_num_threads(1)  # with matrices of forty rows a second one mostly waits
    figure, (ways, off) = panels("full rank: the way from θ₀, and its bound", "off the straight line, over ‖x₀ − y‖")
    flow = on_the_line()
    t = line_time(flow)
    ways.plot(t, flow.path_bound, color=INK, linewidth=5.0, alpha=0.15, label="‖x₀ − y‖ ∫dt/σ_min, measured on the way")
    ways.plot(t, flow.displacement, ".-", color=COLOURS[0], label="‖θ(t) − θ₀‖")
    off.plot(t, flow.line_deviation, color=COLOURS[0], label="full rank")
    for colour, name in zip(COLOURS[1:], list(CASES)[1:], strict=False):
        flow, inside = off_the_line(name)
        t = line_time(flow)
        off.plot(t, standing(flow), color=colour, linewidth=5.0, alpha=0.2)
        off.plot(t, flow.line_deviation, color=colour, label=name)
    off.plot(t, inside, "--", color=colour, linewidth=1.0, label="… the part of it inside range(D)")
    for axes in (ways, off):
        axes.set_xlabel("time t = 1 − exp(−τ)")
        axes.set_xlim(0.0, 1.0)
        name_lines(axes, loc="upper left")
    off.set_ylim(-0.02, 0.85)
    save(figure, __file__)


if __name__ == "__main__":
    main()
