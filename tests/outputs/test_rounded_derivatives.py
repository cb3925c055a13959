"""Sound networks whose D is rounding in part, or all of it: none is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd


class Diagonal(nn.Module):
    """A factor, which is constant, and a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", torch.randn(1))
        self.shifts = nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.factors * x + self.shifts


def all_cancelled() -> tuple[nn.Module, Tensor]:
    """A single number, normalised, is zero, and so is D."""
    norm = nn.GroupNorm(1, 1).requires_grad_(False)
    return nn.Sequential(Diagonal(), norm, nn.Linear(1, 3, bias=False)).double(), torch.randn(13, 1).double()


def first_layer_cancelled() -> tuple[nn.Module, Tensor]:
    rest = nn.Sequential(nn.LayerNorm(1), nn.Linear(1, 3)).requires_grad_(False)
    return nn.Sequential(nn.Linear(3, 1, bias=False), nn.Softplus(), rest), 0.03 * torch.randn(31, 3)


class Same(nn.Module):
    """`x W`, W fixed."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(n_in, n_out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def cancelled_before_constants() -> tuple[nn.Module, Tensor]:
    """No point close by has other rounding errors: what comes behind the cancellation is fixed."""
    rest = nn.Sequential(nn.Linear(3, 1), nn.LayerNorm(1), Same(1, 3)).double().requires_grad_(False)
    with torch.no_grad():
        rest[1].weight.normal_()
    return nn.Sequential(nn.Linear(2, 3), nn.Mish(), nn.Linear(3, 3), rest).double(), torch.randn(9, 2).double()


def cancelled_and_amplified() -> tuple[nn.Module, Tensor]:
    """The derivative is zero, and `1/√eps` = 1e15 times its rounding errors: points close by alone have others."""
    norm = nn.LayerNorm(1, eps=1e-30)
    return nn.Sequential(nn.Linear(3, 1), norm, nn.Linear(1, 3)).double(), torch.randn(9, 3).double()


class Amplified(nn.Module):
    """x, and 3e8 times rounding errors that depend on the number of samples."""

    def forward(self, x: Tensor) -> Tensor:
        n = len(x) + 0.1
        return x + 3e8 * ((x + n) - n - x)


def amplified() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(4, 5), Amplified(), nn.Linear(5, 3)).double(), torch.randn(9, 4).double()


def large_outputs() -> tuple[nn.Module, Tensor]:
    """Biases of order one beside outputs of 1e6 in float32."""
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)), 1e6 * torch.randn(20, 4)


def some_outputs_large() -> tuple[nn.Module, Tensor]:
    """Biases of order one beside outputs of 4e5, or beside none, in float32."""
    return nn.Sequential(nn.SiLU(), nn.Linear(1, 3)), 4e5 * torch.randn(10, 1)


def small_slopes() -> tuple[nn.Module, Tensor]:
    """1 − tanh′ of small numbers has three digits in float32."""
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanhshrink(), nn.Linear(4, 3)), 0.01 * torch.randn(25, 3)


MAKERS = [
    all_cancelled,
    first_layer_cancelled,
    cancelled_before_constants,
    cancelled_and_amplified,
    amplified,
    large_outputs,
    small_slopes,
]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("make", MAKERS)
def test_none_is_refused(make: Callable[[], tuple[nn.Module, Tensor]], seed: int) -> None:
    torch.manual_seed(seed)
    model, x = make()
    assert gd.SampleMap(model, x).linearise()[1].shape[0] == len(x) * 3


def test_what_outputs_are_too_large_to_show_is_not_missed() -> None:
    """Of a hundred such networks seven would be refused if the sum of all that D says were what is allowed for it."""
    for seed in range(100):
        torch.manual_seed(seed)
        assert gd.SampleMap(*some_outputs_large()).linearise()[1].shape == (30, 6)
