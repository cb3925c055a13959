"""What the commands do once their options are known: tables read, fitted, judged, saved and
reported, and differential equations solved."""

from geodescent.app.commands._commands import FitOptions, RunOptions, certify_table, fit_table, follow_flow
from geodescent.app.commands._job import DataOptions, NetworkAsked
from geodescent.app.commands._network import STEPS_OF_A_FIT, FlowOptions, NetworkOptions
from geodescent.app.commands._plan_table import PlanOptions, plan_table
from geodescent.app.commands._predict import predicted_table
from geodescent.app.commands._solve import SolveOptions, list_equations, solve_equation, source_of_equation

__all__ = [
    "STEPS_OF_A_FIT",
    "DataOptions",
    "FitOptions",
    "FlowOptions",
    "NetworkAsked",
    "NetworkOptions",
    "PlanOptions",
    "RunOptions",
    "SolveOptions",
    "certify_table",
    "fit_table",
    "follow_flow",
    "list_equations",
    "plan_table",
    "predicted_table",
    "solve_equation",
    "source_of_equation",
]
