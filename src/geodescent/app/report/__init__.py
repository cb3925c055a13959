"""What the command shows: pictures of costs, a progress bar, the answer in words or as one JSON object, and the page of
a run. Every text of the page may come from a foreign file: it is escaped where it is shown.
"""

from geodescent.app.report._answer import COLUMNS, INTERRUPTED, NOTHING_SAVED, Answer, answering, summary
from geodescent.app.report._equation_page import EquationFacts, equation_page
from geodescent.app.report._facts import Comparison, ReportFacts, TestRows
from geodescent.app.report._markup import numeral, percent
from geodescent.app.report._metrics import error_of, metrics_of, row_errors
from geodescent.app.report._options import in_options
from geodescent.app.report._page import page
from geodescent.app.report._progress import ProgressBar
from geodescent.pictures import BLUE, FAINT, GREEN, INK, ORANGE, draw_evidence, draw_fit, draw_flow, png

__all__ = [
    "BLUE",
    "COLUMNS",
    "FAINT",
    "GREEN",
    "INK",
    "INTERRUPTED",
    "NOTHING_SAVED",
    "ORANGE",
    "Answer",
    "Comparison",
    "EquationFacts",
    "ProgressBar",
    "ReportFacts",
    "TestRows",
    "answering",
    "draw_evidence",
    "draw_fit",
    "draw_flow",
    "equation_page",
    "error_of",
    "in_options",
    "metrics_of",
    "numeral",
    "page",
    "percent",
    "png",
    "row_errors",
    "summary",
]
