"""What the data that are not fitted say: validation data while a fit runs, and samples left out in closed form.

`validation_cost` judges, `split_off` draws the samples for it, and `choose_start` picks the scale of a network's first
layer by the samples that the linear model at the start leaves out in turn.
"""

from geodescent.generalisation._chosen_start import ChosenStart, GainCandidate
from geodescent.generalisation._gain import GAINS, MOST_SAMPLES, choose_start
from geodescent.generalisation._leave_one_out import (
    LeaveOneOut,
    Modes,
    leave_one_out,
    left_out,
    modes_of_gram,
    modes_of_rows,
)
from geodescent.generalisation._left_out_outputs import left_out_outputs
from geodescent.generalisation._start_units import StartUnits, in_units
from geodescent.generalisation._validation import FEWEST, Validation, split_off, validation_cost
from geodescent.generalisation.posterior import (
    Calibration,
    ClassPosterior,
    OwnModel,
    Posterior,
    TuningRecord,
    class_posterior_of,
    drawn_layers,
    posterior_of,
    reach_of,
    starts_of_own,
)

__all__ = [
    "FEWEST",
    "GAINS",
    "MOST_SAMPLES",
    "Calibration",
    "ChosenStart",
    "ClassPosterior",
    "GainCandidate",
    "LeaveOneOut",
    "Modes",
    "OwnModel",
    "Posterior",
    "StartUnits",
    "TuningRecord",
    "Validation",
    "choose_start",
    "class_posterior_of",
    "drawn_layers",
    "in_units",
    "leave_one_out",
    "left_out",
    "left_out_outputs",
    "modes_of_gram",
    "modes_of_rows",
    "posterior_of",
    "reach_of",
    "split_off",
    "starts_of_own",
    "validation_cost",
]
