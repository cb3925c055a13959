"""Parts of the gradient that are zero by cancellation are no disagreement; wrong rules beside them still are."""

from collections.abc import Callable, Iterator

import pytest
import torch
from support.laws import assert_close
from support.models import Scaled, normal
from torch import Tensor, nn

import geodescent as gd
from geodescent.outputs import RULES, affine_columns


class BeforeInstanceNorm(nn.Module):
    """A bias of a convolution that the norm behind it takes away."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.filters, self.norm, self.out = nn.Conv1d(1, 4, 2), nn.InstanceNorm1d(4), nn.Linear(8, 2)
        self.filters.weight.requires_grad_(not frozen)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.filters(x[:, None])).flatten(1))


class Centred(nn.Module):
    """A shift that is taken away again."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.layer, self.out = nn.Parameter(torch.randn(1)), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.layer(x) + self.shift
        return self.out(torch.tanh(z - z.mean(1, keepdim=True)))


class Softmaxed(nn.Module):
    """A bias that is the same for all classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.same = nn.Linear(3, 2), nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.layer(x) + 5.0 * self.same, 1)


class OfSize(nn.Module):
    """Data of this size before a model."""

    def __init__(self, size: float, inner: nn.Module) -> None:
        super().__init__()
        self.size, self.inner = size, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.size * x)


CANCELLED: dict[str, Callable[[], nn.Module]] = {
    "LayerNorm(1)": lambda: nn.Sequential(nn.Linear(3, 1), nn.LayerNorm(1), nn.Linear(1, 2)),
    "GroupNorm of one": lambda: nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(4, 4), nn.Linear(4, 2)),
    "a bias before InstanceNorm": lambda: BeforeInstanceNorm(frozen=True),
    "a convolution before InstanceNorm": lambda: BeforeInstanceNorm(frozen=False),
    "a shift": Centred,
    "softmax": Softmaxed,
    "GroupNorm of one behind PReLU": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.PReLU(), nn.GroupNorm(2, 4), nn.Linear(4, 2), nn.GroupNorm(2, 2), nn.Linear(2, 2)
    ),
    "a norm of a norm of two": lambda: nn.Sequential(
        nn.Linear(3, 2), nn.GroupNorm(1, 2), nn.LayerNorm(2, elementwise_affine=False), nn.Linear(2, 2)
    ),
    "all weights behind are zero": lambda: zeroed(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))),
}


ROUNDING: dict[str, Callable[[], nn.Module]] = {
    "GroupNorm of the data themselves": lambda: OfSize(2e3, nn.Sequential(nn.GroupNorm(3, 3), *two_layers())),
    "nothing but rounding": lambda: nn.Sequential(
        nn.Linear(3, 1), nn.LayerNorm(1, elementwise_affine=False), frozen(nn.Linear(1, 2))
    ),
}
"""Models whose outputs, or some columns of D, are nothing but rounding errors."""


class Beside(nn.Module):
    """Outputs of order one beside others of this size."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.large, self.small, self.size = nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)), size

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.size * self.large(x), self.small(x)], 1)


@pytest.mark.parametrize("share", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_part_below_the_rounding_of_the_whole_is_no_disagreement(dtype: torch.dtype, share: float) -> None:
    """Of Dᵀu it is less than the rounding of all together, and in its own rows it is seen all the same."""
    size = torch.finfo(dtype).eps ** -0.75 / share
    for seed in range(5):
        torch.manual_seed(seed)
        model, x = Beside(size).to(dtype), normal(9, 3).to(dtype)
        dense = gd.SampleMap(model, x).linearise()[1].dense()
        assert_close(dense[1::2].double(), by_autograd(model, x)[1::2].double(), torch.finfo(dtype).eps ** 0.75)


def frozen(layer: nn.Module) -> nn.Module:
    return layer.requires_grad_(False)


def two_layers() -> list[nn.Module]:
    return [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)]


def zeroed(model: nn.Sequential) -> nn.Module:
    with torch.no_grad():
        model[-1].weight.zero_()
    return model


def drawn(make: Callable[[], nn.Module], dtype: torch.dtype) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """The network with inputs and targets, of five seeds."""
    for seed in range(5):
        torch.manual_seed(seed)
        yield make().to(dtype), normal(9, 3).to(dtype), normal(9, 2).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CANCELLED)
def test_zero_by_cancellation_is_no_disagreement(name: str, dtype: torch.dtype) -> None:
    for model, x, y in drawn(CANCELLED[name], dtype):
        outputs = gd.SampleMap(model, x)
        if dtype == torch.float64:
            assert_close(outputs.linearise()[1].dense(), by_autograd(model, x), 1e-12)
        assert gd.fit(model, x, y, max_steps=2).cost >= 0.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ROUNDING)
def test_rounding_errors_are_no_disagreement(name: str, dtype: torch.dtype) -> None:
    for model, x, y in drawn(ROUNDING[name], dtype):
        gd.SampleMap(model, x)
        solution = gd.fit(model, x, y, max_steps=2)
        assert solution.cost <= solution.cost0


def by_autograd(model: nn.Module, x: Tensor) -> Tensor:
    """D by one backward pass a row."""
    moving = [p for p in model.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(number, moving, retain_graph=True) for number in model(x).reshape(-1)]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_a_wrong_rule_is_found_in_any_units(unit: float) -> None:
    """A layer whose parameters are of another unit counts like any other: D is compared in their own sizes."""
    RULES.pop(Scaled, None)
    gd.register_rule(
        Scaled,
        lambda module, a, g, index, label: affine_columns(a, 0.4 * g, index["weight"], None, label),
        parameters=("weight",),
        any_axis=True,
    )
    try:
        model = InUnits(unit).double()
        with pytest.raises(gd.JacobianError, match=r"^layer: .* by layers differs"):
            gd.SampleMap(model, normal(6, 4))
    finally:
        RULES.pop(Scaled)


class InUnits(nn.Module):
    def __init__(self, unit: float) -> None:
        super().__init__()
        self.layer, self.out, self.unit = Scaled(4, 5), nn.Linear(5, 2), unit
        with torch.no_grad():
            self.layer.weight.mul_(unit)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.layer(x) / self.unit))
