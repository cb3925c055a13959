"""What the commands do once their options are known: tables read, fitted, judged, saved and reported."""

from geodescent.app.commands._commands import FitOptions, RunOptions, certify_table, fit_table, follow_flow
from geodescent.app.commands._job import DataOptions, NetworkAsked
from geodescent.app.commands._network import STEPS_OF_A_FIT, FlowOptions, NetworkOptions
from geodescent.app.commands._predict import predicted_table

__all__ = [
    "STEPS_OF_A_FIT",
    "DataOptions",
    "FitOptions",
    "FlowOptions",
    "NetworkAsked",
    "NetworkOptions",
    "RunOptions",
    "certify_table",
    "fit_table",
    "follow_flow",
    "predicted_table",
]
