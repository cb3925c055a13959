"""What the command shows: pictures of costs, a progress bar, and the answer in words or as one JSON object."""

from geodescent.app.report.answer import Answer, summary
from geodescent.app.report.curves import BLUE, FAINT, GREEN, INK, ORANGE, draw_fit, draw_flow, png
from geodescent.app.report.progress import ProgressBar

__all__ = [
    "BLUE",
    "FAINT",
    "GREEN",
    "INK",
    "ORANGE",
    "Answer",
    "ProgressBar",
    "draw_fit",
    "draw_flow",
    "png",
    "summary",
]
