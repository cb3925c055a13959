"""Pictures of any run: which inputs matter, how the fit went, and how it compares with baselines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodescent.app.report._drawing import MUTED, dress, inline_svg, tick_text, window
from geodescent.app.report._facts import Comparison, Floats
from geodescent.app.report._markup import Picture, counted, escaped, isolated, numeral, shortened
from geodescent.pictures import BLUE, FAINT, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_INPUTS = 15  # That are drawn; the rest is counted.
LONGEST_INPUT_NAME = 26  # Characters beside a bar.
LONGEST_AXIS_LABEL = 40  # Characters along the height of the history's picture.
DECADE = 10.0  # Ratio of the largest to the least cost from which on the axis is logarithmic.
STANDARD_ERRORS = 2.0  # Each side of a difference: about 95 % where rows are many.
MOST_MARKED_POINTS = 60  # Of a history: more would hide the line between them.
COUNTERS = {"step": "step", "evaluation": "evaluation", "evaluations": "evaluation", "iteration": "iteration"}
"""Columns of a history that may be its horizontal axis, with its label; otherwise its rows are counted."""


def importance_picture(importance: Mapping[str, float]) -> Picture:
    """The fitted scales of the inputs, the largest first."""
    ranked = sorted(importance.items(), key=lambda pair: -abs(pair[1]) if np.isfinite(pair[1]) else np.inf)
    shown, rest = ranked[:MOST_INPUTS], ranked[MOST_INPUTS:]

    def paint(picture: "Figure") -> None:
        axes = picture.add_subplot()
        values = np.nan_to_num(np.abs([value for _, value in shown]), posinf=0.0)
        places = np.arange(len(shown))
        axes.barh(places, values, height=0.62, color=BLUE)
        for place, (_, value) in enumerate(shown):
            axes.text(values[place], place, f" {numeral(value)}", va="center", fontsize=7.0, color=MUTED)
        dress(axes, x_label="fitted scale s", y_label="", x_ticks=5)
        axes.set_yticks(places, [shortened(name, LONGEST_INPUT_NAME) for name, _ in shown])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.14 * float(values.max()) or 1.0)

    told = ", ".join(f"{shortened(name, LONGEST_INPUT_NAME)} {numeral(value)}" for name, value in shown)
    description = f"Fitted scales of {counted(len(ranked), 'input')}, the largest first: {told}."
    caption = f"How to read it: the longer the bar, the more the prediction bends along that input. {_rest(rest)}"
    height = 0.75 + 0.21 * max(len(shown), 2)
    return Picture(inline_svg(paint, height=height, key="importance", description=description), caption)


def history_picture(history: Mapping[str, Floats], kept: int, axis: str) -> Picture:
    """What was minimised, over the steps, with the kept point marked; the axis is that of the data."""
    costs = np.asarray(history["cost"], dtype=np.float64)
    counter, label = _counter(history, len(costs))
    finite = np.isfinite(costs)
    is_kept = 0 <= kept < len(costs) and bool(finite[kept])
    logarithmic = _spans_a_decade(costs[finite])

    def paint(picture: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = picture.add_subplot()
        dress(axes, x_label=label, y_label=shortened(axis, LONGEST_AXIS_LABEL))
        _scale(axes, costs[finite], logarithmic)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        marker = "o" if len(costs) <= MOST_MARKED_POINTS else ""
        axes.plot(counter[finite], costs[finite], marker=marker, color=BLUE, linewidth=1.2, markersize=3.0)
        axes.set_xlim(*window(counter, 0.03))
        if is_kept:
            _mark_kept(axes, counter[kept], costs[kept])

    svg = inline_svg(paint, height=2.7, key="history", description=_told_history(costs, counter, label, kept, is_kept))
    caption = "How to read it: the lower, the better"
    caption += "; the orange diamond is the point that was kept." if is_kept else "; the kept point is not among these."
    if logarithmic:
        caption += " Each line of the axis is a multiple of the one below it: the scale is logarithmic."
    if missing := int(np.sum(~finite)):
        caption += f" {counted(missing, 'point')} without a finite number {'is' if missing == 1 else 'are'} left out."
    return Picture(svg, caption)


def comparisons_picture(comparisons: tuple[Comparison, ...], error: str) -> Picture:
    """The run's error minus that of each baseline, with two standard errors each side."""
    differences = np.array([comparison.difference for comparison in comparisons])
    spreads = STANDARD_ERRORS * np.array([comparison.standard_error for comparison in comparisons])
    spreads = np.where(np.isfinite(spreads), spreads, 0.0)
    names = [shortened(comparison.name, LONGEST_INPUT_NAME) for comparison in comparisons]

    def paint(picture: "Figure") -> None:
        axes = picture.add_subplot()
        dress(axes, x_label=f"{error} of this run minus that of the baseline", y_label="")
        axes.axvline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        for place, (difference, spread) in enumerate(zip(differences, spreads, strict=True)):
            better, worse = difference + spread < 0.0, difference - spread > 0.0
            colour, marker = (BLUE, "o") if better else (ORANGE, "s") if worse else (MUTED, "D")
            axes.plot([difference - spread, difference + spread], [place, place], color=colour, linewidth=1.4)
            axes.plot([difference], [place], marker, color=colour, markersize=5.0)
        axes.set_yticks(np.arange(len(names)), names)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(*window(np.concatenate([differences - spreads, differences + spreads, [0.0]])))

    told = "; ".join(
        f"{name}: {numeral(c.difference)} with a standard error of {numeral(c.standard_error)}"
        for name, c in zip(names, comparisons, strict=True)
    )
    caption = (
        "How to read it: left of the dashed line this run is better, right of it the baseline is. Bars are two "
        "standard errors each side; where a bar crosses the line (grey diamonds), the test cannot tell the two apart."
    )
    description = f"{error.capitalize()} of this run minus that of the baselines: {told}."
    height = 0.75 + 0.27 * max(len(names), 2)
    return Picture(inline_svg(paint, height=height, key="baselines", description=description), caption)


def _rest(rest: list[tuple[str, float]]) -> str:
    """What is said of inputs that are not drawn."""
    if not rest:
        return ""
    if len(rest) == 1:
        return f"One more input, {isolated(rest[0][0])}, has a scale of {escaped(numeral(rest[0][1]))}."
    largest = escaped(numeral(abs(rest[0][1])))
    return f"{len(rest):,} more inputs have scales of {largest} or less and are not drawn."


def _counter(history: Mapping[str, Floats], n: int) -> tuple[Floats, str]:
    """The horizontal axis: a column that counts, or the number of the row."""
    for column, label in COUNTERS.items():
        values = np.asarray(history.get(column, []), dtype=np.float64)
        if len(values) == n and np.isfinite(values).all():
            return values, label
    return np.arange(1.0, n + 1.0), "point"


def _spans_a_decade(costs: Floats) -> bool:
    """Whether all costs are above 0, and the largest is more than ten times the least."""
    return len(costs) > 1 and bool(costs.min() > 0.0) and bool(costs.max() > DECADE * costs.min())


def _scale(axes: "Axes", costs: Floats, logarithmic: bool) -> None:
    if not logarithmic:
        axes.set_ylim(*window(costs))
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    few = np.log10(costs.max()) - np.log10(costs.min()) < 2.0
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(tick_text))
    axes.set_ylim(costs.min() / 1.5, costs.max() * 1.5)


def _mark_kept(axes: "Axes", x: float, y: float) -> None:
    axes.plot([x], [y], "D", color=ORANGE, markersize=6.5, markeredgecolor="white", zorder=3)
    low, high = axes.get_xlim()
    left = x > 0.5 * (low + high)
    shift = (-7, 12) if left else (7, 12)
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.7}  # the curve is seen through it
    axes.annotate(
        f"kept: {numeral(y)}",
        (x, y),
        shift,
        textcoords="offset points",
        ha="right" if left else "left",
        fontsize=7.0,
        bbox=behind,
    )


def _told_history(costs: Floats, counter: NDArray[np.float64], label: str, kept: int, is_kept: bool) -> str:
    finite = costs[np.isfinite(costs)]
    if not len(finite):
        return "No point of the fit has a finite number."
    text = f"{counted(len(costs), 'point')} of the fit, from {numeral(finite[0])} to {numeral(finite[-1])}"
    return f"{text}; kept is {label} {numeral(counter[kept])} with {numeral(costs[kept])}." if is_kept else f"{text}."
