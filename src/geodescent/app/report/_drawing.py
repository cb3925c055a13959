"""A picture drawn by matplotlib as SVG inside of a page: the same for the same numbers, without an address outside."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from geodescent.app.report._markup import numeral, visible
from geodescent.pictures import FAINT, INK

if TYPE_CHECKING:  # matplotlib takes half a second, so it is imported when a picture is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_OF_PICTURE = 5.2  # Inches: text of 7.5 points is then readable on a telephone and not large on a desk.
MOST_VECTOR_POINTS = 600  # Above this many, points are drawn as an image inside of the SVG, which stays small.
MOST_DRAWN = 2_000  # Rows in one picture: more lie on top of each other.
SEED_OF_ROWS = 0  # Of the rows that are drawn where there are more; any number, the same for every page.
DOTS = 220  # Per inch, of images inside of an SVG: sharp on paper at the size of the page.
MUTED = "#5c6670"  # Of ticks and small text: a contrast of 5.9 on white, above the 4.5 of WCAG 2.1 level AA.
LARGEST_ON_AXIS = 1e300  # A larger value is not drawn: the length of the axis would overflow.
BARS = "#b9c4d0"  # Of intervals: darker than the lines of a grid, lighter than every point.
DRAWING = {
    "svg.fonttype": "none",  # Text stays text: in the page's font, found by search, with every script of the reader.
    "svg.hashsalt": "geodescent",
    "text.parse_math": False,  # A column called `$x$` is shown with its dollar signs.
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.frameon": False,
    "legend.fontsize": 7.0,
    "savefig.dpi": DOTS,
}
SVG_NAMESPACE = "{http://www.w3.org/2000/svg}"
REFERENCE = re.compile(r"url\(#([^)]+)\)")
XLINK_NAMESPACE = "{http://www.w3.org/1999/xlink}"


def inline_svg(paint: "Callable[[Figure], None]", *, height: float, key: str, description: str) -> str:
    """What `paint` draws on an empty figure, as an SVG element.

    Args:
        paint: draws; texts that it is given are taken literally.
        height: in inches.
        key: what the ids of this picture begin with, so that no two pictures of a page share one.
        description: what the picture shows, with its numbers, for those who do not see it.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _style():
        picture = Figure(figsize=(WIDTH_OF_PICTURE, height), layout="constrained")
        FigureCanvasSVG(picture)
        paint(picture)
        content = io.StringIO()
        picture.savefig(content, format="svg", metadata={"Date": None})
    return _inlined(content.getvalue(), key, visible(description))


def drawn_rows(n: int) -> NDArray[np.int64]:
    """Places of the rows that a picture shows: all, or 2,000 drawn by chance, in order."""
    if n <= MOST_DRAWN:
        return np.arange(n, dtype=np.int64)
    drawn = np.random.default_rng(SEED_OF_ROWS).choice(n, MOST_DRAWN, replace=False)
    return np.sort(drawn).astype(np.int64)


def dress(axes: "Axes", *, x_label: str, y_label: str, x_ticks: int = 6, y_ticks: int = 6) -> None:
    """Labels, and few ticks with plain numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    for axis, most in ((axes.xaxis, x_ticks), (axes.yaxis, y_ticks)):
        axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(tick_text))
    axes.set_axisbelow(True)


def tick_text(value: float, _place: object = None) -> str:
    """A number beside a tick: no more digits than it has."""
    shown = f"{value:.6g}"
    if "e" in shown:
        return numeral(value).replace(".00 ", " ")
    return f"{float(shown):,.6f}".rstrip("0").rstrip(".").replace("-", "−") if shown != "0" else "0"


def window(values: NDArray[np.float64], margin: float = 0.06) -> tuple[float, float]:
    """Ends of an axis that holds all values it can hold, with some room; of a single value, around it."""
    finite = values[np.abs(values) < LARGEST_ON_AXIS]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = margin * (high - low) or 0.5 * abs(low) or 1.0
    return low - room, high + room


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own settings with ours on top, whatever the user's are.

    A glyph that matplotlib's font lacks the browser has, and ticks that overflow lie outside of the axis.
    """
    from matplotlib import style

    with style.context(["default", DRAWING]), warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        yield


def _inlined(svg: str, key: str, description: str) -> str:
    """The SVG element for HTML: without declarations, addresses, comments, styles and ids that nothing refers to."""
    root = ElementTree.fromstring(svg)
    used = {reference for element in root.iter() for reference in _references(element)}
    names = {name: f"{key}-{number}" for number, name in enumerate(sorted(used))}
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{SVG_NAMESPACE}metadata", f"{SVG_NAMESPACE}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG_NAMESPACE)
        element.attrib = {
            name.removeprefix(XLINK_NAMESPACE): _renamed(name, value, names)
            for name, value in element.attrib.items()
            if name != "id" or value in names
        }
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": description})
    return ElementTree.tostring(root, encoding="unicode")


def _references(element: ElementTree.Element) -> Iterator[str]:
    """Ids that the element refers to, by address or in its style."""
    for name, value in element.attrib.items():
        if name == f"{XLINK_NAMESPACE}href" and value.startswith("#"):
            yield value[1:]
        yield from REFERENCE.findall(value)


def _renamed(attribute: str, value: str, names: dict[str, str]) -> str:
    if attribute == "id":
        return names[value]
    if attribute == f"{XLINK_NAMESPACE}href" and value.startswith("#"):
        return f"#{names[value[1:]]}"
    return REFERENCE.sub(lambda match: f"url(#{names[match[1]]})", value)
