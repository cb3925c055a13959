"""1.9: the condition at the start that keeps the rank, where it is sharp and where it is far from needed."""

import math

import numpy as np
import torch
from study import COLOURS, INK, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd

SLOPE, CURVATURE = 1.5, 0.8  # σ and L of the parabola
MARGINS = (0.9, 1.1)
DATA = {"diabetes": (20, 10, 1), "wine": (8, 13, 3)}  # samples, inputs, outputs
WIDTHS = (16, 64, 256)
GAIN = 1e3  # of the outputs of the networks of the second width


class Parabola(nn.Module):
    """`x = σθ − Lθ²/2`, θ = 0: no target above σ²/(2L) is reached, and D = 0 there."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, ones: Tensor) -> Tensor:
        """x."""
        return ones * (SLOPE * self.theta - 0.5 * CURVATURE * self.theta**2)


class Gain(nn.Module):
    """`g x`."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, outputs: Tensor) -> Tensor:
        """The outputs times g."""
        return self.gain * outputs


def parabola(margin: float) -> tuple[float, float]:
    """(margin, way/radius) of the flow towards the target of this margin; L is proven."""
    one, until = torch.ones(1, 1, dtype=torch.float64), 8.0
    if margin < 1.0:
        until = -0.9999 * math.log(1.0 - margin)  # x reaches the top at t = margin
    target = one * SLOPE**2 / (2.0 * CURVATURE * margin)
    certificate = gd.certify(Parabola(), one, target, lipschitz=CURVATURE)
    flow = gd.flow(Parabola(), one, target, until=until, tol=1e-6)
    way = float(flow.displacement[-1]) * CURVATURE / SLOPE
    known = f"bound {bound(margin):.4f}" if margin > 1.0 else "no bound"
    print(
        f"Parabola, margin {certificate.margin:.2f}, guaranteed: {certificate.guaranteed}; way {way:.4f} radii, "
        f"{known}; σ_min/σ₀ = {flow.sigma_min[-1] / SLOPE:.3f} at τ = {flow.time[-1]:.2f}."
    )
    return certificate.margin, way


def bound(margin: float) -> float:
    """Of the way, in radii σ₀/L of the ball."""
    return 1.0 - math.sqrt(1.0 - 1.0 / margin)


def followed(name: str, width: int, gain: float) -> tuple[float, float, float]:
    """Margin with an estimated L, way/radius, and the least σ_min/σ₀ on the way; x₀ − y as with gain 1."""
    n, d, q = DATA[name]
    inputs, targets = table(name, n)
    model = nn.Sequential(network(d, width, q), Gain(gain))
    targets = targets + (1.0 - 1.0 / gain) * model(inputs).detach()
    certificate = gd.certify(model, inputs, targets)
    flow = gd.flow(model, inputs, targets, until=4.0, tol=1e-5)
    ball = 2.0 * certificate.margin * math.sqrt(2.0 * n * flow.cost0) / certificate.sigma_min  # σ₀/L
    return certificate.margin, float(flow.displacement[-1]) / ball, float(flow.sigma_min.min() / flow.sigma_min[0])


def main() -> None:
    """The sharp case, then networks of growing width, and one with a gain."""
    torch.set_num_threads(1)  # with matrices of twenty rows a second one mostly waits
    figure, (ways, margins) = panels("way ‖θ − θ₀‖ over the ball's radius σ₀/L", "margin by width, L estimated")
    law = np.logspace(0.0, 1.5, 400)
    ways.loglog(law, [bound(margin) for margin in law], color=INK, linewidth=5.0, alpha=0.15, label="the bound")
    sharp = [parabola(margin) for margin in MARGINS]
    ways.loglog(*zip(*sharp, strict=True), "o", color=INK, fillstyle="none", label="parabola, L proven")
    for colour, name in zip(COLOURS, DATA, strict=False):
        wide = np.array([followed(name, width, 1.0) for width in WIDTHS])
        strong = followed(name, WIDTHS[1], GAIN)
        print(
            f"{name}, width {WIDTHS[0]} to {WIDTHS[-1]}: margin {wide[0, 0]:.1e} to {wide[-1, 0]:.1e}; "
            f"way {wide[0, 1]:.0f} to {wide[-1, 1]:.0f} radii, and yet σ_min/σ₀ ≥ {wide[:, 2].min():.3f} all along."
        )
        print(
            f"{name}, width {WIDTHS[1]}, outputs × {GAIN:g}: margin {strong[0]:.1f}, a forecast; "
            f"way {strong[1] / bound(strong[0]):.2f} of its bound, σ_min/σ₀ ≥ {strong[2]:.3f}."
        )
        ways.loglog([*wide[:, 0], strong[0]], [*wide[:, 1], strong[1]], ".", color=colour, label=f"networks on {name}")
        margins.loglog(WIDTHS, wide[:, 0], ".-", color=colour, label=name)
        margins.loglog(WIDTHS[1], strong[0], "s", color=colour, markersize=4, label=f"{name}, outputs × {GAIN:g}")
    margins.axhline(1.0, color=INK, linewidth=5.0, alpha=0.15)
    margins.set_xlabel("width of the hidden layer")
    ways.set_xlabel("margin σ₀²/(2L‖x₀ − y‖)")
    margins.set_ylim(1e-4, 1e3)
    margins.set_xticks(WIDTHS, map(str, WIDTHS))
    for axes in (ways, margins):
        axes.minorticks_off()
    name_lines(ways)
    name_lines(margins, loc="upper left", ncols=2)
    save(figure, __file__)


if __name__ == "__main__":
    main()
