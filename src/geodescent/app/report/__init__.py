"""What the command shows: pictures of costs, a progress bar, and the answer in words or as one JSON object."""

from geodescent.app.report.answer import Answer, summary
from geodescent.app.report.curves import draw_fit, draw_flow, png
from geodescent.app.report.progress import ProgressBar

__all__ = ["Answer", "ProgressBar", "draw_fit", "draw_flow", "png", "summary"]
