"""1.5: rank taken on purpose, found out; what kind of point descent ends at, and a walk along a critical set."""

import copy
from collections import Counter

import numpy as np
import torch
from study import COLOURS, GREY, name_lines, network, panels, save, table
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import classify, critical_manifold, deep_relu, kill_units, repeat_samples, silence_units

SAMPLES = 12
Case = tuple[nn.Module, Tensor, Tensor]


def whole(act: type[nn.Module] = nn.Tanh) -> Case:
    """Twelve patients, K = 73 > m = 12."""
    return network(10, 6, 1, act=act), *table("diabetes", SAMPLES)


def dead() -> Case:
    """Five of six ReLU units never fire."""
    model, inputs, targets = whole(nn.ReLU)
    kill_units(model, inputs, "0", range(1, 6))
    return model, inputs, targets


def silent() -> Case:
    """The weights behind all hidden units are zero."""
    model, inputs, targets = whole()
    silence_units(model, "2", range(6))
    return model, inputs, targets


def repeated() -> Case:
    """Four patients a second time, under other targets."""
    model, inputs, targets = whole()
    return model, *repeat_samples(inputs, targets, 4)


def deep() -> Case:
    """As many ReLU layers of one unit as there are patients."""
    _, inputs, targets = whole()
    return deep_relu(inputs, 1, SAMPLES), inputs, targets


CASES = {
    "as it starts": whole,
    "five of six units dead": dead,
    "all units silenced": silent,
    "four samples repeated": repeated,
    "twelve ReLU layers": deep,
}


def spectrum(case: Case) -> np.ndarray:
    """Singular values of D, relative to the largest."""
    model, inputs, _ = case
    values = torch.linalg.svdvals(gd.SampleMap(model, inputs).linearise()[1].dense())
    return (values / values[0]).numpy()


def walk(axes) -> None:
    """The cost along the critical set where samples are repeated, and along a straight way of the same length."""
    model, inputs, targets = repeated()
    gd.fit(model, inputs, targets)
    path = critical_manifold(model, inputs, targets, steps=40, step_size=0.02)
    cost, theta = path.cost.numpy(), path.theta
    length = (theta - theta[0]).norm(dim=1)
    direction = torch.randn(theta.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    straight, other = list[float](), copy.deepcopy(model)
    for reach in length:
        nn.utils.vector_to_parameters(theta[0] + reach * direction / direction.norm(), other.parameters())
        straight.append(float((other(inputs).detach() - targets).square().sum()) / (2 * len(inputs)))
    axes.plot(length, cost, color=COLOURS[0], label="along the critical set")
    axes.plot(length, straight, color=GREY, label="straight on, at random")
    axes.set_xlabel("‖θ − θ₀‖")
    name_lines(axes)
    print(
        f"Along the critical set, {path.length:.2f} long: cost {cost[0]:.6f}, constant to {np.ptp(cost):.0e}, "
        f"‖∇C‖ ≤ {float(path.gradient.max()):.0e}."
    )


def main() -> None:
    """What each loss does to the rank, who is named, and where a descent from there ends."""
    torch.set_num_threads(1)
    figure, (left, right) = panels("singular values of D at the start", "cost on the way from where descent ended")
    for colour, (name, case) in zip(COLOURS, CASES.items(), strict=True):
        model, inputs, targets = case()
        values = spectrum((model, inputs, targets))
        left.semilogy(
            range(1, len(values) + 1), np.maximum(values, 1e-18), "o-", color=colour, markersize=3, label=name
        )
        certificate = gd.certify(model, inputs, targets)
        lost = Counter[str]()
        for cause in certificate.causes:
            lost[cause.kind] += cause.parameters_lost
        named = ", ".join(f"{kind} ({n} parameters)" if n else kind for kind, n in lost.items()) or "nothing"
        gd.fit(model, inputs, targets)
        end = classify(model, inputs, targets)
        size = f" of dimension {end.dimension}, K − r = {end.n_params - end.rank}" if end.dimension is not None else ""
        print(
            f"{name}: rank {certificate.rank} of {certificate.n_residuals}, named {named}; ends at C = {end.cost:.1e},"
        )
        print(f"  {end.kind}{size}.")
    left.set_xlabel("number, largest first")
    name_lines(left, loc=(0.11, 0.28))
    walk(right)
    save(figure, __file__)


if __name__ == "__main__":
    main()
