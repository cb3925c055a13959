"""What the command fits: posteriors of noisy data, and networks; both predict rows, and can be saved."""

from geodescent.app.fitted._network import FittedNetwork, ScaledData
from geodescent.app.fitted._networks import ACTIVATIONS, Dtype, NetworkChoice, mlp
from geodescent.app.fitted._posteriors import FittedClasses, FittedRegression
from geodescent.app.fitted._predicted import (
    CALIBRATION,
    INTERVAL_LEVEL,
    POSTERIOR,
    WEIGHTS,
    Fitted,
    Mode,
    Predicted,
    Rows,
)
from geodescent.app.fitted._scaling import Scaling, common_factor, standardise

__all__ = [
    "ACTIVATIONS",
    "CALIBRATION",
    "INTERVAL_LEVEL",
    "POSTERIOR",
    "WEIGHTS",
    "Dtype",
    "Fitted",
    "FittedClasses",
    "FittedNetwork",
    "FittedRegression",
    "Mode",
    "NetworkChoice",
    "Predicted",
    "Rows",
    "ScaledData",
    "Scaling",
    "common_factor",
    "mlp",
    "standardise",
]
