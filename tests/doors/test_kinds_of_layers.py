"""Layers of torch that are easily forgotten, through every door: fitted, certified, or refused in one sentence."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.models import normal
from torch import Tensor, nn

import geodescent as gd

WORDS = torch.randint(0, 4, (9, 3), generator=torch.Generator().manual_seed(0))
X, Y = normal(9, 3), normal(9, 2)


class Hyper(nn.Module):
    """A layer that is called on a vector, and makes the weights of another."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.make = nn.Parameter(torch.randn(3)), nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.make(self.code).view(3, 2)


class Words(nn.Module):
    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table, self.out = table, nn.Linear(5, 2)

    def forward(self, i: Tensor) -> Tensor:
        vectors = self.table(i)
        return self.out(torch.tanh(vectors if vectors.dim() == 2 else vectors.mean(1)))


class SparseGradient(nn.Module):
    """A table of its own, whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))

    def forward(self, i: Tensor) -> Tensor:
        return F.embedding(i, self.weight, sparse=True)


class Number(nn.Module):
    """A parameter without an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.size = nn.Linear(3, 2), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * torch.exp(self.size)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.form = nn.Bilinear(3, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, x)


class RowByRow(nn.Module):
    """A parameter behind a step that vmap cannot take."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(row * self.gain) * (1.0 + 0.1 * row[0].item()) for row in x.detach()])


KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "hypernetwork": (Hyper, X),
    "a number": (Number, X),
    "bilinear": (Twice, X),
    "no features": (lambda: unwarned(lambda: nn.Linear(0, 2)), X[:, :0]),
    "prelu": (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 2)), X),
    "embedding": (lambda: Words(nn.Embedding(4, 5)), WORDS),
    "sparse embedding": (lambda: Words(nn.Embedding(4, 5, sparse=True)), WORDS),
    "sparse gradient": (lambda: Words(SparseGradient()), WORDS),
    "bag, mean": (lambda: Words(nn.EmbeddingBag(4, 5)), WORDS),
    "bag, sum": (lambda: Words(nn.EmbeddingBag(4, 5, mode="sum")), WORDS),
    "bag, max": (lambda: Words(nn.EmbeddingBag(4, 5, mode="max")), WORDS),
    "bag, sparse": (lambda: Words(nn.EmbeddingBag(4, 5, mode="sum", sparse=True)), WORDS),
    "layer norm of one": (lambda: nn.Sequential(nn.Linear(3, 1), nn.LayerNorm(1), nn.Linear(1, 2)), X),
    "group norm of one": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(4, 4), nn.Linear(4, 2)), X),
    "group norm of one, by a loop": (lambda: nn.Sequential(RowByRow(), nn.GroupNorm(3, 3), nn.Linear(3, 2)), X),
    "hypernetwork behind words": (lambda: nn.Sequential(nn.Embedding(4, 1), nn.Flatten(), Hyper()), WORDS),
    "bag, padding": (lambda: Words(nn.EmbeddingBag(4, 5, mode="sum", padding_idx=1)), WORDS),
}


def unwarned(make: Callable[[], nn.Module]) -> nn.Module:
    """Torch warns of layers without numbers."""
    with pytest.warns(UserWarning, match="zero-element"):
        return make()


@pytest.mark.parametrize("name", KINDS)
def test_every_door_takes_it(name: str) -> None:
    torch.manual_seed(0)
    make, x = KINDS[name]
    model = make().double()
    outputs = gd.SampleMap(model, x)
    whole = [p for p in model.parameters() if p.numel()]
    rows = []
    for number in model(x).reshape(-1):
        gradients = torch.autograd.grad(number, whole, retain_graph=True, allow_unused=True)
        pairs = zip(whole, gradients, strict=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g.to_dense()).reshape(-1) for p, g in pairs]))
    assert torch.allclose(outputs.linearise()[1].dense(), torch.stack(rows), atol=1e-12)
    assert "rank" in str(gd.certify(model, x, Y))
    assert gd.flow(model, x, Y, until=0.1, max_seconds=0.2).cost[-1] > 0.0
    solution = gd.fit(model, x, Y, max_steps=3)
    assert solution.cost <= solution.cost0 and "known" in str(solution)
    optimizer = gd.GeoDescent(model)
    assert all(torch.isfinite(torch.tensor(optimizer.step(lambda: (model(x), Y)))) for _ in range(2))


def test_no_outputs_and_no_numbers_are_refused() -> None:
    with pytest.raises(gd.InputError, match="hold no numbers: give the layers sizes above zero"):
        gd.fit(unwarned(lambda: nn.Linear(3, 0)).double(), X, Y)

    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[:, :0]

    with pytest.raises(gd.InputError, match=r"shape \(2, 0\) for 2 samples, no numbers: at least one output"):
        gd.fit(Nothing().double(), X, Y)


def test_what_autograd_cannot_take_is_said() -> None:
    from torch.utils.checkpoint import checkpoint

    class Reentrant(nn.Module):
        def __init__(self, *, reentrant: bool) -> None:
            super().__init__()
            self.first, self.inner, self.reentrant = nn.Linear(3, 4), nn.Linear(4, 2), reentrant

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, self.first(x).requires_grad_(), use_reentrant=self.reentrant)

    model = Reentrant(reentrant=True).double()
    with pytest.raises(gd.JacobianError, match=r"cannot differentiate the outputs of the closure.*use_reentrant=False"):
        gd.GeoDescent(model).step(lambda: (model(X), Y))
    assert gd.fit(Reentrant(reentrant=False).double(), X, Y, max_steps=2).steps == 2
