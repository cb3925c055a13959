"""Wrong formulas, one at a time, and for each the test that must notice it.

`python -m sabotage` runs the named test of every entry against a copy of the package in which one formula is wrong.
There is a list for each room; together they cover every test of the table in docs/theory.md.
"""

from sabotage._sabotage import Sabotage, package_with, run
from sabotage.bridges import BRIDGES
from sabotage.certificate import CERTIFICATE
from sabotage.constructive import CONSTRUCTIVE
from sabotage.costs import COSTS
from sabotage.curves import CURVES
from sabotage.descent import DESCENT
from sabotage.flow import FLOW
from sabotage.geometry import GEOMETRY
from sabotage.jacobian import JACOBIAN
from sabotage.lift import LIFT
from sabotage.linalg import LINALG
from sabotage.openings import OPENINGS
from sabotage.optim import OPTIM
from sabotage.outputs import OUTPUTS
from sabotage.pde import PDE
from sabotage.posterior import POSTERIOR
from sabotage.problem import PROBLEM
from sabotage.streams import STREAMS

SABOTAGES = (
    *CURVES,
    *COSTS,
    *LINALG,
    *JACOBIAN,
    *OUTPUTS,
    *STREAMS,
    *PROBLEM,
    *LIFT,
    *DESCENT,
    *OPENINGS,
    *FLOW,
    *POSTERIOR,
    *CERTIFICATE,
    *GEOMETRY,
    *CONSTRUCTIVE,
    *OPTIM,
    *PDE,
    *BRIDGES,
)

__all__ = ["SABOTAGES", "Sabotage", "package_with", "run"]
