"""Pictures of results: matplotlib is asked for when one is drawn."""

import base64
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Figure | None"], "Figure"]

WIDTH_OF_PLOT = 7.6  # Inches: of a picture in a window or a notebook.


def plotted(draw: Draw, call: str, *, height: float) -> "Axes":
    """The picture in a figure of pyplot, so that a notebook shows it, and `plt.show()` elsewhere; its upper axes.

    Raises: ImportError, where matplotlib is not installed.
    """
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ImportError:
        raise ImportError(f"{call} draws with matplotlib, which is missing: pip install 'geodescent[app]'.") from None
    return draw(pyplot.figure(figsize=(WIDTH_OF_PLOT, height), layout="constrained")).axes[0]


def html_picture(draw: Draw) -> str:
    """The picture inside a page; nothing where matplotlib is not installed."""
    try:
        from geodescent.pictures import png

        content = base64.b64encode(png(draw(None))).decode()
    except ImportError:
        return ""
    return (
        f'<img alt="the cost over the run" style="max-width: 38em; width: 100%" src="data:image/png;base64,{content}">'
    )
