"""The large cases of the any-time benchmark, judged by cost against time: networks of 1,000 to a million parameters."""

from functools import partial

import torch
from cases import CASES, Case, Drawn, friedman, mlp, real
from torch import Tensor, nn


def waves(seed: int) -> Drawn:
    """`y = sin(3xW)`, x uniform in [−1, 1]³, W (3, 10) standard normal; 2,000 points, and as many held out."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4_000, 3, generator=generator, dtype=torch.float64) * 2 - 1
    y = torch.sin(3 * x @ torch.randn(3, 10, generator=generator, dtype=torch.float64))
    return x[:2_000], y[:2_000], x[2_000:], y[2_000:]


def friedman_of_20(seed: int) -> Drawn:
    """friedman on 20,000 points, with ten inputs more on which nothing depends."""
    x, y, xt, yt = friedman(20_000, 0.0, seed)
    generator = torch.Generator().manual_seed(seed)

    def widened(x: Tensor) -> Tensor:
        return torch.cat([x, torch.rand(len(x), 10, generator=generator, dtype=x.dtype) * 2 - 1], 1)

    return widened(x), y, widened(xt), yt


def wide_conv_net() -> nn.Sequential:
    """8 × 8 images, two convolutions of 16 and 32 channels, a layer of 64, 10 outputs; tanh; 38,282 parameters."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.Tanh(),
        nn.Linear(64, 10),
    )


LARGE: dict[str, Case] = {
    case.name: case
    for case in (
        Case("mlp1000", waves, partial(mlp, 3, 1000, 1000, 10), dtype=torch.float32),
        Case("wide-deep", friedman_of_20, partial(mlp, 20, 512, 512, 512, 1, activation=nn.GELU)),
        Case("cnn1000", partial(real, "digits", n=1_000), wide_conv_net),
        *(CASES[name] for name in ("friedman-5000", "digits-conv", "autoencoder", "china", "modular")),
    )
}
