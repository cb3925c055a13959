"""1.3: pairs of real samples brought closer: the cost keeps its curve, the parameters go further."""

import math

import numpy as np
import torch
from study import BLUE, INK, ORANGE, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd

PAIRS = 12
UNTIL = 0.5 * math.log(1e6)  # to a millionth of C₀
CASES = {  # name: gaps, colour, marker
    "last layer": ((1.0, 1e-1, 1e-2, 1e-3, 1e-4), BLUE, "o"),
    "all layers": ((1.0, 1e-1, 1e-2, 3e-3), ORANGE, "s"),
}


def pairs(gap: float) -> tuple[Tensor, Tensor]:
    """Diabetes, the second sample of each pair moved towards the first, to this share of their distance."""
    inputs, targets = table("diabetes", 2 * PAIRS)
    first, second = inputs[:PAIRS], inputs[PAIRS:]
    return torch.cat([first, first + gap * (second - first)]), targets


def net(kind: str) -> nn.Sequential:
    """10-40-1 at torch's start; where the last layer alone is trained, x is linear in θ and D stands still."""
    model = network(10, 40, 1)
    model[0].requires_grad_(kind == "all layers")
    return model


def main() -> None:
    """Follows the flows, prints the ends of each series, and draws all."""
    figure, (costs, way) = panels("cost over its start, all flows", "way of the parameters, ‖θ − θ₀‖ at C/C₀ = 1e-6")
    line = np.linspace(0.0, UNTIL, 100)
    costs.semilogy(line, np.exp(-2.0 * line), color=INK, linewidth=5.0, alpha=0.15, label="exp(−2τ)")
    for kind, (gaps, colour, marker) in CASES.items():
        flows = [gd.flow(net(kind), *pairs(gap), until=UNTIL) for gap in gaps]
        sigma = np.array([flow.sigma_min[0] for flow in flows])
        moved = np.array([flow.displacement[-1] for flow in flows])
        bound = np.array([flow.path_bound[-1] for flow in flows])
        for k, flow in enumerate(flows):  # each flow a part of the dots, so that all can be seen
            shown = slice(k, None, len(flows))
            label = f"{kind}, {len(flows)} flows" if k == 0 else None
            fall = flow.cost[shown] / flow.cost0
            costs.semilogy(flow.time[shown], fall, marker, color=colour, markersize=5, fillstyle="none", label=label)
        way.loglog(sigma, bound, ":", color=colour, label=f"{kind}: bound")
        way.loglog(sigma, moved, "-", marker=marker, color=colour, markersize=4, label=f"{kind}: measured")
        off = max(flow.max_relative_deviation for flow in flows)
        slope = np.polyfit(np.log(sigma), np.log(moved), 1)[0]
        print(
            f"{kind}: gap {gaps[0]:g} to {gaps[-1]:g}, σ_min at the start {sigma[0]:.2g} to {sigma[-1]:.2g}: all costs "
            f"on exp(−2τ), at most {off:.0e} off."
        )
        print(
            f"  ‖θ − θ₀‖ {moved[0]:.3g} to {moved[-1]:.3g}, like σ_min^{slope:.2f}; bound "
            f"{bound[0]:.3g} to {bound[-1]:.3g}; at the smallest gap σ_min ends at {flows[-1].sigma_min[-1]:.2g}."
        )
    costs.set_xlabel("time τ, e-folds of the residual")
    way.set_xlabel("σ_min(D) at the start; samples brought closer →")
    way.invert_xaxis()
    for axes in (costs, way):
        axes.minorticks_off()
    name_lines(costs)
    name_lines(way)
    save(figure, __file__)


if __name__ == "__main__":
    main()
