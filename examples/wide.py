"""3.6: any targets of distinct inputs, fitted by width alone: what it costs in digits as the samples grow more."""

import torch
from study import BLUE, INK, ORANGE, name_lines, panels, save, table
from torch import Tensor

import geodescent as gd

SIZES = (2, 4, 8, 11, 12, 20, 40, 80, 160, 320, 442)  # of the 442 samples of diabetes, M = 10 features
EPS = torch.finfo(torch.float64).eps


def main() -> None:
    """Fits ever more samples, to their own targets and to random ones, and prints and draws error and condition."""
    inputs, progression = table("diabetes")
    drawn = torch.randn(len(inputs), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    figure, (left, right) = panels("condition number of the last layer's system", "largest |output − target|")
    condition = [measured(inputs[:n], progression[:n])[0] for n in SIZES]
    left.loglog(SIZES, condition, "o-", color=INK, markersize=4)
    right.loglog(
        SIZES, [EPS * c for c in condition], color=INK, linewidth=5.0, alpha=0.15, label="eps × condition number"
    )
    for colour, name, targets in ((BLUE, "disease progression", progression), (ORANGE, "random numbers", drawn)):
        errors = [measured(inputs[:n], targets[:n])[1] for n in SIZES]
        right.loglog(SIZES, errors, "o", color=colour, markersize=5, label=f"targets: {name}")
    most = inputs.shape[1] + 1
    for axes in (left, right):
        axes.axvline(most + 0.5, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("samples N")
        axes.set_xticks([2, 11, 50, 100, 442], ["2", "11", "50", "100", "442"])
        axes.minorticks_off()
    left.text(most, left.get_ylim()[1], "identity  \nN ≤ M + 1  ", ha="right", va="top", fontsize=8, color=INK)
    left.text(most + 1, left.get_ylim()[1], "  triangle", ha="left", va="top", fontsize=8, color=INK)
    name_lines(right, loc="lower right")
    save(figure, __file__)
    for n in (most, most + 1, len(inputs)):
        measured(inputs[:n], progression[:n], "diabetes, disease progression")
    measured(inputs, drawn, "diabetes, random targets")
    measured(*table("digits"), "digits, one-hot targets")
    held_out(inputs, progression)


def measured(inputs: Tensor, targets: Tensor, say: str = "") -> tuple[float, float]:
    """The condition number, and the largest error by a forward pass; said in a sentence where it is to be."""
    network = gd.constructive.wide(inputs, targets)
    condition, error = network.report.condition, float((network(inputs).detach() - targets).abs().max())
    if say:
        print(
            f"{say}: N = {len(inputs)} samples of M = {inputs.shape[1]} features, hidden width "
            f"{network[0].out_features}: largest |x − y| {error:.0e}, condition number {condition:.0e}."
        )
    return condition, error


def held_out(inputs: Tensor, targets: Tensor) -> None:
    """What exact fits of half the samples are worth on the other half."""
    half = len(inputs) // 2
    network = gd.constructive.wide(inputs[:half], targets[:half])
    off = (network(inputs[half:]).detach() - targets[half:]).square().mean() / 2.0
    mean = (targets[half:] - targets[:half].mean()).square().mean() / 2.0
    print(
        f"fitted to one half of diabetes the held-out cost is {float(off):.0e}; that of the mean is {float(mean):.2f}."
    )


if __name__ == "__main__":
    main()
