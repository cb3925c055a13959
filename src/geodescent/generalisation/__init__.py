"""Room generalisation."""

from geodescent.generalisation._chosen_start import Candidate, Start
from geodescent.generalisation._initialise import initialise
from geodescent.generalisation._leave_one_out import leave_one_out, left_out, modes_of_gram, modes_of_rows
from geodescent.generalisation._validation import FEWEST, apart, judge_of

__all__ = [
    "FEWEST",
    "Candidate",
    "Start",
    "apart",
    "initialise",
    "judge_of",
    "leave_one_out",
    "left_out",
    "modes_of_gram",
    "modes_of_rows",
]
