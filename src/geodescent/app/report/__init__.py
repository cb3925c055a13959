"""What the command shows: pictures of costs, a progress bar, and the answer in words or as one JSON object."""

from geodescent.app.report._answer import Answer, summary
from geodescent.app.report._progress import ProgressBar
from geodescent.pictures import BLUE, FAINT, GREEN, INK, ORANGE, draw_fit, draw_flow, png

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
