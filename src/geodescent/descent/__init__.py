"""Descents: damped steps by the same lift, to the least-squares minimum as fast as possible.

A walk turns a lifted velocity into a displacement, a control chooses the damping and judges the step, and a stage says
on which samples, by which lift and until when. The loop runs rounds of the stages; its state can be saved and resumed.
"""

from geodescent.descent._batch_steps import FIRST_BATCH, OWN_PRODUCTS, steps_of_first_round
from geodescent.descent._best_fraction import best_fraction
from geodescent.descent._checkpoint import Keeper, read_state, saving_alone
from geodescent.descent._control import STATIONARY, Control, CostLevels, Damping, Trial, linear_residual
from geodescent.descent._descend import Clock, Descent, descend, start
from geodescent.descent._gain_ratio import GainRatio, GainRatioState
from geodescent.descent._linearised import Linearised
from geodescent.descent._natural import NaturalControl, NaturalState
from geodescent.descent._opening import BatchesEnd, EigenvectorsPay, batches_stage, eigenvectors_price
from geodescent.descent._parts import require_part
from geodescent.descent._planned import MeasuredExactly, planned_stages
from geodescent.descent._polish import ends_at_a_minimum, polished
from geodescent.descent._round import Observer, Round, Stages, advance, play
from geodescent.descent._spring import Spring, SpringState
from geodescent.descent._stages import (
    LONG,
    PART_PATIENCE,
    VALLEY,
    AfterSteps,
    Leave,
    Method,
    OpeningEnds,
    PartEnds,
    Stage,
    chosen_lift,
    planned_lift,
)
from geodescent.descent._state import Best, StageState, State, put_together, taken_apart
from geodescent.descent._stopping import AT_FLOOR, PROGRESS, Patience, Stopping
from geodescent.descent._walk import Displacement, EulerWalk, GeodesicWalk, Walk
from geodescent.descent.first_order import LEAST_ROUNDS, GradientsEnd, Soap, SoapState

__all__ = [
    "AT_FLOOR",
    "FIRST_BATCH",
    "LEAST_ROUNDS",
    "LONG",
    "OWN_PRODUCTS",
    "PART_PATIENCE",
    "PROGRESS",
    "STATIONARY",
    "VALLEY",
    "AfterSteps",
    "BatchesEnd",
    "Best",
    "Clock",
    "Control",
    "CostLevels",
    "Damping",
    "Descent",
    "Displacement",
    "EigenvectorsPay",
    "EulerWalk",
    "GainRatio",
    "GainRatioState",
    "GeodesicWalk",
    "GradientsEnd",
    "Keeper",
    "Leave",
    "Linearised",
    "MeasuredExactly",
    "Method",
    "NaturalControl",
    "NaturalState",
    "Observer",
    "OpeningEnds",
    "PartEnds",
    "Patience",
    "Round",
    "Soap",
    "SoapState",
    "Spring",
    "SpringState",
    "Stage",
    "StageState",
    "Stages",
    "State",
    "Stopping",
    "Trial",
    "Walk",
    "advance",
    "batches_stage",
    "best_fraction",
    "chosen_lift",
    "descend",
    "eigenvectors_price",
    "ends_at_a_minimum",
    "linear_residual",
    "planned_lift",
    "planned_stages",
    "play",
    "polished",
    "put_together",
    "read_state",
    "require_part",
    "saving_alone",
    "start",
    "steps_of_first_round",
    "taken_apart",
]
