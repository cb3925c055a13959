"""curve.png: the measured cost beside the one known beforehand, under the names that say which prediction it is."""

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodescent._record import History

if TYPE_CHECKING:  # matplotlib takes half a second, so it is imported when a picture is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#22272e", "#d5dae0"
BLUE, ORANGE, GREEN = "#1b5e9e", "#d9730d", "#3a8f5c"
LINE = 31.0  # Pixels from one name of a curve to the next.
COST = "cost  C = ‖x − y‖² / 2N"
SCALED_COST = f"{COST}  (scaled target units²)"


@dataclass(frozen=True)
class Curve:
    """One line of the picture: its name, its points and how it is drawn."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    colour: str
    style: str = "-"
    marker: str = ""
    width: float = 1.8


def draw_fit(
    history: History,
    *,
    cost0: float,
    target_cost: float | None,
    title: str,
    y_label: str = SCALED_COST,
    figure: "Figure | None" = None,
) -> "Figure":
    """The picture of a descent: log cost over accepted steps.

    Args:
        history: equal-length columns step, cost, predicted (C_lin of each step) and
            validation_cost (NaN where unknown).
        cost0: the cost at the start, step 0.
        target_cost: drawn as a thin line; None leaves it out.
        title: one line above the picture.
        y_label: what the cost is measured in.
        figure: where it is drawn; a new one by default.
    """
    steps = history["step"]
    later = steps > 0
    start = np.concatenate([[0.0], steps[later]])
    curves = [
        Curve("linear model's cost C_lin", steps[later], history["predicted"][later], ORANGE, "--", "", 1.3),
        Curve("validation cost", steps, history["validation_cost"], GREEN),
        Curve("measured cost", start, np.concatenate([[cost0], history["cost"][later]]), BLUE, marker="o"),
    ]
    figure = _figure(4.6) if figure is None else figure
    axes = figure.add_subplot()
    _draw(axes, curves, y_label=y_label, target_cost=target_cost)
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=10)
    axes.set_xlabel("accepted step", color=INK)
    return figure


def draw_flow(
    columns: Mapping[str, NDArray[np.float64]],
    *,
    floor: float,
    title: str,
    y_label: str = SCALED_COST,
    figure: "Figure | None" = None,
) -> "Figure":
    """The picture of a flow over time τ: log cost beside the predicted law, and the way off the straight line.

    Args:
        columns: equal-length arrays of a Flow: time, cost, predicted_cost, line_deviation, line_deviation_lost.
        floor: of the predicted law; above 0 where the Jacobian lacks rank, and the curve is named so.
        title: one line above the picture.
        y_label: what the cost is measured in.
        figure: where it is drawn; a new one by default.
    """
    time = columns["time"]
    name = "predicted cost" if floor == 0.0 else f"predicted cost, floor {floor:.1e}"
    costs = [
        Curve(name, time, columns["predicted_cost"], ORANGE, width=2.4),
        Curve("measured cost", time, columns["cost"], BLUE, "none", "o"),
    ]
    off = [
        Curve("off the line", time, columns["line_deviation"], BLUE),
        Curve("lost with the rank", time, columns["line_deviation_lost"], GREEN, "--"),
    ]
    figure = _figure(6.2) if figure is None else figure
    above, below = figure.subplots(2, sharex=True, height_ratios=(2.2, 1.0))
    _draw(above, costs, y_label=y_label)
    _draw(below, off, y_label="off the line, of ‖x₀ − y‖")
    above.set_title(title, loc="left", fontsize=10, color=INK, pad=10)
    below.set_xlabel("time τ  (e-folds of the residual)", color=INK)
    return figure


def png(figure: "Figure") -> bytes:
    """The picture as the content of a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _figure(height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw(axes: "Axes", curves: Sequence[Curve], *, y_label: str, target_cost: float | None = None) -> None:
    """Curves on a log axis, their names at their right ends."""
    shown = [curve for curve in (_drawable(curve) for curve in curves) if len(curve.x)]
    _dress(axes, y_label)
    _set_window(axes, shown, target_cost)
    for curve in shown:
        (line,) = axes.plot(curve.x, curve.y, color=curve.colour, marker=curve.marker, markersize=3.2)
        line.set(linestyle=curve.style, linewidth=curve.width)
    if target_cost:
        from matplotlib import transforms

        axes.axhline(target_cost, color=INK, linewidth=0.7, linestyle=(0, (1, 3)))
        above = transforms.offset_copy(axes.get_yaxis_transform(), axes.get_figure(root=True), y=3, units="points")
        axes.text(0.012, target_cost, "target", transform=above, fontsize=8, color=INK)
    _label_ends(axes, shown)


def _drawable(curve: Curve) -> Curve:
    """The points that a log axis can show."""
    kept = np.isfinite(curve.y) & (curve.y > 0.0)
    return Curve(curve.name, curve.x[kept], curve.y[kept], curve.colour, curve.style, curve.marker, curve.width)


def _dress(axes: "Axes", y_label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_yscale("log")
    axes.set_ylabel(y_label, color=INK)
    axes.grid(axis="y", which="major", color=FAINT, linewidth=0.7)
    axes.tick_params(colors=INK, which="both", length=3, width=0.6)
    axes.minorticks_off()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _set_window(axes: "Axes", curves: Sequence[Curve], target_cost: float | None) -> None:
    """Half a decade around what was measured; a C_lin of 1e-30 would flatten everything that matters."""
    measured = [curve.y for curve in curves if not curve.name.startswith("linear")] or [np.array([1.0])]
    heights = np.concatenate([*measured, [target_cost] if target_cost else []])
    axes.set_ylim(heights.min() / 3.0, heights.max() * 3.0)
    last = max((float(curve.x[-1]) for curve in curves), default=1.0)
    axes.set_xlim(0.0, last if last > 0.0 else 1.0)


def _label_ends(axes: "Axes", curves: Sequence[Curve]) -> None:
    """The curves' names at their right ends, pushed apart where they would overlap."""
    bottom, top = np.log(axes.get_ylim())
    heights = [float(np.clip((np.log(curve.y[-1]) - bottom) / (top - bottom), 0.0, 1.0)) for curve in curves]
    for curve, height in zip(curves, _spread(heights, gap=LINE / axes.bbox.height), strict=True):
        axes.text(1.015, height, curve.name, transform=axes.transAxes, color=curve.colour, fontsize=9, va="center")


def _spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """The heights, moved up as little as keeps them `gap` apart, and down again where they would leave the top."""
    order = np.argsort(heights, kind="stable")
    placed = np.array(heights, dtype=np.float64)
    for lower, upper in itertools.pairwise(order):
        placed[upper] = max(placed[upper], placed[lower] + gap)
    overflow = max(0.0, float(placed.max(initial=0.0)) - 1.0)
    moved: list[float] = (placed - overflow).tolist()
    return moved
