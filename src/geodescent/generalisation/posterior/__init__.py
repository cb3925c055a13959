"""What the data bear: the posterior of a linearised network whose prior and noise maximise the evidence.

Empirical Bayes of the linearised network: `x(θ) ≈ x(θ₀) + D (θ − θ₀)`, `θ − θ₀ ~ N(0, diag(pv))`, so that the outputs,
x(θ₀) left out, are a Gaussian process of covariance `G = D diag(pv) Dᵀ`, to which a linear part and steps are added.
"""

from geodescent.generalisation.posterior._conditioning import posterior_of
from geodescent.generalisation.posterior._evidence import Evidence
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._own_models import OwnModel, starts_of_own
from geodescent.generalisation.posterior._posterior import Posterior
from geodescent.generalisation.posterior._reach import reach_of
from geodescent.generalisation.posterior._tuning import TuningRecord
from geodescent.generalisation.posterior.classes import Calibration, ClassPosterior, class_posterior_of

__all__ = [
    "Calibration",
    "ClassPosterior",
    "Evidence",
    "OwnModel",
    "Posterior",
    "PriorNumbers",
    "TuningRecord",
    "class_posterior_of",
    "drawn_layers",
    "posterior_of",
    "reach_of",
    "starts_of_own",
]
