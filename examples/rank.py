"""1.7: what of the rank can be seen, from D itself and through DDᵀ, and how D⁺ jumps where it changes."""

import math

import numpy as np
import torch
from study import BLUE, GREY, ORANGE, name_lines, network, panels, save, table
from torch import Tensor

import geodescent as gd

EPS = torch.finfo(torch.float64).eps
CUTS = (None, 1e-8, 1e-4)  # the default first
GAPS = 10.0 ** np.arange(0.0, -17.0, -0.5)


def sinc() -> tuple[Tensor, Tensor]:
    """sin(10x)/10x at 100 places."""
    places = torch.linspace(-1.0, 1.0, 100, dtype=torch.float64)[:, None]
    return places, torch.sinc(10.0 * places / math.pi)


def values(model: torch.nn.Module, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The singular values of D, and what the eigenvalues of DDᵀ say of them; those below zero as their size."""
    jacobian = gd.SampleMap(model, inputs).linearise()[1]
    through = torch.linalg.eigvalsh(jacobian.gram()).flip(0).abs().sqrt()
    return torch.linalg.svdvals(jacobian.dense()).numpy(), through.numpy()


def speeds(gap: float) -> tuple[int | None, float, int | None, float]:
    """Rank and ‖D⁺r‖, from D and through DDᵀ: 20 samples of diabetes, the second moved to this gap from the first."""
    inputs, targets = table("diabetes", 20)
    inputs[1] = inputs[0] + gap * (inputs[1] - inputs[0])
    problem = gd.Problem.of(network(10, 24, 1), inputs, targets)
    residual, jacobian = problem.linearise(problem.theta)
    lifts = (gd.NormalLift(), gd.GramLift())  # the first takes the singular values of D where DᵀD is singular
    direct, through = (lift.prepare(jacobian).lift(-residual, damping=0.0) for lift in lifts)
    return direct.rank, float(direct.velocity.norm()), through.rank, float(through.velocity.norm())


def main() -> None:
    """Prints ranks and floors, and draws spectra and jumps."""
    figure, (spectra, jumps) = panels(
        "singular values of D over the largest", "speed ‖D⁺r‖, two samples brought together"
    )
    model, (inputs, targets) = network(1, 40, 40, 1), sinc()
    sigma, through = values(model, inputs)
    m, k = len(sigma), gd.SampleMap(model, inputs).n_params
    floors = (max(m, k) * EPS, math.sqrt(m * EPS))
    kept = [int((v > floor * v[0]).sum()) for v, floor in zip((sigma, through), floors, strict=True)]
    digits, _ = values(network(64, 10, 10), table("digits", 10)[0])
    for name, these, colour in (("sinc, from D", sigma, BLUE), ("sinc, through DDᵀ", through, ORANGE)):
        spectra.semilogy(these / these[0], ".", color=colour, markersize=4, label=name)
    spectra.semilogy(digits / digits[0], ".", color=GREY, markersize=4, label="digits, from D")
    for floor, colour, name in ((floors[0], BLUE, "max(m,K)·eps"), (floors[1], ORANGE, "√(m·eps)")):
        spectra.axhline(floor, color=colour, linewidth=0.9, linestyle=":")
        spectra.text(m, 1.6 * floor, name, color=colour, fontsize=8, ha="right", va="bottom")
    print(
        f"sinc, tanh 1-40-40-1, m = {m}, K = {k}: {kept[0]} singular values above {floors[0]:.1e}·σ_max from D, "
        f"{kept[1]} above {floors[1]:.1e}·σ_max through DDᵀ."
    )
    print(
        f"digits, tanh 64-10-10, m = {len(digits)}: no σ below {digits[-1] / digits[0]:.1e}·σ_max, full rank both ways."
    )
    seen = [gd.certify(model, inputs, targets, rcond=rcond) for rcond in CUTS]
    print(
        f"sinc, C = {seen[0].cost:.1e}, by rcond: "
        + "; ".join(f"{one.rcond:.0e}: rank {one.rank}, instant floor {one.floor:.0e}" for one in seen)
        + "."
    )
    rows, told = [speeds(gap) for gap in GAPS], []
    for at, name, colour, marker in ((1, "from D", BLUE, "o"), (3, "through DDᵀ", ORANGE, ".")):
        speed = [row[at] for row in rows]
        jumps.loglog(GAPS, speed, marker, color=colour, markersize=5, fillstyle="none", label=name)
        last = max(i for i, row in enumerate(rows) if row[at - 1] == rows[0][at - 1])
        told.append(
            f"{name} {speed[last]:.1e} at {GAPS[last]:.0e}, cut at {GAPS[last + 1]:.0e} to {speed[last + 1]:.2g}"
        )
    print(f"diabetes, ‖D⁺r‖ by the gap of two samples: {'; '.join(told)}.")
    spectra.set_xlabel("index")
    jumps.set_xlabel("gap, as a share of their distance; closer →")
    jumps.invert_xaxis()
    jumps.minorticks_off()
    name_lines(spectra, loc="center left", bbox_to_anchor=(0.3, 0.74))
    name_lines(jumps)
    save(figure, __file__)


if __name__ == "__main__":
    main()
