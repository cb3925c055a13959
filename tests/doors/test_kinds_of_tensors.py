"""Tensors that cannot be fitted are refused at every door by name, and every way out works."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.models import normal
from torch import Tensor, nn

import geodescent as gd

X, Y = normal(9, 3), normal(9, 2)


def flow(*data: Any) -> gd.Flow:
    """A short one."""
    return gd.flow(*data, until=0.1, tol=1e-3)


DOORS = [gd.fit, flow, gd.certify, gd.initialise]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def under_inference(make: Callable[[], Any]) -> Any:
    with torch.inference_mode():
        return make()


class Meaned(nn.Module):
    """Called on padded parts of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).mean(1)


def parts() -> Tensor:
    return torch.nested.nested_tensor([normal(2 + i % 2, 3) for i in range(9)])


def compressed(x: Tensor) -> Tensor:
    return x.to_sparse_csr()


Arguments = tuple[nn.Module, Any, Any]
REFUSED: dict[str, tuple[Callable[[], Arguments], str, Callable[[Arguments], Arguments]]] = {
    "sparse X": (
        lambda: (model(), X.to_sparse(), Y),
        r"^X is sparse_coo: make it dense, X\.to_dense\(\)",
        lambda a: (a[0], a[1].to_dense(), a[2]),
    ),
    "sparse y": (
        lambda: (model(), X, Y.to_sparse()),
        r"^y is sparse_coo: make it dense, y\.to_dense\(\)",
        lambda a: (a[0], a[1], a[2].to_dense()),
    ),
    "X in compressed rows": (
        lambda: (model(), compressed(X), Y),
        r"^X is sparse_csr: make it dense, X\.to_dense\(\)",
        lambda a: (a[0], a[1].to_dense(), a[2]),
    ),
    "nested X": (
        lambda: (Meaned().double(), parts(), Y),
        r"^X is a nested tensor.*X\.to_padded_tensor\(0\.0\)",
        lambda a: (a[0], a[1].to_padded_tensor(0.0), a[2]),
    ),
    "a model on meta": (
        lambda: (nn.Linear(3, 2, device="meta").double(), X, Y),
        "^weight of the model is on meta, where tensors hold no numbers: make it on the cpu",
        lambda a: (nn.Linear(3, 2, device="cpu").double(), a[1], a[2]),
    ),
    "X on meta": (
        lambda: (model(), X.to("meta"), Y),
        "^X is on meta, where tensors hold no numbers: make it on the cpu",
        lambda a: (a[0], torch.ones(9, 3, device="cpu").double(), a[2]),
    ),
    "a lazy model": (
        lambda: (lazy(), X, Y),
        r"^weight of the model has no size yet: call the model once before, model\(X\)",
        lambda a: (called(a[0], a[1]), a[1], a[2]),
    ),
    "X of inference mode": (
        lambda: (model(), under_inference(lambda: X * 1), Y),
        r"^X was made under torch\.inference_mode\(\).*outside of it pass X\.clone\(\)",
        lambda a: (a[0], a[1].clone(), a[2]),
    ),
    "y of inference mode": (
        lambda: (model(), X, under_inference(lambda: Y * 1)),
        r"^y was made under torch\.inference_mode\(\).*outside of it pass y\.clone\(\)",
        lambda a: (a[0], a[1], a[2].clone()),
    ),
    "a model of inference mode": (
        lambda: (under_inference(model), X, Y),
        r"^weight of the model was made under torch\.inference_mode\(\).*pass copy\.deepcopy\(model\)",
        lambda a: (copy.deepcopy(a[0]), a[1], a[2]),
    ),
}


def lazy() -> nn.Module:
    return nn.LazyLinear(2).double()


def called(made: nn.Module, x: Tensor) -> nn.Module:
    made(x)
    return made


@pytest.mark.filterwarnings(
    "ignore:.*Sparse CSR.*:UserWarning", "ignore:.*nested tensors is in prototype.*:UserWarning"
)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name_and_the_way_out_works(name: str, door: Any) -> None:
    make, message, mended = REFUSED[name]
    arguments = make()
    with pytest.raises(gd.InputError, match=message):
        door(*arguments)
    door(*mended(arguments))


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_call_inside_inference_mode_is_refused(door: Any) -> None:
    with torch.inference_mode():
        with pytest.raises(
            gd.InputError, match=r"inference_mode\(\) nothing can be.*block of torch\.inference_mode\(F"
        ):
            door(model(), X, Y)
        with torch.inference_mode(False):
            door(model(), X, Y)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_without_gradients_switched_on_every_door_works(door: Any) -> None:
    with torch.no_grad():
        door(model(), X, Y)


class Root(nn.Module):
    def __init__(self, start: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x[:, :1] / self.rate)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (0.0, r"^the cost at the start is (nan|inf): 9 of 9 outputs are NaN or infinite\. Start at other parameters"),
        (0.004, "the outputs are finite, and the squares of x − y are not"),
    ],
)
def test_a_start_that_is_not_finite_is_refused(start: float, message: str) -> None:
    x = torch.linspace(1.0, 2.0, 27).double().view(9, 3)
    with pytest.raises(gd.InputError, match=message):
        gd.fit(Root(start), x, Y[:, :1])
    assert gd.fit(Root(1.0), x, Y[:, :1], max_steps=2).cost >= 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-320, 1e300])
def test_weights_whose_products_vanish_are_refused(size: float, dtype: torch.dtype) -> None:
    weights = torch.full((9,), size, dtype=torch.float64)
    arguments = model().to(dtype), X.to(dtype), Y.to(dtype)
    with pytest.raises(gd.InputError, match=r"leave the range of .*weights\.double\(\) / weights\.double\(\)\.max\(\)"):
        gd.certify(*arguments, weights=weights)
    scaled = gd.certify(*arguments, weights=weights.double() / weights.double().max())
    assert scaled.cost == pytest.approx(gd.certify(*arguments).cost, rel=1e-6)


def test_weights_of_float32_are_summed_in_float64() -> None:
    m, weights = model(), torch.rand(9, generator=torch.Generator().manual_seed(0))
    squares = (m(X).detach() - Y).square().sum(1)
    expected = float((squares * weights.double()).sum() / (2.0 * weights.double().sum()))
    assert gd.certify(m, X, Y, weights=weights).cost == pytest.approx(expected, rel=1e-14)
