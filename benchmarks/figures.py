"""The two figures: the performance profile, and the cost of a step as N, K and Q grow."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from cases import CASES
from peers import PEERS
from protocol import Line, Protocol
from standing import hardest_target, standing


def performance_profile(protocol: Protocol, lines: list[Line], file: Path) -> None:
    """For each peer, the share of noise-free cases whose hardest target it meets within τ times the best time.

    Source: Dolan and Moré, Benchmarking optimization software with performance profiles, 2002.
    """
    racing = [case for case in protocol.cases if not CASES[case].noisy]
    racing = [case for case in racing if math.isfinite(hardest_target(protocol, lines, case))]
    names = [name for name in protocol.peers if not PEERS[name].absent]
    targets = {case: hardest_target(protocol, lines, case) for case in racing}
    times = np.array([[standing(lines, case, n, targets[case]).median for case in racing] for n in names])
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    if racing:
        ratios = times / times.min(0)
        grid = np.logspace(0, 3, 400)
        for name, own, color in zip(names, ratios, plt.get_cmap("tab20").colors, strict=False):
            share = (own[None, :] <= grid[:, None]).mean(1)
            axes.step(grid, share, where="post", label=name, color=color, linewidth=2.5 if PEERS[name].ours else 1.2)
    axes.set(xscale="log", xlabel="τ: time over the best time", ylabel="share of the noise-free cases", ylim=(0, 1.02))
    axes.set_title("Time to the hardest target of each case")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file, dpi=120)
    plt.close(figure)


def scaling_plot(lines: list[Line], file: Path) -> None:
    """Seconds of a step of `gd.fit` and of Adam against N, K and Q, with the fitted exponents."""
    series = [line for line in lines if line["phase"] == "scaling" and "sizes" in line]
    if not series:
        return
    figure, panels = plt.subplots(1, len(series), figsize=(4.2 * len(series), 4), layout="constrained", squeeze=False)
    for axes, line in zip(panels[0], series, strict=True):
        for name, who, marker in (("fit", "gd.fit", "o"), ("adam", "Adam", "s")):
            label = f"one step of {who}: exponent {line[name + '_exponent']:.2f}"
            axes.loglog(line["sizes"], line[f"{name}_seconds"], marker=marker, label=label)
        axes.set_xticks(line["sizes"], [f"{size:,}" for size in line["sizes"]], rotation=45)
        axes.minorticks_off()
        axes.set(xlabel=line["variable"], ylabel="seconds a step", title=line["what"])
        axes.legend(fontsize="small")
    figure.savefig(file, dpi=120)
    plt.close(figure)
