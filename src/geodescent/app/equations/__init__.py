"""Differential equations that `geodescent solve` knows, each as a short file of plain mathematics.

The files say `system()`, and what it is compared with: `reference(points)`, `table()` or `truth`. A file of one's own
that says the same is solved as well.
"""

from geodescent.app.equations._example import Example, SolvedEquation, names_of_examples, read_example
from geodescent.app.equations._references import allen_cahn, by_solve_ivp, cole_hopf
from geodescent.app.equations._values import values_csv

__all__ = [
    "Example",
    "SolvedEquation",
    "allen_cahn",
    "by_solve_ivp",
    "cole_hopf",
    "names_of_examples",
    "read_example",
    "values_csv",
]
