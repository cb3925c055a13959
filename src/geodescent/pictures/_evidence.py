"""The picture of a search for the most probable numbers of prior and noise."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodescent.pictures._curves import BLUE, FAINT, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_evidence(costs: NDArray[np.float64], *, kept: int, title: str) -> "Figure":
    """Minus log evidence over the evaluations, which may be negative: the axis is linear.

    Args:
        costs: a number for each evaluation that was better than all before it.
        kept: place of the numbers that were kept.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.6, 4.2), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes, places = figure.subplots(), np.arange(1, len(costs) + 1)
    axes.plot(places, costs, color=BLUE, marker="o", markersize=3.2, linewidth=1.3)
    axes.plot(places[kept], costs[kept], color=ORANGE, marker="D", markersize=7.0)
    axes.annotate("kept", (float(places[kept]), float(costs[kept])), (0, 9), textcoords="offset points", color=INK)
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=10, parse_math=False)
    axes.set_xlabel("evaluation", color=INK)
    axes.set_ylabel("minus log evidence, but for a constant", color=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
