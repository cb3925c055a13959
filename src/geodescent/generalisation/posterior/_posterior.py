"""The posterior of several starts together: mean, standard deviation, intervals, and what each row left out says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geodescent._conversion import Values
from geodescent._deadline import seconds_left
from geodescent._errors import InputError
from geodescent.generalisation.posterior._covariance import PriorRows, covariance, variances
from geodescent.generalisation.posterior._evidence import Evidence
from geodescent.generalisation.posterior._network import drawn_layers
from geodescent.generalisation.posterior._numbers import PriorNumbers
from geodescent.generalisation.posterior._ranks import Ranks
from geodescent.generalisation.posterior._rows import drawn_rows, merged
from geodescent.generalisation.posterior._scaling import Standardised

TUNED_ON = 1000  # Rows by which prior and noise are chosen, at most.
MOST_ROWS = 5000  # Rows that the posterior is conditioned on, at most: its memory is their square.
SURPLUS = 5  # Numbers tuned beside one for each input: left-out residuals lack so many degrees of freedom.


@dataclass(frozen=True)
class Member:
    """The posterior of one start.

    Attributes:
        network: at its start.
        rows: that it is conditioned on.
        lower: L of `A = G + σ² diag(1/w) = L Lᵀ`, (N, N).
        solved: `A⁻¹ Y`, (N, Q).
        left_out: `y_i − x_i` without row i, (N, Q).
        left_out_variance: of it, (N,).
    """

    network: nn.Module
    rows: PriorRows
    lower: Tensor
    solved: Tensor
    left_out: Tensor
    left_out_variance: Tensor

    @classmethod
    def of(cls, network: nn.Module, evidence: Evidence, numbers: PriorNumbers, ranks: Tensor) -> "Member":
        """Conditioned on all rows: the evidence's targets and weights.

        Cost: N³ multiply-adds.
        """
        rows = PriorRows.of(network, evidence.x, ranks, numbers).detached()
        total = covariance(rows, rows, numbers)
        total.diagonal().add_(numbers.noise / evidence.weights)
        lower = torch.linalg.cholesky(total)
        inverse = torch.cholesky_inverse(lower)
        solved, diagonal = inverse @ evidence.y, inverse.diagonal()
        return cls(network, rows, lower, solved, solved / diagonal[:, None], 1.0 / diagonal)

    def predicted(self, x: Tensor, ranks: Tensor, numbers: PriorNumbers) -> tuple[Tensor, Tensor]:
        """Mean (n, Q) and variance (n,), without noise."""
        rows = PriorRows.of(self.network, x, ranks, numbers).detached()
        across = covariance(rows, self.rows, numbers)
        explained = torch.linalg.solve_triangular(self.lower, across.T, upper=False).square().sum(0)
        return across @ self.solved, (variances(rows, numbers) - explained).clamp(min=0.0)


@dataclass(frozen=True, repr=False)
class Posterior:
    """What is believed of the targets after the data: `gd.fit_posterior` makes it.

        mean, deviation = posterior.predict(X), posterior.standard_deviation(X)
        lower, upper = posterior.interval(X, level=0.9)

    All results have the shape of y for the rows of X, (n,) or (n, Q), in the units of y.

    Attributes:
        numbers: of prior and noise, in units of standardised columns.
        members: one for each start.
        inputs, targets: how columns were standardised.
        ranks: of the inputs.
        weights: how often each different row counts.
        places: of each given row among the different ones, (N,).
        flat: whether y had one axis.
        notes: sentences for the user.
    """

    numbers: PriorNumbers
    members: Sequence[Member]
    inputs: Standardised
    targets: Standardised
    ranks: Ranks
    weights: Tensor
    places: Tensor
    flat: bool
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        rows, columns = len(self.places), len(self.numbers.scales)
        return f"Posterior({rows} rows of {columns} columns, R² of rows left out {self.left_out_score:.3g})"

    def __str__(self) -> str:
        rows, columns, starts = len(self.places), len(self.numbers.scales), len(self.members)
        error = self.left_out_rmse
        shown = f"{error:.4g}" if isinstance(error, float) else ", ".join(f"{float(e):.4g}" for e in error)
        lines = [
            f"posterior of {rows} rows of {columns} columns, {starts} starts averaged",
            f"error to expect of new rows, by rows left out: {shown} (R² {self.left_out_score:.3g})",
            f"noise: {self.noise:.2g} of the targets' variance",
        ]
        return "\n".join([*lines, *self.notes])

    def predict(self, X: Values) -> Tensor:
        """The mean."""
        return self.moments(X)[0]

    def standard_deviation(self, X: Values) -> Tensor:
        """Of a new target, noise included; one for all outputs, each in its own units."""
        return self.moments(X)[1]

    def moments(self, X: Values) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation at once."""
        mean, deviation = self._moments(X)
        return self._shaped(self.targets.undone(mean)), self._shaped(deviation * self.targets.deviation)

    def interval(self, X: Values, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """`mean ± q·deviation`: q is the ⌈level·(N + 1)⌉-th smallest of what rows left out are off by, in deviations.

        Source: the jackknife+ of Barber and others, *Predictive inference with the jackknife+* (2021), for the idea;
        scaled by each row's own deviation here.
        """
        if not 0.0 < level < 1.0:
            raise InputError(f"level = {level}: a share between 0 and 1 is needed, such as level=0.9.")
        mean, deviation = self._moments(X)
        reach = self._reach(level) * deviation
        return self._shaped(self.targets.undone(mean - reach)), self._shaped(self.targets.undone(mean + reach))

    @property
    def left_out(self) -> Tensor:
        """`y_i − x_i` where x_i is predicted without row i, in the shape and the units of y: no row was held out.

        A row that is given several times is left out with all its repetitions.
        """
        return self._shaped((self._left_out * self.targets.deviation)[self.places])

    @property
    def left_out_rmse(self) -> float | Tensor:
        """The root mean square error to expect of new rows, by the rows left out; (Q,) for several outputs."""
        found = self._left_out_share.sqrt() * self.targets.deviation
        return float(found[0]) if self.flat else found

    @property
    def left_out_score(self) -> float:
        """R² of the rows left out, averaged over outputs."""
        return float(1.0 - self._left_out_share.mean())

    @property
    def noise(self) -> float:
        """The share of the targets' variance that is noise."""
        return float(self.numbers.noise)

    @property
    def _left_out_share(self) -> Tensor:
        """The mean square of what rows left out are off by, as a share of the targets' variance, (Q,)."""
        share = (self.weights / self.weights.sum())[:, None]
        return (share * self._left_out.square()).sum(0)

    @property
    def _left_out(self) -> Tensor:
        """In standardised units, enlarged by the degrees of freedom that tuning has taken, half of all at most."""
        n, d = float(self.weights.sum()), len(self.numbers.scales)
        factor = math.sqrt(n / max(0.5 * n, n - d - SURPLUS))
        return factor * torch.stack([member.left_out for member in self.members]).mean(0)

    def _reach(self, level: float) -> Tensor:
        """q of each output, (Q,)."""
        apart = torch.stack([member.left_out for member in self.members]).var(0, correction=0)
        own = torch.stack([member.left_out_variance for member in self.members]).mean(0)[:, None]
        scaled, order = (self._left_out.abs() / (own + apart).sqrt()).sort(0)
        counted = self.weights[order].cumsum(0)
        wanted = min(math.ceil(level * (float(self.weights.sum()) + 1.0)), float(counted[-1, 0]))
        place = (counted >= wanted - 1e-9).to(torch.int8).argmax(0)
        return scaled.gather(0, place[None])[0]

    def _moments(self, X: Values) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of new targets, standardised, (n, Q)."""
        parts = [self._of_rows(part) for part in self.inputs.parts(X)]
        return torch.cat([mean for mean, _ in parts]), torch.cat([deviation for _, deviation in parts])

    def _of_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ranks = self.ranks(x)
        found = [member.predicted(x, ranks, self.numbers) for member in self.members]
        means = torch.stack([mean for mean, _ in found])
        variance = torch.stack([variance for _, variance in found]).mean(0)[:, None] + self.numbers.noise
        return means.mean(0), (variance + means.var(0, correction=0)).sqrt()

    def _shaped(self, values: Tensor) -> Tensor:
        return values[:, 0] if self.flat else values


def posterior_of(x: Tensor, y: Tensor, weights: Tensor, *, starts: int, seed: int) -> Posterior:
    """From inputs (N, d), targets (N,) or (N, Q) and how often each row counts, (N,), all in float64.

    Prior and noise are chosen with the first start; the others take them over.
    """
    notes, generator = list[str](), torch.Generator().manual_seed(seed)
    if len(x) > MOST_ROWS:
        notes.append(f"{MOST_ROWS} of {len(x)} rows were drawn for the posterior, whose memory is their square.")
        kept = drawn_rows(len(x), MOST_ROWS, generator)
        x, y, weights = x[kept], y[kept], weights[kept]
    x, table, weights, places = merged(x, y[:, None] if y.dim() == 1 else y, weights)
    inputs, targets = Standardised.of(x, weights), Standardised.of(table, weights)
    x, table = inputs(x), targets(table)
    networks = [drawn_layers(x.shape[1], seed + start) for start in range(starts)]
    part = drawn_rows(len(x), TUNED_ON, generator)
    logarithms = Evidence(networks[0], x[part], table[part], weights[part]).tuned()
    numbers, ranks = PriorNumbers.of(logarithms, x.shape[1]), Ranks.of(x, weights)
    whole = Evidence(networks[0], x, table, weights)
    members = [Member.of(networks[0], whole, numbers, ranks(x))]
    for network in networks[1:]:
        if seconds_left() <= 0.0:
            notes.append(f"The time ran out: {len(members)} of {starts} starts are averaged.")
            break
        members.append(Member.of(network, whole, numbers, ranks(x)))
    return Posterior(numbers, members, inputs, targets, ranks, weights, places, y.dim() == 1, notes)
