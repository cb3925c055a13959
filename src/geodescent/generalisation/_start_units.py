"""The start of a network in the units of its data."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geodescent._types import Theta
from geodescent.metric import LayerUnits, entries_of, over_weight, sample_mean, target_mean
from geodescent.outputs import NetworkMap, OutputMap, Sampled
from geodescent.problem import Problem

MEAN_STEP = (
    10.0  # Units of the targets: their mean is taken in steps of this, so that data of order one stay as they are.
)

SATURATING = (
    100.0  # Times the size that a start is made for: beyond it units of the network are saturated, or see nothing.
)


@dataclass(frozen=True)
class StartUnits:
    """What was changed because of units.

    Attributes:
        inputs: name of a first layer → what the weights of each input column were divided by, (d,).
        target: what the last layer was multiplied by.
        shift: what was added to the last layer's biases, (Q,); empty where nothing was.
    """

    inputs: dict[str, tuple[float, ...]] = field(default_factory=dict)
    target: float = 1.0
    shift: tuple[float, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was."""
        return bool(self.inputs) or self.target != 1.0 or bool(self.shift)

    @property
    def saturated(self) -> str | None:
        """What the data are far from, where they are far from what the layers expect; None where they are not."""
        sizes = [size for divisors in self.inputs.values() for size in divisors]
        wrong = list[str]()
        if sizes and max(max(sizes), 1.0 / min(sizes)) >= SATURATING:
            far = max(sizes, key=lambda size: abs(math.log(size)))
            wrong.append(f"inputs are of size {far:.0e}")
        if max(self.target, 1.0 / self.target) >= SATURATING:
            wrong.append(f"targets vary by {self.target:.0e}")
        shift = max((abs(shift) for shift in self.shift), default=0.0)
        if shift >= SATURATING * self.target:
            wrong.append(f"targets lie about {shift:.0e}")
        return " and ".join(wrong) or None

    def __str__(self) -> str:
        lines = list[str]()
        for name, divisors in self.inputs.items():
            low, high = min(divisors), max(divisors)
            size = f"{low:.0e}" if low == high else f"{low:.0e} to {high:.0e}"
            layer = name or "(the model)"
            lines.append(f"units: the inputs of layer {layer} are of size {size}: its weights divided by it")
        if self.target != 1.0:
            lines.append(f"units: the targets vary by {self.target:.0e}: the last layer multiplied by it")
        if self.shift:
            shown = ", ".join(f"{shift:g}" for shift in self.shift[:3]) + ", …" * (len(self.shift) > 3)
            lines.append(f"units: the targets lie about {shown}: added to the last biases")
        return "\n".join(lines)


UNCHANGED = StartUnits()


def in_units(
    problem: Problem, theta: Theta, units: LayerUnits | None, *, most_samples: int | None = None
) -> tuple[Theta, StartUnits]:
    """θ as it would be if all data were of order one: `W[:, d] / u(a_d)`, `u(y − ȳ) (W, b)`, and `b + ȳ`, rounded.

    What suits its data already is left alone: a size of W, relative to the 1/√(3 d) of torch's own start, that is
    closer to what the unit asks for than to 1.

    Args:
        most_samples: of which the outputs are looked at, evenly spaced; None for all.
    """
    if units is None:
        return theta, StartUnits()
    theta, inputs = theta.clone(), dict[str, tuple[float, ...]]()
    for name, layer in units.layers.first.items():
        weight, unit = _parameter(layer, "weight"), units.inputs[name]
        where = entries_of(units.outputs, weight)
        if where is None or weight is None or bool((unit == 1.0).all()):
            continue
        size = _relative_size(theta[where].view(weight.shape))
        divisor = over_weight(unit, layer)
        divisor = torch.where(_closer(size, size * divisor), divisor, 1.0)
        theta[where] /= divisor.reshape(-1).to(theta.dtype)
        if bool((divisor != 1.0).any()):
            inputs[name] = tuple(divisor.double().movedim(1, 0).flatten(1).amax(1).tolist())
    target = _scaled_last(theta, units)
    return theta, StartUnits(inputs, target, _shifted(problem, theta, units, most_samples))


def _scaled_last(theta: Theta, units: LayerUnits) -> float:
    """What the last layer is multiplied by, in place."""
    last = units.layers.last
    places = [] if last is None else [entries_of(units.outputs, last.weight), entries_of(units.outputs, last.bias)]
    if last is None or places[0] is None or units.target == 1.0:
        return 1.0
    size = _relative_size(theta[places[0]].view(last.weight.shape)).mean()
    if not bool(_closer(size, size / units.target)):
        return 1.0
    for where in places:
        if where is not None:
            theta[where] *= units.target
    return units.target


def _shifted(problem: Problem, theta: Theta, units: LayerUnits, most: int | None) -> tuple[float, ...]:
    """What is added to the biases of the last layer, in place: what outputs lack on the mean, rounded."""
    last = units.layers.last
    where = None if last is None else entries_of(units.outputs, last.bias)
    if where is None:
        return ()
    block = next(block for block in problem.blocks if isinstance(block.map, NetworkMap))
    seen: OutputMap
    seen, weights, n = block.map, block.weights, block.n_samples
    if most is not None and isinstance(seen, Sampled) and n > most:
        some = [i * n // most for i in range(most)]
        seen, weights = seen.at(some), None if weights is None else weights[some]
    outputs = seen(theta).reshape(-1, block.n_outputs)
    step = MEAN_STEP * units.target
    shift = step * ((target_mean(block) - sample_mean(outputs, weights)) / step).round()
    if not bool(torch.isfinite(shift).all()) or not bool(shift.any()) or len(shift) != where.stop - where.start:
        return ()
    theta[where] += shift.to(theta.dtype)
    return tuple(shift.tolist())


def _relative_size(weight: Tensor) -> Tensor:
    """The root mean square of the weights of each input, relative to 1/√(3 d), in the shape of the weight."""
    fan_in = weight[0].numel()
    axes = [0, *range(2, weight.dim())]
    rms = weight.double().square().mean(axes, keepdim=True).sqrt() * (3.0 * fan_in) ** 0.5
    return torch.broadcast_to(rms, weight.shape)


def _closer(size: Tensor, other: Tensor) -> Tensor:
    """Whether a size is closer to 1 than the other, in the logarithm."""
    return (size.log().abs() < other.log().abs()) & (size > 0.0)


def _parameter(layer: nn.Module, name: str) -> Tensor | None:
    found = getattr(layer, name)
    return found if isinstance(found, Tensor) else None
