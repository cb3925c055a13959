"""What `initialise` found: the gains it tried and what each promises."""

import math
from dataclasses import asdict, dataclass

from geodescent.generalisation._start_units import UNCHANGED, StartUnits

NOISY = 0.05  # Share of the targets' variance, left out: above it is noise, or what such a network cannot learn.


@dataclass(frozen=True)
class GainCandidate:
    """What one gain promises.

    Attributes:
        gain: factor on the weights and biases of the first layer.
        error: the cost that the linear model leaves out, in the units of C, at its best ridge; infinite where the
            outputs or D are not finite.
        ridge: that ridge, relative to λ_max(G).
        rank: of D, or of K̄, on the samples that were looked at.
        route: what was decomposed: `rows`, D, where it has few columns or G is singular to rounding; `gram`, G;
            `mean gram`, K̄, with `K̄ ⊗ I` in place of G.
    """

    gain: float
    error: float
    ridge: float
    rank: int
    route: str


@dataclass(frozen=True)
class ChosenStart:
    """What `initialise` found, and what it changed.

    Attributes:
        gain: the factor chosen; 1 where nothing was changed.
        layers: the layers it was applied to.
        candidates: one per gain tried, ascending.
        cost_of_mean: C of the best constant outputs, on the samples left out in turn; NaN where there are none.
        n_samples, n_given: distinct samples left out in turn, and samples given.
        reason: why there was no gain to choose, or None.
        units: what was changed before, because of the units of the data.
    """

    gain: float
    layers: tuple[str, ...]
    candidates: tuple[GainCandidate, ...]
    cost_of_mean: float
    n_samples: int
    n_given: int
    reason: str | None = None
    units: StartUnits = UNCHANGED

    @property
    def chosen(self) -> GainCandidate | None:
        """What the gain chosen promises; None where there was nothing to choose."""
        return next((c for c in self.candidates if c.gain == self.gain and self.reason is None), None)

    @property
    def cost_left_out(self) -> float:
        """C of the samples left out in turn, at the gain chosen; NaN where there was nothing to choose."""
        return math.nan if self.chosen is None else self.chosen.error

    @property
    def noisy(self) -> bool:
        """Whether more than 5 % of the targets' variance is left out: noise, or what such a network cannot learn."""
        return self.cost_of_mean > 0.0 and self.cost_left_out > NOISY * self.cost_of_mean

    @property
    def changes(self) -> list[str]:
        """What was changed, and nothing else, in lines."""
        return [line for line in str(self).splitlines() if line.startswith(("units:", "start:"))]

    def as_dict(self) -> dict[str, object]:
        """For JSON: None where a number is not finite."""
        return _finite(asdict(self)) | {"candidates": [_finite(asdict(c)) for c in self.candidates]}

    def __str__(self) -> str:
        before = [str(self.units)] if self.units.changed else []
        if self.reason is not None:
            nothing = "no gain was chosen" if before else "nothing changed"
            return "\n".join([*before, f"start: {nothing}", f"because {self.reason}"])
        more = f" and {len(self.layers) - 1} more" if len(self.layers) > 1 else ""
        lines = [
            *before,
            f"start: layer {self.layers[0] or '(the model)'}{more} times {self.gain:g}",
            f"each of {self.n_samples} samples left out in turn ({self.n_given} given), by the linear model",
            f"{'gain':>8}  {'cost left out':>13}  {'ridge':>7}  {'rank':>5}  from",
        ]
        for c in self.candidates:
            mark = "  <- chosen" if c is self.chosen else ""
            lines.append(f"{c.gain:8g}  {c.error:13.2e}  {c.ridge:7.0e}  {c.rank:5d}  {c.route}{mark}")
        return "\n".join(lines)


def _finite(entries: dict[str, object]) -> dict[str, object]:
    """None in place of a number that is not finite."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entries.items()}
