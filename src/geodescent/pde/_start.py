"""The start of a system: activation and first-layer gains by leave-one-out of the residual linearised there."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._deadline import OutOfTime
from geodescent.linalg import row_norm
from geodescent.pde._left_out import left_out
from geodescent.pde._network import Activation
from geodescent.problem import Problem

COMMON = (1.0, 2.0, 4.0, 8.0)
"""Gains of all inputs alike; from the best of them each input goes down or up by rungs."""
LARGEST_GAIN = 64.0  # Of one input: waves of some twenty periods over the range.
RUNG = 2.0  # Factor of one rung.
RISES_CLEARLY = 2.0  # Times the least value: larger gains of all inputs are not tried after one with as much.
WORTH = 10.0  # Times: a smaller gain may leave out as much more, for a large one bends between the points.
FALLS_CLEARLY = 5.0  # Times: tanh keeps its gain unless the value falls by as much (docs/decisions.md).
SINE = 20.0  # Times: sine, tried first, replaces tanh where its value is lower by as much (docs/decisions.md).
INFORMATIVE = 1e-2  # Share of the residual at the start: where a start leaves out more, it tells little, as at shocks.


@dataclass(frozen=True)
class StartCandidate:
    """A start that was judged.

    Attributes:
        activation: "tanh", "sin", or that of the module.
        gains: of the first layer, one an input.
        left_out: root of the mean square of the residuals left out in turn, by the linearised network.
    """

    activation: str
    gains: tuple[float, ...]
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
        gains = ", ".join(f"{gain:g}" for gain in self.chosen.gains)
        before = self.candidates[0]
        return [
            f"the start was changed: activation {self.chosen.activation}, first layer times {gains} by input; the "
            f"residual left out in turn fell from {before.left_out:.2g} to {self.chosen.left_out:.2g} "
            "(initialise=False keeps the start as it was)"
        ]

    def __str__(self) -> str:
        lines = [f"{'activation':<12}{'gains':<18}{'left out':>10}"]
        for c in self.candidates:
            mark = "  <- chosen" if c is self.chosen else ""
            lines.append(f"{c.activation:<12}{', '.join(f'{g:g}' for g in c.gains):<18}{c.left_out:10.2e}{mark}")
        return "\n".join(lines)


def choose_system_start(net: nn.Module, problem: Problem, *, seed: int, seconds: float) -> SystemStart | None:
    """Changes the first layer, and the activation where the network leaves it open, to the best start; None without.

    Args:
        net: the network.
        problem: the problem of its system, or of some of its points.
        seed: of the phases of sines, and of places of kinks.
        seconds: no further candidate is begun after this time.
    """
    first = next((module for module in net.modules() if isinstance(module, nn.Linear)), None)
    if first is None:
        return None
    begin, start = time.perf_counter(), _Start.of(net, first, seed)
    found = dict[tuple[str, tuple[float, ...]], StartCandidate]()

    def judged(activation: str, gains: tuple[float, ...]) -> StartCandidate:
        key = activation, gains
        if key not in found:
            late = time.perf_counter() - begin > seconds and found
            start.put(activation, gains)
            found[key] = StartCandidate(activation, gains, math.inf if late else _in_time(problem))
        return found[key]

    told = INFORMATIVE * row_norm(problem.residual(problem.theta)) / math.sqrt(problem.n_residuals)
    chosen = own = judged(start.activation, (1.0,) * first.in_features)
    ways = [("sin", SINE)] if start.is_open else []
    for activation, times in [*ways, (start.activation, FALLS_CLEARLY)]:
        best = _best_gains(activation, first.in_features, min(own.left_out / times, told), judged)
        if best is not None:
            chosen = best
            break
    start.put(chosen.activation, chosen.gains)
    tried = tuple(c for c in found.values() if math.isfinite(c.left_out))
    return SystemStart(chosen, tried, time.perf_counter() - begin, chosen is not own)


Judged = Callable[[str, tuple[float, ...]], StartCandidate]


def _best_gains(activation: str, n_inputs: int, limit: float, judged: Judged) -> StartCandidate | None:
    """The best common gain; then for each input the least that is nearly as good, or more where that is far better.

    None, without further candidates, once what it has come to leaves out as much as the limit.
    """
    best = _best_common(activation, n_inputs, judged)
    for k in range(n_inputs):
        for factor, allowed in ((1.0 / RUNG, WORTH), (RUNG, 1.0 / WORTH)):
            least, before = best.left_out, best
            while best.left_out < limit and COMMON[0] <= best.gains[k] * factor <= LARGEST_GAIN:
                candidate = judged(activation, _rung(best.gains, k, factor))
                if not candidate.left_out < allowed * least:
                    break
                best, least = candidate, min(least, candidate.left_out)
            if best is not before:
                break
    return best if best.left_out < limit else None


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

    first: nn.Linear
    weight: Tensor
    bias: Tensor | None
    kinks: Tensor
    phases: Tensor
    open_activations: Sequence[Activation]
    activation: str

    @classmethod
    def of(cls, net: nn.Module, first: nn.Linear, seed: int) -> "_Start":
        generator = torch.Generator("cpu").manual_seed(seed)
        shape = first.weight.shape
        uniform = 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") - 1.0
        phases = math.pi * (2.0 * torch.rand(shape[0], generator=generator, dtype=torch.float64, device="cpu") - 1.0)
        activations = [module for module in net.modules() if isinstance(module, Activation)]
        name = activations[0].name if activations else "its own"
        bias = None if first.bias is None else first.bias.detach().clone()
        weight = first.weight.detach().clone()
        is_open = bool(activations) and all(a.is_open for a in activations)
        return cls(first, weight, bias, uniform.to(weight), phases.to(weight), activations if is_open else (), name)

    @property
    def is_open(self) -> bool:
        """Whether the activation may be changed."""
        return bool(self.open_activations)

    def put(self, activation: str, gains: tuple[float, ...]) -> None:
        """Makes the network start so."""
        for module in self.open_activations:
            module.name = activation
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
