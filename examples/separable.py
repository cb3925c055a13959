"""3.2, 3.3, 3.4: zero cost written down without descent: which real classes planes take apart, and at what price."""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from study import COLOURS, INK, accuracy, name_lines, panels, save, table
from torch import Tensor

import geodescent as gd
from geodescent.constructive import Explicit

DATA = ("iris", "wine", "breast_cancer", "digits")  # all samples of each
SHOWN = "wine"  # whose classes are drawn as they collapse
TRAINED = 0.75  # of the samples, where the rest is held out


def main() -> None:
    """Builds the networks, prints their errors or why there is none, and draws the collapse."""
    figure, (left, right) = panels(f"{SHOWN}: each class becomes a point", "condition number of the layers' matrices")
    for colour, name in zip(COLOURS, DATA, strict=False):
        inputs, targets = table(name)
        network = built(gd.constructive.separable, inputs, targets)
        if isinstance(network, str):
            print(f"{name}: refused, " + network.replace(". Left", ".\n    Left"))
            continue
        off = float((network(inputs).detach() - targets).abs().max())
        least = min(network.report.apertures)
        print(
            f"{name}, {len(inputs)} samples, {len(network) // 2} hidden layers: largest |x − y| {off:.0e}, "
            f"least λ {least:.1e}, condition {network.report.condition:.1e}; built on {TRAINED:.0%}, "
            f"right on {held_out(inputs, targets):.1%} of the rest."
        )
        conditions = [float(torch.linalg.cond(weight)) for weight, _ in collapse(network, inputs)]
        layers = range(1, len(conditions) + 1)
        right.semilogy(layers, conditions, "o-", color=colour, markersize=4, label=f"{name}, error {off:.0e}")
        if name == SHOWN:
            draw(left, network, inputs, targets)
    found = {name: str(built(gd.constructive.clustered, *table(name))).split(": ")[0] for name in DATA}
    print("clustered: " + ", ".join(f"{name} refused at {stage}" for name, stage in found.items()) + ".")
    count_pairs()
    right.set_xlabel("hidden layer")
    right.set_ylim(10, 1e6)
    right.minorticks_off()
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_lines(right)
    save(figure, __file__)


def built(make: Callable[[Tensor, Tensor], Explicit], inputs: Tensor, targets: Tensor) -> Explicit | str:
    """The network, or the sentence that says why there is none."""
    try:
        return make(inputs, targets)
    except gd.InputError as refusal:
        return str(refusal)


def held_out(inputs: Tensor, targets: Tensor) -> float:
    """Accuracy on the samples that the construction did not see; `table` has drawn them in random order."""
    seen = int(TRAINED * len(inputs))
    return accuracy(gd.constructive.separable(inputs[:seen], targets[:seen]), inputs[seen:], targets[seen:])


def collapse(network: Explicit, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """`W^(ℓ) = W_ℓ⋯W₁` of each hidden layer, and its outputs taken back to input space: z = (W^(ℓ))⁻¹(h − b^(ℓ))."""
    weight, bias, hidden = torch.eye(inputs.shape[1]).double(), torch.zeros(inputs.shape[1]).double(), inputs
    for layer in network[:-1:2]:
        hidden = torch.relu(layer(hidden)).detach()
        weight = layer.weight.detach() @ weight
        bias = layer.weight.detach() @ bias + layer.bias.detach()
        yield weight, torch.linalg.solve(weight, (hidden - bias).T).T


def draw(axes: Axes, network: Explicit, inputs: Tensor, targets: Tensor) -> None:
    """Where samples lie from the planes of the first two layers, and the points that their classes become."""
    stages = list(collapse(network, inputs))
    normals = torch.stack([weight.sum(0) / math.sqrt(len(weight)) for weight, _ in stages[:2]])  # W^(ℓ)ᵀu
    end, kinds = stages[-1][1], torch.unique(targets, dim=0)
    classes = [(targets == kinds[j]).all(1) for j in network.report.order]  # as the layers collapse them
    planes = torch.stack([normals[i] @ end[classes[i]][0] for i in range(2)])
    for layer, (colour, rows) in enumerate(zip(COLOURS, classes, strict=False), start=1):
        start, goal = inputs[rows] @ normals.T - planes, (end[rows] @ normals.T - planes).mean(0)
        for one in start:
            axes.plot(*torch.stack([one, goal]).T, color=colour, linewidth=0.3, alpha=0.35)
        axes.plot(*start.T, ".", color=colour, markersize=3)
        label = f"{int(rows.sum())} samples, a point after layer {layer}"
        axes.plot(*goal, "o", color=colour, markersize=9, markeredgecolor="white", label=label)
    axes.axvline(0.0, color=INK, linewidth=0.7)
    axes.axhline(0.0, color=INK, linewidth=0.7)
    axes.set_xlabel("distance from the plane of layer 1")
    axes.set_ylabel("distance from the plane of layer 2")
    name_lines(axes)


def count_pairs() -> None:
    """Of all pairs of digits, how many each construction takes apart."""
    inputs, targets = table("digits")
    done = dict.fromkeys((gd.constructive.clustered, gd.constructive.separable), 0)
    for pair in itertools.combinations(range(10), 2):
        rows = targets[:, pair].sum(1) > 0.0
        for make in done:
            done[make] += not isinstance(built(make, inputs[rows], targets[rows]), str)
    print("of the 45 pairs of digits " + " and ".join(f"{make.__name__} fits {n}" for make, n in done.items()) + ".")


if __name__ == "__main__":
    main()
