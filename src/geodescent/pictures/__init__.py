"""Pictures of costs: the measured one beside the one known beforehand. Matplotlib is imported when one is drawn."""

from geodescent.pictures._curves import BLUE, COST, FAINT, GREEN, INK, ORANGE, draw_fit, draw_flow, png
from geodescent.pictures._evidence import draw_evidence

__all__ = ["BLUE", "COST", "FAINT", "GREEN", "INK", "ORANGE", "draw_evidence", "draw_fit", "draw_flow", "png"]
