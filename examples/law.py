"""1.1, 1.2: the cost of three networks on three data sets, beside the one curve that was known beforehand."""

import math

import numpy as np
from study import COLOURS, INK, name_lines, network, panels, save, table
from torch import nn

import geodescent as gd

TARGET = 1e-8  # of C₀
CASES = {
    "wine, tanh 13-64-3": lambda: (network(13, 64, 3), *table("wine", 60)),
    "diabetes, SiLU 10-24-24-24-1": lambda: (network(10, 24, 24, 24, 1, act=nn.SiLU), *table("diabetes", 80)),
    "breast cancer, GELU 30-40-2": lambda: (network(30, 40, 2, act=nn.GELU), *table("breast_cancer", 40)),
}


def main() -> None:
    """Follows the flows, prints how far each is from the law, and draws them."""
    figure, (costs, off) = panels("cost over its start", "off the law, relative")
    line = np.linspace(0.0, 0.5 * math.log(1.0 / TARGET), 100)
    costs.semilogy(line, np.exp(-2.0 * line), color=INK, linewidth=5.0, alpha=0.15, label="exp(−2τ), known beforehand")
    for colour, (name, case) in zip(COLOURS, CASES.items(), strict=False):
        model, inputs, targets = case()
        before = 0.5 * float((model(inputs).detach() - targets).square().sum()) / len(inputs)
        stop = gd.stopping_time(before, TARGET * before)
        flow = gd.flow(model, inputs, targets, until=stop)
        costs.semilogy(flow.time, flow.cost / flow.cost0, ".", color=colour, markersize=4, label=name)
        off.semilogy(flow.time[1:], np.abs(flow.cost / flow.predicted_cost - 1.0)[1:], color=colour)
        print(
            f"{name}: C = {flow.cost0:.3f} at the start; {TARGET:g} of it foretold for τ = {stop:.3f}, "
            f"there {flow.cost[-1] / flow.cost0:.9e}; at most {flow.max_relative_deviation:.0e} off the law."
        )
    costs.set_xlabel("time τ, e-folds of the residual")
    off.set_xlabel("time τ")
    name_lines(costs)
    save(figure, __file__)


if __name__ == "__main__":
    main()
