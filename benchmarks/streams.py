"""Residual, D and second derivative of an equation beside torch.func: `python benchmarks/streams.py`; one thread.

Poisson's equation at 900 points and values at 120, networks of several sizes: the least and the median milliseconds of
the processor over 40 calls, `vmap(jacrev(hessian))` of the same residual, and how far apart the two D are.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, hessian, jacrev, vmap

from geodescent import pde

WIDTHS = ([64], [20, 20], [20, 20, 20], [35, 34])


def main() -> None:
    """A line for each network."""
    torch.set_num_threads(1)
    for widths in WIDTHS:
        system = poisson(widths)
        maps, theta = [block.map for block in system.problem().blocks], system.problem().theta
        ours = torch.cat([outputs.linearise(theta)[1].dense() for outputs in maps])
        theirs = by_torch(system, [outputs.points[0] for outputs in maps])
        off = float((ours - theirs()).norm() / ours.norm())
        direction = torch.randn_like(theta)
        linearised = milliseconds(lambda maps=maps, theta=theta: [outputs.linearise(theta) for outputs in maps])
        bent = milliseconds(lambda: [outputs.second_derivative(theta, direction) for outputs in maps])  # noqa: B023
        torchs = milliseconds(theirs, 8)
        print(
            f"{widths}, K = {len(theta)}, m = {len(ours)}: residual and D {linearised[0]:.1f} ms (median "
            f"{linearised[1]:.1f}), torch.func {torchs[0]:.1f} ({torchs[1]:.1f}), {torchs[0] / linearised[0]:.1f} "
            f"times; second derivative {bent[0]:.1f}, {bent[0] / linearised[0]:.2f} of a linearisation; D off {off:.0e}"
        )


def poisson(widths: list[int]) -> pde.System:
    """Δu = sin x in a square, u = 0 around it."""
    box = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))
    inside = pde.Term("poisson", lambda u, x: u.laplacian - torch.sin(x), box.inside(900))
    walls = pde.Term("walls", lambda u: u, box.sides().points(120))
    return pde.System(pde.mlp(2, widths, 1, "tanh"), [inside, walls], coordinates=("x", "y"))


def by_torch(system: pde.System, points: list[Tensor]) -> Callable[[], Tensor]:
    """The same D, by nested transforms of torch."""
    net, centre, half = system.module.net, system.module.centre, system.module.half_range
    parameters = dict(net.named_parameters())

    def value(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(net, p, ((x - centre) / half,))[0]

    def residual(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return hessian(lambda at: value(p, at))(x).trace() - torch.sin(x[0])

    def rows() -> Tensor:
        found = [vmap(jacrev(f), (None, 0))(parameters, x) for f, x in zip((residual, value), points, strict=True)]
        return torch.cat([torch.cat([d[name].flatten(1) for name in parameters], 1) for d in found]).detach()

    return rows


def milliseconds(call: Callable[[], object], times: int = 40) -> tuple[float, float]:
    """The least and the median, of the processor."""
    call()
    seconds = []
    for _ in range(times):
        begin = time.process_time()
        call()
        seconds.append(time.process_time() - begin)
    return 1e3 * min(seconds), 1e3 * sorted(seconds)[times // 2]


if __name__ == "__main__":
    main()
