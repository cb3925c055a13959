"""The cases of the benchmark: data, network, and what counts.

A case with a seed gives one `Task`: data and torch's own start both follow the seed. Inputs are standardised or stand
in the box that is stated; noise-free unless said; float64 unless said.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


@dataclass(frozen=True)
class Task:
    """A case drawn at one seed: the data to fit, the data held out, and the network at torch's own start."""

    inputs: Tensor
    targets: Tensor
    held_out_inputs: Tensor
    held_out_targets: Tensor
    model: nn.Module


@dataclass(frozen=True)
class Case:
    """One line of the list of cases.

    Attributes:
        name: unique.
        draw: seed → data.
        network: () → the network, at torch's own start under the seed set by `task`.
        noisy: judged on held-out error, not on time to a cost.
        smooth: noise-free, smooth and low-dimensional: the many-digit cases.
        dtype: of the data and the network.
    """

    name: str
    draw: Callable[[int], tuple[Tensor, Tensor, Tensor, Tensor]]
    network: Callable[[], nn.Module]
    noisy: bool = False
    smooth: bool = False
    dtype: torch.dtype = torch.float64

    def task(self, seed: int) -> Task:
        """The case drawn at this seed; the global random state is left as it was."""
        data = [part.to(self.dtype) for part in self.draw(seed)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.network().to(self.dtype)
        return Task(*data, model)


# --- networks -------------------------------------------------------------------------------------------------------


class Sine(nn.Module):
    """`sin(ω₀ z)`."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, z: Tensor) -> Tensor:
        """The activation."""
        return torch.sin(self.frequency * z)


def mlp(*widths: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Linear layers with the activation between them."""
    linears = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*(part for linear in linears[:-1] for part in (linear, activation())), linears[-1])


def sine_network() -> nn.Sequential:
    """2-128-128-3 with sines, ω₀ = 30 on the first layer (Sitzmann et al., arXiv:2006.09661, their start)."""
    first, second, last = nn.Linear(2, 128), nn.Linear(128, 128), nn.Linear(128, 3)
    with torch.no_grad():
        first.weight.uniform_(-1 / 2, 1 / 2)
        for linear in (second, last):
            linear.weight.uniform_(-((6 / 128) ** 0.5), (6 / 128) ** 0.5)
    return nn.Sequential(first, Sine(30.0), second, Sine(1.0), last)


def conv_net() -> nn.Sequential:
    """8 × 8 images, two convolutions of 8 and 16 channels, 10 outputs; tanh."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


# --- data -----------------------------------------------------------------------------------------------------------

Drawn = tuple[Tensor, Tensor, Tensor, Tensor]


def on_box(f: Callable[[Tensor], Tensor], dim: int, n: int, seed: int) -> Drawn:
    """n uniform points of [−1, 1]^dim and as many held out."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2 * n, dim, generator=generator, dtype=torch.float64) * 2 - 1
    y = f(x)[:, None]
    return x[:n], y[:n], x[n:], y[n:]


def on_interval(f: Callable[[Tensor], Tensor], n: int, seed: int) -> Drawn:
    """n equidistant points of [−1, 1], and those between them held out."""
    x = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    between = (x[1:] + x[:-1]) / 2
    return x, f(x), between, f(between)


def sinc(x: Tensor) -> Tensor:
    """The normalised sinc of 10x."""
    return torch.sinc(10 * x)


def smooth2d(x: Tensor) -> Tensor:
    """`sin 3x₁ cos 2x₂ + x₁²`."""
    return torch.sin(3 * x[:, 0]) * torch.cos(2 * x[:, 1]) + x[:, 0] ** 2


def smooth4d(x: Tensor) -> Tensor:
    """`exp(−‖x‖²) + 0.3 x₁x₂ − tanh(2x₃) x₄`."""
    return torch.exp(-(x**2).sum(1)) + 0.3 * x[:, 0] * x[:, 1] - torch.tanh(2 * x[:, 2]) * x[:, 3]


def friedman(n: int, noise: float, seed: int) -> Drawn:
    """scikit-learn's make_friedman1, targets standardised; the held-out part without noise."""
    x, y = datasets.make_friedman1(n, 10, noise=noise, random_state=seed)
    xt, yt = datasets.make_friedman1(1000, 10, noise=0.0, random_state=seed + 1000)
    mean, scale = y.mean(), y.std()
    parts = (2 * x - 1, (y - mean) / scale, 2 * xt - 1, (yt - mean) / scale)
    x, y, xt, yt = (torch.as_tensor(part, dtype=torch.float64) for part in parts)
    return x, y[:, None], xt, yt[:, None]


def teacher(seed: int) -> Drawn:
    """A 20-10-1 tanh network's own outputs at normal inputs; weights with variance 4/d_in."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(10, 20, generator=generator, dtype=torch.float64) * (4 / 20) ** 0.5
    last = torch.randn(1, 10, generator=generator, dtype=torch.float64) * (4 / 10) ** 0.5
    x = torch.randn(4000, 20, generator=generator, dtype=torch.float64)
    y = torch.tanh(x @ first.T) @ last.T
    return x[:2000], y[:2000], x[2000:], y[2000:]


def real(name: str, seed: int, *, test_size: float = 0.25, n: int | None = None) -> Drawn:
    """A real table of scikit-learn: split by the seed, scaled on the training part; classes one-hot.

    Images are scaled by one common mean and deviation, other columns each by its own.
    """
    bunch = getattr(datasets, f"load_{name}")()
    classes = name != "diabetes"
    rows = np.arange(len(bunch.data))
    train, test = train_test_split(
        rows, test_size=test_size, random_state=seed, stratify=bunch.target if classes else None
    )
    train = train[:n]
    axis = None if name == "digits" else 0
    x = (bunch.data - bunch.data[train].mean(axis)) / bunch.data[train].std(axis)
    y = np.eye(bunch.target.max() + 1)[bunch.target] if classes else bunch.target[:, None].astype(float)
    y = y if classes else (y - y[train].mean()) / y[train].std()
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    return x[train], y[train], x[test], y[test]


def autoencoder(seed: int) -> Drawn:
    """Digits onto themselves: Q = 64."""
    x, _, xt, _ = real("digits", seed)
    return x, x, xt, xt


def china(seed: int) -> Drawn:
    """A photograph's centre square as 64 × 64 block means: coordinates in [−1, 1]² to colours.

    Held out are the block means of a grid shifted by half a block.
    """
    image = datasets.load_sample_image("china.jpg") / 255.0
    rows, columns, _ = image.shape
    side = min(rows, columns) // 65
    size = 65 * side

    def blocks(offset: int) -> Tensor:
        top, left = (rows - size) // 2 + offset, (columns - size) // 2 + offset
        square = image[top : top + 64 * side, left : left + 64 * side]
        return torch.as_tensor(square.reshape(64, side, 64, side, 3).mean((1, 3)).reshape(-1, 3))

    line = (torch.arange(64, dtype=torch.float64) + 0.5) / 32 - 1
    x = torch.cartesian_prod(line, line)
    half = side // 2
    return x, blocks(0), x + half / side / 32, blocks(half)


def parity(seed: int) -> Drawn:
    """10-bit parity of ±1 inputs, all 1,024 points; nothing is left to hold out."""
    bits = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=10)), dtype=torch.float64)
    y = bits.prod(1, keepdim=True)
    return bits, y, bits, y


def modular(seed: int) -> Drawn:
    """(a + b) mod 31 from one-hot pairs, half held out."""
    pairs = torch.cartesian_prod(torch.arange(31), torch.arange(31))
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    one_hot = torch.nn.functional.one_hot
    x = one_hot(pairs, 31).flatten(1).double()[order]
    y = one_hot(pairs.sum(1) % 31, 31).double()[order]
    half = len(pairs) // 2
    return x[:half], y[:half], x[half:], y[half:]


# --- the list -------------------------------------------------------------------------------------------------------

relu = partial(mlp, activation=nn.ReLU)

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("sinc61", partial(on_interval, sinc, 20_000), partial(mlp, 1, 20, 1), smooth=True),
        Case("sinc301", partial(on_interval, sinc, 1_000), partial(mlp, 1, 100, 1), smooth=True),
        Case("smooth2d-500", partial(on_box, smooth2d, 2, 500), partial(mlp, 2, 32, 32, 1), smooth=True),
        Case("smooth2d-500-wide", partial(on_box, smooth2d, 2, 500), partial(mlp, 2, 64, 64, 1), smooth=True),
        Case("smooth2d-1000", partial(on_box, smooth2d, 2, 1_000), partial(mlp, 2, 32, 32, 1), smooth=True),
        Case("smooth2d-1000-wide", partial(on_box, smooth2d, 2, 1_000), partial(mlp, 2, 64, 64, 1), smooth=True),
        Case("smooth4d", partial(on_box, smooth4d, 4, 1_000), partial(mlp, 4, 32, 32, 1), smooth=True),
        Case("friedman-1000", partial(friedman, 1_000, 0.0), partial(mlp, 10, 64, 64, 1)),
        Case("friedman-5000", partial(friedman, 5_000, 0.0), partial(mlp, 10, 64, 64, 1)),
        Case("teacher", teacher, partial(mlp, 20, 100, 1)),
        Case("digits-tanh", partial(real, "digits"), partial(mlp, 64, 256, 256, 10)),
        Case("digits-relu", partial(real, "digits"), partial(relu, 64, 256, 256, 10)),
        Case("digits-conv", partial(real, "digits"), conv_net),
        Case("autoencoder", autoencoder, partial(mlp, 64, 32, 8, 32, 64)),
        Case("wine", partial(real, "wine"), partial(mlp, 13, 64, 64, 3)),
        Case("breast_cancer", partial(real, "breast_cancer"), partial(mlp, 30, 64, 64, 2)),
        Case("china", china, sine_network, dtype=torch.float64),
        Case("parity", parity, partial(mlp, 10, 30, 30, 1)),
        Case("modular", modular, partial(mlp, 62, 128, 31)),
        Case("friedman-1000-noise", partial(friedman, 1_000, 1.0), partial(mlp, 10, 64, 64, 1), noisy=True),
        Case("friedman-5000-noise", partial(friedman, 5_000, 1.0), partial(mlp, 10, 64, 64, 1), noisy=True),
        Case("diabetes", partial(real, "diabetes"), partial(mlp, 10, 64, 64, 1), noisy=True),
    )
}
