"""What `plan` returns: numbers for programs, and lines for people."""

import math
from collections import Counter
from dataclasses import asdict, dataclass

from geodescent.doors._in_words import text_of

MOST_LAYERS = 4  # Kinds of layers that a printed plan names; `layers` has all.
MUCH_LATER = 1.5  # Times the seconds of a first step: late steps that take longer are said.
WIDTH_OF_NAMES = 8  # Letters of the first column.


@dataclass(frozen=True)
class PlannedLayer:
    """How the parameters of a layer enter the Jacobian.

    Attributes:
        name: of the module with its class, or of the parameters where these are of no layer with a rule.
        n_params: entries of θ.
        how: "by rule", from the layer's inputs and the derivatives by what it returned; "by autograd", for each sample;
            "by products" with D, which is not formed; or "as given" by a map of one's own.
        positions: P at which the layer is applied in each sample, as the pixels of a convolution; None where the
            columns are formed.
    """

    name: str
    n_params: int
    how: str
    positions: int | None


@dataclass(frozen=True)
class Timings:
    """Seconds measured at the model's own parameters, of all samples.

    Attributes:
        gradient: of C, one backward pass over all data; the unit of prices.
        linearisation: outputs and Jacobian.
        products: one product with D and one with Dᵀ.
        n_samples: that were measured; where they are not all, seconds are in proportion.
    """

    gradient: float
    linearisation: float
    products: float
    n_samples: int


@dataclass(frozen=True)
class Price:
    """What a step takes.

    Attributes:
        samples: that it is taken on.
        order: of the matrix that is factorised; None for none.
        memory_bytes: that D and the solves hold, beside the model and its data; None where nothing is known of them.
        seconds: of one step, from what its parts take, which were measured; None where nothing is known of its solves.
        gradients: the same in gradients over all data.
        late_seconds: of a step near the end, where small dampings ask for D itself; None where it was not measured.
        steps_of_round: on batches, how many steps make the first round, which counts as one of `max_steps`: the cost of
            all samples is measured once a round. 1 where each step counts.
        round_seconds: of the first round; None where nothing is known of its solves.
    """

    samples: int
    order: int | None
    memory_bytes: float | None
    seconds: float | None
    gradients: float | None
    late_seconds: float | None
    steps_of_round: int
    round_seconds: float | None


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a fit.

    Attributes:
        on: the samples of a step, in words.
        lift: name of the lift, as `solution.stats["lift"]` has it.
        solves: the kind of step, in words.
        why: what decides for it, with the number and its limit.
        until: when which stage takes over; empty for the last.
        passed_over: why the stage ends before its first step; empty where steps are taken.
        step: its price.
    """

    on: str
    lift: str
    solves: str
    why: str
    until: str
    passed_over: str
    step: Price


@dataclass(frozen=True, repr=False)
class Plan:
    """A fit before its first step; print it.

    Attributes:
        n_samples: N, counted, of all blocks of rows.
        n_outputs: Q; None where blocks differ.
        n_params: K.
        n_residuals: m, the rows of D.
        dtype: of parameters and data.
        layers: how the parameters enter the Jacobian.
        stages: in their order.
        measured: seconds of the parts of a step.
        notes: sentences on what else a fit does.
    """

    n_samples: int
    n_outputs: int | None
    n_params: int
    n_residuals: int
    dtype: str
    layers: tuple[PlannedLayer, ...]
    stages: tuple[PlannedStage, ...]
    measured: Timings
    notes: tuple[str, ...]

    @property
    def first(self) -> PlannedStage:
        """The stage of the first step."""
        return next((stage for stage in self.stages if not stage.passed_over), self.stages[-1])

    @property
    def lift(self) -> str:
        """The name that `solution.stats["lift"]` will have: the lift of the last stage."""
        return self.stages[-1].lift

    def as_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        route = " → ".join(stage.lift for stage in self.stages if not stage.passed_over)
        return f"Plan({route}, m={self.n_residuals}, K={self.n_params})"

    def __str__(self) -> str:
        rows = [("problem", self._sizes()), ("layers", self._layers()), ("measured", self._measured())]
        said = set[str]()
        for number, stage in enumerate(self.stages, 1):
            rows += _rows_of(stage, f"stage {number}", said)
        rows += [("note", note) for note in self.notes]
        return text_of(rows, WIDTH_OF_NAMES)

    def _sizes(self) -> str:
        outputs = "" if self.n_outputs is None else f" × {_counted(self.n_outputs, 'output')}"
        samples = _counted(self.n_samples, "sample")
        return f"{samples}{outputs}: {self.n_residuals:,} rows m, {self.n_params:,} parameters K, {self.dtype}"

    def _layers(self) -> str:
        kinds = Counter[tuple[str, int]]()
        names = dict[tuple[str, int], list[str]]()
        for layer in self.layers:
            kind = layer.how, layer.positions or 1
            kinds[kind] += layer.n_params
            names.setdefault(kind, []).append(layer.name)
        parts = [_of_kind(kind, names[kind], n_params) for kind, n_params in kinds.most_common(MOST_LAYERS)]
        more = len(kinds) - len(parts)
        return "; ".join([*parts, *([f"{more} more kinds"] if more > 0 else [])]) or "D is not held"

    def _measured(self) -> str:
        times, n = self.measured, self.measured.n_samples
        on = "" if n == self.n_samples else f" (in proportion to {n:,} samples)"
        linearised, products = (_shown(part / times.gradient) for part in (times.linearisation, times.products))
        return (
            f"a full gradient takes {_duration(times.gradient)}{on}, a linearisation {linearised} of these, "
            f"a product with D and one with Dᵀ {products}"
        )


def _rows_of(stage: PlannedStage, name: str, said: set[str]) -> list[tuple[str, str]]:
    """The lines of a stage; a reason that has been said is not said again."""
    if stage.passed_over:
        return [(name, f"passed over: {stage.passed_over}")]
    rows = [(name, f"{stage.solves}; on {stage.on}")]
    if stage.why not in said:
        rows.append(("  why", stage.why))
    said.add(stage.why)
    step = stage.step
    seconds = "" if step.seconds is None else f"a step about {_duration(step.seconds)}"
    seconds += "" if step.gradients is None else f", {_shown(step.gradients)} full gradients"
    late = step.late_seconds or 0.0
    seconds += f", near the end {_duration(late)}" if late > MUCH_LATER * (step.seconds or late) else ""
    if step.steps_of_round > 1 and step.round_seconds is not None:
        seconds += f", the first round of {step.steps_of_round:,} {_duration(step.round_seconds)}"
    memory = "" if step.memory_bytes is None else f"memory about {_megabytes(step.memory_bytes)}"
    rows.append(("  price", "; ".join(filter(None, (seconds, memory))) or "not known for a lift of one's own"))
    return [*rows, *([("  until", stage.until)] if stage.until else [])]


def _of_kind(kind: tuple[str, int], names: list[str], n_params: int) -> str:
    how, positions = kind
    first, *others = names[0].split(" + ")
    named = f"{first} and {len(others)} more tensors" if others else first
    named = named if len(names) == 1 else f"{len(names)} layers"
    at = f" at {positions:,} positions" if positions > 1 else ""
    return f"{named}, {n_params:,} parameters, {how}{at}"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds >= 1.0:
        return f"{_shown(seconds)} s"
    return f"{_shown(1e3 * seconds)} ms" if seconds >= 1e-3 else f"{_shown(1e6 * seconds)} µs"


def _megabytes(n_bytes: float) -> str:
    return f"{_shown(n_bytes / 1e9)} GB" if n_bytes >= 1e9 else f"{_shown(n_bytes / 1e6)} MB"


def _shown(value: float) -> str:
    """Two digits."""
    if not 0.0 < value < math.inf:
        return f"{value:g}"
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{round(value, 1 - math.floor(math.log10(value))):,.{digits}f}"
