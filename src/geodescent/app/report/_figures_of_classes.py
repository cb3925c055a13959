"""Pictures of a classification: which classes are confused, and whether the probabilities come true."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodescent.app.report._drawing import BARS, MUTED, dress, inline_svg
from geodescent.app.report._facts import Floats, TestRows
from geodescent.app.report._markup import Picture, counted, escaped, isolated, percent, shortened
from geodescent.app.report._metrics import calibration_of, confusion_of, metrics_of, of_measured_class
from geodescent.pictures import BLUE, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MOST_CLASSES_SHOWN = 26  # Classes of a readable matrix: letters of an alphabet.
LONGEST_CLASS_NAME = 14  # Characters of a label beside the matrix.
NUMBERS_IN_ALL_CELLS = 8  # Up to this many classes empty cells show their 0, too.
SHADES = ("#f4f6f8", BLUE)
"""Of a cell: a share of 0, and a share of 1."""
DARK_CELL = 0.735  # Share from which on white text has a larger contrast on its shade than dark text has.
POINTS_ACROSS = 480.0  # Of print: the matrix is about 330 wide, and a digit 0.6 of its size, with some room.
SURENESS_BINS = 20  # Of probabilities between 0 and 1.


def confusion_picture(rows: TestRows, classes: tuple[str, ...]) -> Picture:
    """The matrix of confusions: measured classes down, predicted ones across, cells shaded by their share of a row."""
    counts = confusion_of(rows, len(classes))
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES_SHOWN])
    matrix = counts[np.ix_(shown, shown)]
    names = [shortened(classes[place], LONGEST_CLASS_NAME) for place in shown]

    def paint(picture: "Figure") -> None:
        axes = picture.add_subplot()
        _draw_matrix(axes, matrix, names)

    height = float(np.clip(1.7 + 0.32 * len(names), 2.7, 5.2))
    right, n = int(np.trace(counts)), len(rows.measured)
    worst = _worst(counts, classes)
    description = (
        f"Confusion matrix of {counted(n, 'test row')} and {len(classes)} classes: {right:,} are right. {worst[0]}"
    )
    caption = (
        "How to read it: each line holds the rows of one measured class, each column those that were predicted to be "
        f"of one class; the diagonal is right, everything beside it is a mistake. {worst[1]}"
    )
    if len(shown) < len(classes):
        caption += f" The {len(shown)} classes with most rows of {len(classes)} are shown; all numbers are of all."
    return Picture(inline_svg(paint, height=height, key="confusion", description=description), caption)


def calibration_picture(rows: TestRows, probabilities: Floats) -> Picture:
    """How often the most probable class was right, against the probability that was claimed for it."""
    bins = calibration_of(probabilities, rows)
    off = metrics_of(rows)["ece"]

    def paint(picture: "Figure") -> None:
        above, below = picture.subplots(2, sharex=True, height_ratios=(3.2, 1.0))
        dress(above, x_label="", y_label="share that was right")
        dress(below, x_label="probability that was claimed", y_label="rows", y_ticks=2)
        above.plot([0.0, 1.0], [0.0, 1.0], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="as claimed")
        spread = _chance(bins.right, bins.counts)
        above.vlines(bins.claimed, *spread, color=BARS, linewidth=2.0, zorder=1, label="where chance may put it (95 %)")
        above.plot(bins.claimed, bins.right, "o", color=BLUE, markersize=5.0, label="what came true")
        below.bar(bins.claimed, bins.counts, width=0.03, color=BLUE, alpha=0.75)
        for axis in (above.xaxis, above.yaxis, below.xaxis):
            _in_percent(axis)
        above.set_xlim(-0.02, 1.02)
        above.set_ylim(-0.03, 1.05)
        above.legend(loc="upper left")

    pairs = zip(bins.claimed, bins.right, bins.counts, strict=True)
    told = "; ".join(f"{percent(c)} claimed, {percent(r)} right ({counted(int(k), 'row')})" for c, r, k in pairs)
    description = f"Calibration of {counted(len(rows.measured), 'test row')}: {told}. Mean distance {percent(off)}."
    caption = (
        "How to read it: of the rows that were given a probability of 80 %, 80 % should be right; points on the dashed "
        "line are honest, below it the run is too sure of itself, above it too cautious. Bars show how far chance may "
        "move a point: where there are few rows they are long, and the point says little. "
        f"On average claim and truth are {escaped(percent(off))} apart."
    )
    return Picture(inline_svg(paint, height=3.5, key="calibration", description=description), caption)


def sureness_picture(rows: TestRows, probabilities: Floats) -> Picture:
    """The probability that was given to the measured class, counted: what residuals are of a regression."""
    given = of_measured_class(probabilities, rows)
    right = rows.measured == rows.mean
    edges = np.linspace(0.0, 1.0, SURENESS_BINS + 1).tolist()

    def paint(picture: "Figure") -> None:
        axes = picture.add_subplot()
        dress(axes, x_label="probability given to the class that was measured", y_label="rows", y_ticks=4)
        counts, _, _ = axes.hist(given[right], bins=edges, color=BLUE, edgecolor="white", label="predicted rightly")
        wrong, label = given[~right], "predicted wrongly"
        axes.hist(wrong, bins=edges, bottom=counts, color=ORANGE, edgecolor="white", hatch="////", label=label)
        _in_percent(axes.xaxis)
        axes.set_xlim(0.0, 1.0)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)

    unsure = int(np.sum(given < 0.5))
    lowest = escaped(percent(float(given.min())))
    description = (
        f"Probabilities given to the measured classes of {counted(len(given), 'test row')}: median "
        f"{percent(float(np.median(given)))}, least {percent(float(given.min()))}, {unsure:,} below 50 %."
    )
    caption = (
        "How to read it: rows on the right were predicted rightly and with confidence; rows on the far left are those "
        f"that the run was sure about and wrong. The least probability given to a class that was measured is {lowest}."
    )
    return Picture(inline_svg(paint, height=2.3, key="sureness", description=description), caption)


def shades() -> "Colormap":
    """Of the cells, by their share of a row."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares of a row", SHADES)


def _in_percent(axis: "Axis") -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def _draw_matrix(axes: "Axes", matrix: NDArray[np.int64], names: list[str]) -> None:
    n = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(shares, cmap=shades(), vmin=0.0, vmax=1.0, edgecolors="white", linewidth=1.5 if n < 13 else 0.6)
    widest = len(f"{matrix.max()}")
    size = min(9.0, 130.0 / n, POINTS_ACROSS / (n * widest))
    for down in range(n):
        for across in range(n):
            if matrix[down, across] or n <= NUMBERS_IN_ALL_CELLS:
                faint = MUTED if matrix[down, across] == 0 else INK
                colour = "white" if shares[down, across] > DARK_CELL else faint
                weight = "bold" if down == across else "normal"
                content = f"{matrix[down, across]}"
                text = axes.text(across + 0.5, down + 0.5, content, fontsize=size, color=colour, weight=weight)
                text.set(ha="center", va="center")
    upright = n > 6 or max(len(name) for name in names) > 8
    centres = np.arange(n) + 0.5
    axes.set_xticks(centres, names, rotation=90 if upright and n > 3 else 0, fontsize=min(7.0, 160.0 / n))
    axes.set_yticks(centres, names, fontsize=min(7.0, 160.0 / n))
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.set_xlabel("predicted")
    axes.set_ylabel("measured")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _worst(counts: NDArray[np.int64], classes: tuple[str, ...]) -> tuple[str, str]:
    """The most frequent mistake in a sentence, as plain text and as markup."""
    wrong = counts - np.diag(np.diag(counts))
    down, across = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    if wrong[down, across] == 0:
        return "No row is wrong.", "No row of the test is wrong."
    n = counted(int(wrong[down, across]), "row")
    measured, predicted, opening = classes[down], classes[across], f"The most frequent mistake: {n} of"
    plain = f"{opening} {shortened(measured)} predicted as {shortened(predicted)}."
    return plain, f"{opening} “{isolated(measured)}” predicted as “{isolated(predicted)}”."


def _chance(shares: Floats, counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Ends of Wilson's 95 % interval of a share, which holds for few rows and for shares of 0 and 1, too."""
    z = 1.96
    middle = (shares + z**2 / (2.0 * counts)) / (1.0 + z**2 / counts)
    half = z / (1.0 + z**2 / counts) * np.sqrt(shares * (1.0 - shares) / counts + z**2 / (4.0 * counts**2))
    return middle - half, middle + half
