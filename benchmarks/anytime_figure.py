"""The figure of the any-time benchmark: cost against time in gradients, one panel a case."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from anytime_curves import at
from anytime_peers import FIRST, FULL_BATCH, IN_BATCHES, LAST, PLAIN, SUITED
from anytime_standing import CaseLines
from matplotlib.ticker import LogFormatter

COLUMNS = 4
EARLIEST = 5.0  # Gradients: where the panels begin.
STYLES: dict[str, dict] = {
    PLAIN: {"color": "C3", "linewidth": 3.0, "zorder": 5},
    SUITED: {"color": "C3", "linewidth": 1.8, "linestyle": (0, (4, 1.5)), "zorder": 4},
    IN_BATCHES: {"color": "black", "linewidth": 1.8, "zorder": 3},
} | {name: {"color": f"C{k + 3 * (k > 2)}", "linewidth": 1.1} for k, name in enumerate(FULL_BATCH)}


class PlainLog(LogFormatter):
    """Labels the ticks between powers of ten where its base class would, but as 0.2 and not as 2e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of one tick."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def figure(cases: list[CaseLines], file: Path) -> None:
    """Medians over the seeds; both axes logarithmic."""
    rows = math.ceil(len(cases) / COLUMNS)
    columns = min(COLUMNS, len(cases))
    drawn, panels = plt.subplots(rows, columns, figsize=(3.6 * columns, 3.2 * rows + 0.7), squeeze=False)
    for axes, one in zip(panels.flat, cases, strict=False):
        times = np.geomspace(EARLIEST, LAST[one.case], 400)
        for name, style in STYLES.items():
            if curve := one.curve(name):
                axes.step(times, [at(curve, time) for time in times], where="post", label=name, **style)
        axes.axvline(FIRST, color="0.6", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", title=one.case, xlim=(EARLIEST, LAST[one.case]))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(PlainLog(minor_thresholds=(1.0, 0.3)))
        axes.set_xlabel("time in full-batch gradients")
        axes.set_ylabel("cost of all samples")
    for axes in panels.flat[len(cases) :]:
        axes.set_visible(False)
    named = {label: part for axes in panels.flat for part, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    named = {name: named[name] for name in STYLES if name in named}
    drawn.legend(
        named.values(), named, fontsize="small", loc="lower center", ncols=min(math.ceil(len(named) / 2), 2 * columns)
    )
    drawn.tight_layout(rect=(0.0, 0.7 / (3.2 * rows + 0.7) * 0.8, 1.0, 1.0))
    drawn.savefig(file, dpi=110)
    plt.close(drawn)
