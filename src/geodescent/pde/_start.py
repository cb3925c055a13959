"""The start of a system: activation, gains and envelope by leave-one-out of the residual linearised there."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._deadline import OutOfTime
from geodescent.linalg import row_norm
from geodescent.pde._left_out import left_out
from geodescent.pde._mlp import Activation
from geodescent.pde._network import FieldsModule
from geodescent.problem import Problem

COMMON = (1.0, 2.0, 4.0, 8.0)
"""Gains of all inputs alike; from the best of them each input goes down or up by rungs."""
LARGEST_GAIN = 64.0  # Of one input: waves of some twenty periods over the range.
RUNG = 2.0  # Factor of one rung.
RISES_CLEARLY = 2.0  # Times the least value: larger gains of all inputs are not tried after one with as much.
NEARLY_ENOUGH = 5.0  # Times what may be left out: a start with more at some of the rows is not judged by all.
WORTH = 10.0  # Times: a smaller gain may leave out as much more, for a large one bends between the points.
FALLS_CLEARLY = 5.0  # Times: tanh keeps its gain unless the value falls by as much (docs/decisions.md).
SINE = 20.0  # Times: sine, tried first, replaces tanh where its value is lower by as much (docs/decisions.md).
SLOPE_RUNG, STEEPEST = 1.0, 4.0  # Of the exponent of an envelope, over half of the range: one rung, and the largest.
ENVELOPE = 3.0  # Times: an envelope is taken where it lowers the value by as much (docs/decisions.md).
INFORMATIVE = 1e-2  # Share of the residual at the start: where a start leaves out more, it tells little, as at shocks.


@dataclass(frozen=True)
class StartCandidate:
    """A start that was judged.

    Attributes:
        activation: "tanh", "sin", or that of the module.
        gains: of the first layer, one an input.
        slopes: of the envelope's exponent along each coordinate, scaled to [−1, 1]; empty without an envelope.
        left_out: root of the mean square of the residuals left out in turn, by the linearised network.
    """

    activation: str
    gains: tuple[float, ...]
    slopes: tuple[float, ...]
    left_out: float


@dataclass(frozen=True)
class SystemStart:
    """What was tried, and what was chosen; print it.

    Attributes:
        chosen: the start that the network has now.
        candidates: all, in the order in which they were tried.
        seconds: that it took.
        changed: whether the network is another than before.
    """

    chosen: StartCandidate
    candidates: tuple[StartCandidate, ...]
    seconds: float
    changed: bool

    @property
    def changes(self) -> list[str]:
        """What was changed, in sentences."""
        if not self.changed:
            return []
        gains, slopes = _listed(self.chosen.gains), _listed(self.chosen.slopes)
        before = self.candidates[0]
        envelope = f", its fields times exponentials of slopes {slopes} by coordinate" if slopes else ""
        return [
            f"the start was changed: activation {self.chosen.activation}, first layer times {gains} by input{envelope};"
            f" the residual left out in turn fell from {before.left_out:.2g} to {self.chosen.left_out:.2g} "
            "(initialise=False keeps the start as it was)"
        ]

    def __str__(self) -> str:
        lines = [f"{'activation':<12}{'gains':<18}{'envelope':<14}{'left out':>10}"]
        for c in self.candidates:
            mark = "  <- chosen" if c is self.chosen else ""
            row = f"{c.activation:<12}{_listed(c.gains):<18}{_listed(c.slopes):<14}{c.left_out:10.2e}"
            lines.append(f"{row}{mark}")
        return "\n".join(lines)


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def choose_system_start(
    module: FieldsModule, problem: Problem, whole: Problem, *, seed: int, seconds: float
) -> SystemStart | None:
    """Changes the first layer, the activation where the network leaves it open, and the envelope where conditions are
    built in, to the best start; None without.

    Args:
        module: the fields, with their network.
        problem: of its system at some of the points, by which candidates are judged.
        whole: at more of them, by which the best candidate is judged before it is taken, or the same.
        seed: of the phases of sines, and of places of kinks.
        seconds: no further candidate is judged after this time.
    """
    first = next((layer for layer in module.net.modules() if isinstance(layer, nn.Linear)), None)
    if first is None:
        return None
    begin, start = time.perf_counter(), _Start.of(module, first, seed)
    found = dict[tuple[str, tuple[float, ...], tuple[float, ...]], StartCandidate]()

    def is_late() -> bool:
        return time.perf_counter() - begin > seconds and bool(found)

    def judged(activation: str, gains: tuple[float, ...], slopes: tuple[float, ...] = module.slopes) -> StartCandidate:
        key = activation, gains, slopes
        if key not in found:
            start.put(*key)
            found[key] = StartCandidate(*key, math.inf if is_late() else _in_time(problem))
        return found[key]

    def by_all_rows(candidate: StartCandidate) -> float:
        start.put(candidate.activation, candidate.gains, candidate.slopes)
        return candidate.left_out if whole is problem else math.inf if is_late() else _in_time(whole)

    informative = INFORMATIVE * row_norm(problem.residual(problem.theta)) / math.sqrt(problem.n_residuals)
    chosen = own = judged(start.activation, (1.0,) * first.in_features)
    if not math.isfinite(own.left_out):
        return SystemStart(own, (own,), time.perf_counter() - begin, changed=False)
    ways = [("sin", SINE)] if start.is_open else []
    for activation, times in [*ways, (start.activation, FALLS_CLEARLY)]:
        limit = min(own.left_out / times, informative)
        best = _best_gains(activation, first.in_features, limit, judged)
        if best is not None and by_all_rows(best) < limit:
            chosen = best
            break
    if chosen.left_out < informative:
        chosen = _enveloped(chosen, module, judged)
    start.put(chosen.activation, chosen.gains, chosen.slopes)
    tried = tuple(c for c in found.values() if math.isfinite(c.left_out))
    return SystemStart(chosen, tried, time.perf_counter() - begin, chosen is not own)


Judged = Callable[[str, tuple[float, ...]], StartCandidate]


def _enveloped(
    chosen: StartCandidate,
    module: FieldsModule,
    judged: Callable[[str, tuple[float, ...], tuple[float, ...]], StartCandidate],
) -> StartCandidate:
    """With the envelope that leaves out least, by coordinate in turn, where that is clearly less than without.

    With u = u₀ + t² net built in, the network is to be (u − u₀)/t², which may fall from hundreds to one: that takes it
    hundreds of steps, and tens to be what an exponential of t leaves of it.
    """
    best = chosen
    for k in module.enveloped:
        for rung in (-SLOPE_RUNG, SLOPE_RUNG):
            before = best
            while abs((slopes := _steeper(best.slopes or (0.0,) * len(module.coordinates), k, rung))[k]) <= STEEPEST:
                candidate = judged(chosen.activation, chosen.gains, slopes)
                if not candidate.left_out < best.left_out:
                    break
                best = candidate
            if best is not before:
                break
    return best if best.left_out < chosen.left_out / ENVELOPE else chosen


def _steeper(slopes: tuple[float, ...], k: int, rung: float) -> tuple[float, ...]:
    """With the slope along coordinate k changed by a rung."""
    return tuple(slope + rung if i == k else slope for i, slope in enumerate(slopes))


def _best_gains(activation: str, n_inputs: int, limit: float, judged: Judged) -> StartCandidate | None:
    """The best common gain; then for each input the least that is nearly as good, or more where that is far better.

    None, without further candidates, once what it has come to leaves out more than `NEARLY_ENOUGH` times the limit.
    """
    best, most = _best_common(activation, n_inputs, judged), NEARLY_ENOUGH * limit
    for k in range(n_inputs):
        for factor, allowed in ((1.0 / RUNG, WORTH), (RUNG, 1.0 / WORTH)):
            least, before = best.left_out, best
            while best.left_out < most and COMMON[0] <= best.gains[k] * factor <= LARGEST_GAIN:
                candidate = judged(activation, _rung(best.gains, k, factor))
                if not candidate.left_out < allowed * least:
                    break
                best, least = candidate, min(least, candidate.left_out)
            if best is not before:
                break
    return best if best.left_out < most else None


def _best_common(activation: str, n_inputs: int, judged: Judged) -> StartCandidate:
    """The best gain of all inputs alike; larger ones are not tried where what is left out rises clearly."""
    first, *larger = COMMON[1:] if activation == "sin" else COMMON  # A sine of gain 1 is as smooth as tanh.
    best = judged(activation, (first,) * n_inputs)
    for gain in larger:
        candidate = judged(activation, (gain,) * n_inputs)
        best = min(best, candidate, key=lambda c: c.left_out)
        if candidate.left_out > RISES_CLEARLY * best.left_out:
            break
    return best


def _rung(gains: tuple[float, ...], k: int, factor: float) -> tuple[float, ...]:
    """With the gain of input k a rung up or down."""
    return tuple(gain * factor if i == k else gain for i, gain in enumerate(gains))


@dataclass(frozen=True)
class _Start:
    """A network's start, from which all candidates are made."""

    module: FieldsModule
    first: nn.Linear
    weight: Tensor
    bias: Tensor | None
    kinks: Tensor
    phases: Tensor
    open_activations: Sequence[Activation]
    activation: str

    @classmethod
    def of(cls, module: FieldsModule, first: nn.Linear, seed: int) -> "_Start":
        generator = torch.Generator("cpu").manual_seed(seed)
        shape = first.weight.shape
        uniform = 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") - 1.0
        phases = math.pi * (2.0 * torch.rand(shape[0], generator=generator, dtype=torch.float64, device="cpu") - 1.0)
        activations = [layer for layer in module.net.modules() if isinstance(layer, Activation)]
        name = activations[0].name if activations else "its own"
        bias = None if first.bias is None else first.bias.detach().clone()
        weight = first.weight.detach().clone()
        is_open = bool(activations) and all(a.is_open for a in activations)
        opened = activations if is_open else ()
        return cls(module, first, weight, bias, uniform.to(weight), phases.to(weight), opened, name)

    @property
    def is_open(self) -> bool:
        """Whether the activation may be changed."""
        return bool(self.open_activations)

    def put(self, activation: str, gains: tuple[float, ...], slopes: tuple[float, ...]) -> None:
        """Makes the network start so."""
        self.module.slopes = slopes
        for layer in self.open_activations:
            layer.name = activation
        with torch.no_grad():
            weight = self.weight * self.weight.new_tensor(gains)
            self.first.weight.copy_(weight)
            if self.bias is None:
                return
            if activation == "sin":
                self.first.bias.copy_(self.phases)
            elif any(gain != 1.0 for gain in gains):
                self.first.bias.copy_(-(weight * self.kinks).sum(1))
            else:
                self.first.bias.copy_(self.bias)


def _in_time(problem: Problem) -> float:
    """What is left out; infinite where a deadline leaves no time for it."""
    try:
        return left_out(problem)
    except OutOfTime:
        return math.inf
