"""3.5: the least cost in closed form of a network whose hidden layer acts as the identity, and what lies below it."""

import copy

import torch
from matplotlib.axes import Axes
from study import BLUE, INK, ORANGE, accuracy, name_lines, network, panels, save, table
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import geodescent as gd

DATA = ("iris", "wine", "digits")  # all samples of each
SHOWN = "wine"
STARTS = 3  # of torch's own, descended from for comparison
STEPS = 40  # of gd.fit, at most


def main() -> None:
    """Compares formula and network, descends from there and from elsewhere, and draws both."""
    figure, (left, right) = panels(
        f"{SHOWN}, classes shrunk towards their means", f"{SHOWN}, on the way to a lower cost"
    )
    for name in DATA:
        inputs, targets = features(name)
        made = gd.constructive.shallow(inputs, targets)
        measured, bound = cost(made, inputs, targets), spread(inputs, targets)[1]
        print(
            f"{name}: the formula says {made.report.minimum:.12f}, the network has {measured:.12f}; "
            f"tr[YΔYᵀ] = {bound:.2f}; accuracy {accuracy(made, inputs, targets):.3f}."
        )
        after, steps = descended(copy.deepcopy(made), inputs, targets)
        others = [network(*[targets.shape[1]] * 3, act=nn.ReLU, seed=seed) for seed in range(STARTS)]
        ends = [descended(other, inputs, targets)[0] for other in others]
        print(
            f"{name}: gd.fit from there takes {steps} steps and ends at {after:.6f}; "
            f"from {STARTS} starts of torch's it ends at {', '.join(f'{end:.3f}' for end in ends)}."
        )
        if name == SHOWN:
            shrink(left, inputs, targets)
            segment(right, made, others[ends.index(min(ends))], inputs, targets)
    without_constant()
    save(figure, __file__)


def features(name: str, *, constant: bool = True) -> tuple[Tensor, Tensor]:
    """As many columns as classes: principal components, the last replaced by a column of ones if asked for."""
    inputs, targets = table(name)
    inputs, kept = inputs - inputs.mean(0), targets.shape[1] - constant
    components = inputs @ torch.linalg.svd(inputs, full_matrices=False)[2][:kept].T
    return torch.cat([components / components.std(0), torch.ones(len(inputs), 1).double()], 1)[
        :, : kept + constant
    ], targets


def cost(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """`Σ_j Σ_i ‖x_ji − y_j‖²/N_j`: every class counts alike, and no ½."""
    return float((class_weights(targets)[:, None] * (model(inputs).detach() - targets).square()).sum())


def class_weights(targets: Tensor) -> Tensor:
    """1/N_j for each sample."""
    return 1.0 / targets.sum(0)[targets.argmax(1)]


def spread(inputs: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """X̄, the class means as columns, and tr[YΔYᵀ], Δ = X̄⁻¹(Σ_j cov_j)X̄⁻ᵀ; Y is the identity for one-hot targets."""
    classes = [inputs[targets[:, j] == 1.0] for j in range(targets.shape[1])]
    means = torch.stack([rows.mean(0) for rows in classes], 1)
    within = torch.stack([torch.cov(rows.T, correction=0) for rows in classes]).sum(0)
    inverse = torch.linalg.inv(means)
    return means, float(torch.trace(inverse @ within @ inverse.T))


def descended(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[float, int]:
    """The same cost after gd.fit, whose own cost with weights 1/N_j is its 1/(2J)-th part; and the steps taken."""
    solution = gd.fit(model, inputs, targets, weights=class_weights(targets), max_steps=STEPS)
    return cost(model, inputs, targets), solution.steps


def shrink(axes: Axes, inputs: Tensor, targets: Tensor) -> None:
    """Formula, first bound and measured cost as the classes shrink to points."""
    middle = targets @ spread(inputs, targets)[0].T
    factors = torch.logspace(-2, 0.3, 12).double()
    tables = [middle + factor * (inputs - middle) for factor in factors]
    made = [gd.constructive.shallow(one, targets) for one in tables]
    axes.loglog(factors, [spread(one, targets)[1] for one in tables], color=ORANGE, label="tr[YΔYᵀ]")
    axes.loglog(factors, [m.report.minimum for m in made], color=BLUE, label="tr[YΔ(1 + Δ)⁻¹Yᵀ]")
    costs = [cost(m, one, targets) for m, one in zip(made, tables, strict=True)]
    axes.loglog(factors, costs, "o", color=INK, markersize=4, label="cost of the network, measured")
    axes.axvline(1.0, color=INK, linewidth=0.7, linestyle=":")
    axes.set_xlabel("spread of the classes, 1 as in the data")
    axes.minorticks_off()
    name_lines(axes)


def segment(axes: Axes, made: nn.Module, lower: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """The cost on the straight line in parameter space from the closed form to a network that descent has found."""
    start, end = (parameters_to_vector(model.parameters()).detach() for model in (made, lower))
    between, shares, costs = copy.deepcopy(lower), torch.linspace(-0.3, 1.3, 161).double(), []
    for share in shares:
        vector_to_parameters(start + share * (end - start), between.parameters())
        costs.append(cost(between, inputs, targets))
    axes.plot(shares, costs, color=BLUE)
    for share, model, colour, label in ((0.0, made, INK, "closed form"), (1.0, lower, ORANGE, "gd.fit, torch's start")):
        axes.plot(share, cost(model, inputs, targets), "o", color=colour, markersize=7, label=label)
    axes.set_xlabel("share of the straight line between the two")
    axes.set_ylim(0.0, 5.0)
    name_lines(axes)


def without_constant() -> None:
    """What happens where no combination of the inputs is constant."""
    try:
        gd.constructive.shallow(*features(SHOWN, constant=False))
    except gd.InputError as refusal:
        print(f"{SHOWN}, centred and without a column of ones: {refusal}")
    inputs, targets = features(SHOWN, constant=False)
    inputs = inputs + torch.ones(inputs.shape[1]).double()
    made = gd.constructive.shallow(inputs, targets)
    before = cost(made, inputs, targets)
    after, steps = descended(made, inputs, targets)
    print(
        f"{SHOWN}, off centre by 1 and without it: gd.fit goes from {before:.3f} to {after:.3f} in {steps} steps, "
        "by its biases."
    )


if __name__ == "__main__":
    main()
