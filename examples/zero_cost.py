"""1.5, 5.6: along the zero-cost set: the norm falls while every output stays at its target; and on the way there."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from study import BLUE, COLOURS, GREY, INK, ORANGE, accuracy, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import combined_flow, refine, squared_norm

TRAINED = 800  # of the 1,797 images of digits; the others are held out
FITTED, HIGHEST = 1e-24, 1e-20  # the cost that descent goes to, and what counts as zero afterwards
STEPS = 3  # along the zero-cost set
STRENGTHS = (0.0, 0.3, 1.0)  # η of the combined flow
SAMPLES = 30  # of wine; the others are held out
UNTIL = 0.5 * math.log(1e4)  # τ at which C/C₀ = 1e-4


def main() -> None:
    """Fits and refines digits, follows combined flows on wine, prints and draws both."""
    figure, (left, right) = panels("digits: along the zero-cost set", "wine: norm on the way to zero cost")
    refined(left)
    combined(right)
    save(figure, __file__)


def mean_square(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """C, by a forward pass."""
    with torch.no_grad():
        return 0.5 * float((model(inputs) - targets).square().sum()) / len(inputs)


def refined(axes: Axes) -> None:
    """Descends to zero cost, then to a smaller norm; measures again at every point that is asked about."""
    inputs, targets = table("digits")
    inputs = (inputs - inputs[:TRAINED].mean()) / inputs[:TRAINED].std()
    training, held_out = (inputs[:TRAINED], targets[:TRAINED]), (inputs[TRAINED:], targets[TRAINED:])
    model, seen = network(64, 256, 256, 10), dict[float, tuple[float, float, float]]()

    def watched(asked: nn.Module) -> Tensor:
        """½‖θ‖²; notes cost, held-out cost and held-out accuracy there."""
        value = squared_norm(asked)
        seen[value.item()] = mean_square(asked, *training), mean_square(asked, *held_out), accuracy(asked, *held_out)
        return value

    solution = gd.fit(model, *training, target_cost=FITTED)
    way = refine(model, *training, objective=watched, highest_cost=HIGHEST, max_steps=STEPS)
    norms = np.sqrt([2.0 * point.objective for point in way.points])
    costs, beyond, right = np.array([seen[point.objective] for point in way.points]).T
    print(
        f"digits, {TRAINED} images, m = {targets[:TRAINED].numel()}, tanh 64-256-256-10, "
        f"K = {len(nn.utils.parameters_to_vector(model.parameters()))}: "
        f"gd.fit reaches C = {solution.cost:.0e} in {solution.steps} steps."
    )
    print(
        f"refine, {STEPS} steps: ‖θ‖ from {norms[0]:.2f} to {norms[-1]:.2f}, {norms[-1] / norms[0] - 1.0:+.1%}; "
        f"C at the {len(costs)} points, by forward passes of our own: {', '.join(f'{c:.0e}' for c in costs)}."
    )
    print(
        f"held out, {len(held_out[0])} images: cost {beyond[0]:.4f} before, {beyond[-1]:.4f} after; "
        f"accuracy {right[0]:.4f} before, {right[-1]:.4f} after."
    )
    axes.plot(norms / norms[0], "o-", color=BLUE, label="‖θ‖")
    axes.plot(beyond / beyond[0], "o-", color=ORANGE, label="held-out cost")
    for step, cost in enumerate(costs):
        axes.text(step, 0.62, f"C = {cost:.0e}", ha="center", fontsize=8, color=INK)
    axes.set(xlabel="steps along the set", ylabel="relative to the start", xlim=(-0.4, STEPS + 0.4), ylim=(0.6, 1.05))
    axes.set_xticks(range(STEPS + 1))
    name_lines(axes, loc="lower left", bbox_to_anchor=(0.0, 0.12))


def combined(axes: Axes) -> None:
    """The same exponential cost whatever η; the norm is the smaller the larger η."""
    inputs, targets = table("wine")
    training, held_out = (inputs[:SAMPLES], targets[:SAMPLES]), (inputs[SAMPLES:], targets[SAMPLES:])
    for colour, strength in zip((GREY, *COLOURS), STRENGTHS, strict=False):
        model = network(13, 24, 3)
        path = combined_flow(model, *training, strength=strength, until=UNTIL)
        norms, off = np.sqrt(2.0 * path.objective), np.abs(path.cost / path.predicted_cost - 1.0).max()
        print(
            f"wine, {SAMPLES} samples, η = {strength:g}: C/C₀ = {path.cost[-1] / path.cost[0]:.6e}, at most "
            f"{off:.0e} off e^(−2τ); ‖θ‖ from {norms[0]:.2f} to {norms[-1]:.2f}; "
            f"held-out cost {mean_square(model, *held_out):.3f}."
        )
        axes.plot(path.time, norms / norms[0], color=colour, label=f"η = {strength:g}: cost off its law by {off:.0e}")
    axes.set(xlabel="time τ, e-folds of the residual", ylabel="‖θ‖, relative to the start", ylim=(0.8, 1.5))
    name_lines(axes, loc="upper left")


if __name__ == "__main__":
    main()
