"""Pictures of a regression: measured against predicted, and what is left over."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodescent.app.report._drawing import BARS, MOST_VECTOR_POINTS, drawn_rows, dress, inline_svg, window
from geodescent.app.report._facts import Floats, TestRows
from geodescent.app.report._markup import Picture, counted, escaped, level_name, numeral, percent, shortened
from geodescent.app.report._metrics import inside_intervals, metrics_of
from geodescent.pictures import BLUE, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST_AXIS_NAME = 34  # Characters of a name that fit beside an axis.
MOST_STRETCH = 2.0  # Times the span of the measured values: intervals beyond it are cut, or they would hide the points.
AREA_OF_MANY, AREA_OF_FEW = 6.0, 16.0
"""Areas of a point, in square points of print: of 2,000 rows, and of up to 100."""


def measured_against_predicted(rows: TestRows, target: str) -> Picture:
    """Each test row at its prediction and its measured value, with its interval where there is one."""
    places = drawn_rows(len(rows.measured))
    name = shortened(target, LONGEST_AXIS_NAME)

    def paint(picture: "Figure") -> None:
        axes = picture.add_subplot()
        dress(axes, x_label=f"predicted {name}", y_label=f"measured {name}")
        low, high = _height(rows, places)
        axes.set_xlim(*window(rows.mean[places]))
        axes.set_ylim(low, high)
        span = np.array(axes.get_xlim())
        axes.plot(span, span, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="measured = predicted", zorder=1)
        _draw_intervals(axes, rows, places)
        _draw_points(axes, rows, places, rows.measured)
        axes.legend(loc="best", handletextpad=0.4)

    svg = inline_svg(paint, height=3.7, key="measured", description=_description(rows, target))
    return Picture(svg, f"{_how_to_read(rows)} {_drawn_sentence(len(rows.measured))}")


def residuals_picture(rows: TestRows) -> Picture:
    """Measured minus predicted, beside the prediction and counted."""
    residuals = rows.measured - rows.mean
    places = drawn_rows(len(residuals))

    def paint(picture: "Figure") -> None:
        left, right = picture.subplots(1, 2, sharey=True, width_ratios=(3.0, 1.0))
        dress(left, x_label="predicted", y_label="measured − predicted")
        dress(right, x_label="rows", y_label="", x_ticks=3)
        for axes in (left, right):
            axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        _draw_points(left, rows, places, residuals)
        left.set_xlim(*window(rows.mean[places]))
        low, high = window(np.append(residuals, 0.0))
        left.set_ylim(low, high)
        finite = residuals[np.isfinite(residuals)]
        bins = np.linspace(low, high, _bins(len(finite)) + 1)
        right.hist(finite, bins=bins.tolist(), orientation="horizontal", color=BLUE, alpha=0.75, edgecolor="white")

    quartiles = np.nanquantile(residuals, [0.25, 0.5, 0.75]) if np.isfinite(residuals).any() else [np.nan] * 3
    first, middle, third = (numeral(float(value)) for value in quartiles)
    description = (
        f"Residuals, measured minus predicted, of {counted(len(residuals), 'test row')}: "
        f"half of them lie between {first} and {third}, their median is {middle}."
    )
    caption = (
        "How to read it: an even cloud around the dashed line is what chance leaves; a bend or a fan in it is "
        f"something that the fit has missed. Half of the residuals lie between {first} and {third}. "
        f"{_drawn_sentence(len(residuals))}"
    )
    return Picture(inline_svg(paint, height=2.7, key="residuals", description=description), caption)


def _draw_intervals(axes: "Axes", rows: TestRows, places: NDArray[np.int64]) -> None:
    if rows.lower is None or rows.upper is None:
        return
    width = 1.4 if len(places) <= 150 else 0.7
    label = f"{level_name(rows.level)} interval"
    lines = axes.vlines(rows.mean[places], rows.lower[places], rows.upper[places], color=BARS, linewidth=width)
    lines.set(label=label, zorder=0.5, rasterized=len(places) > MOST_VECTOR_POINTS)


def _draw_points(axes: "Axes", rows: TestRows, places: NDArray[np.int64], heights: Floats) -> None:
    """Dots, and triangles of another colour for rows outside of their interval."""
    inside = inside_intervals(rows)
    share = min(1.0, max(0.0, (len(places) - 100) / 1_900))
    area = AREA_OF_FEW + share * (AREA_OF_MANY - AREA_OF_FEW)
    kinds = [("test row", "o", BLUE, np.ones(len(places), dtype=np.bool_))]
    if inside is not None:
        within = inside[places]
        kinds = [("inside its interval", "o", BLUE, within), ("outside", "^", ORANGE, ~within)]
    for label, marker, colour, chosen in kinds:
        if chosen.any():
            x, y = rows.mean[places][chosen], heights[places][chosen]
            points = axes.scatter(x, y, s=area * (1.5 if marker == "^" else 1.0), marker=marker, color=colour)
            points.set(linewidth=0.4, edgecolor="white", label=label, zorder=2)
            points.set_rasterized(len(places) > MOST_VECTOR_POINTS)


def _height(rows: TestRows, places: NDArray[np.int64]) -> tuple[float, float]:
    """Ends of the vertical axis: all points, and the intervals as long as these leave the points their room."""
    points = np.concatenate([rows.measured[places], rows.mean[places]])
    low, high = window(points)
    if rows.lower is None or rows.upper is None:
        return low, high
    wide = window(np.concatenate([points, rows.lower[places], rows.upper[places]]))
    room = (MOST_STRETCH - 1.0) * (high - low) / 2.0
    return max(wide[0], low - room), min(wide[1], high + room)


def _bins(n: int) -> int:
    """Of a histogram: about √n, between 5 and 30."""
    return int(np.clip(np.sqrt(n), 5, 30))


def _description(rows: TestRows, target: str) -> str:
    found = metrics_of(rows)
    text = (
        f"Measured against predicted {shortened(target)} of {counted(len(rows.measured), 'test row')}: "
        f"root mean square error {numeral(found['rmse'])}, R² {numeral(found['r2'])}"
    )
    if "coverage" in found:
        text += f"; {percent(found['coverage'])} of the rows lie within their {level_name(rows.level)} interval"
    return f"{text}."


def _how_to_read(rows: TestRows) -> str:
    text = "How to read it: each point is a row of the test; the closer to the dashed line, the better its prediction."
    inside = inside_intervals(rows)
    if inside is None:
        return f"{text} This run states no intervals."
    count, share = counted(int(np.sum(~inside)), "row"), escaped(level_name(rows.level))
    return (
        f"{text} Each grey bar is the range in which the run expected the measured value with a probability of "
        f"{share}; triangles mark those outside: {count}."
    )


def _drawn_sentence(n: int) -> str:
    drawn = len(drawn_rows(n))
    if drawn == n:
        return ""
    return f"{drawn:,} of {n:,} rows, drawn by chance, are shown; all numbers are of all rows."
