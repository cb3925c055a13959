"""Posteriors of noisy data, of a regression and of classes."""

from collections.abc import Mapping
from dataclasses import dataclass

from safetensors.torch import save

from geodescent.app.fitted._predicted import INTERVAL_LEVEL, POSTERIOR, Mode, Predicted, Rows
from geodescent.generalisation import ClassPosterior, Posterior


@dataclass(frozen=True)
class FittedRegression:
    """The posterior of a regression."""

    posterior: Posterior

    @property
    def mode(self) -> Mode:
        """Noisy data."""
        return "posterior"

    @property
    def left_out(self) -> float | None:
        """Root mean square error of rows left out, in the target's units."""
        return float(self.posterior.left_out_rmse)

    @property
    def importance(self) -> Rows | None:
        """The scale of each input."""
        found: Rows = self.posterior.scales.numpy()
        return found

    def predicted(self, inputs: Rows, level: float = INTERVAL_LEVEL) -> Predicted:
        """Mean, standard deviation and interval."""
        mean, deviation = (values.numpy() for values in self.posterior.moments(inputs))
        reach = float(self.posterior.reach(level)) * deviation
        return Predicted(mean, deviation, mean - reach, mean + reach, level=level)

    def files(self) -> Mapping[str, bytes]:
        """One file."""
        return {POSTERIOR: save(self.posterior.tensors())}


@dataclass(frozen=True)
class FittedClasses:
    """The posterior of classes."""

    posterior: ClassPosterior

    @property
    def mode(self) -> Mode:
        """Noisy data."""
        return "posterior"

    @property
    def left_out(self) -> float | None:
        """Log loss of rows left out."""
        return self.posterior.left_out_log_loss

    @property
    def importance(self) -> Rows | None:
        """The scale of each input."""
        found: Rows = self.posterior.scales.numpy()
        return found

    def predicted(self, inputs: Rows, level: float = INTERVAL_LEVEL) -> Predicted:
        """Probabilities."""
        return Predicted.of_classes(self.posterior.probabilities(inputs).numpy())

    def files(self) -> Mapping[str, bytes]:
        """One file."""
        return {POSTERIOR: save(self.posterior.tensors())}
