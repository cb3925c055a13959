"""The posterior of classes: latent functions by Laplace's approximation, calibrated on rows left out.

Each class has a latent function with the prior of the regression; two classes share one.
"""

from geodescent.generalisation.posterior.classes._calibration import Calibration
from geodescent.generalisation.posterior.classes._class_conditioning import class_posterior_of
from geodescent.generalisation.posterior.classes._class_posterior import ClassPosterior

__all__ = ["Calibration", "ClassPosterior", "class_posterior_of"]
