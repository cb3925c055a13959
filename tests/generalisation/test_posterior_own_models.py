"""`gd.fit_posterior(X, y, model)`: the user's own layers in the place of ours, and what is refused."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.generalisation import drawn_layers


def noisy(n: int, d: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    return x, torch.sin(2.0 * x[:, 0]) + 0.5 * x[:, 1] ** 2 + 0.3 * torch.randn(n, generator=generator).double()


def mlp(*, outputs: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, outputs))


def test_our_own_network_as_a_users_gives_our_posterior() -> None:
    x, y = noisy(40)
    ours = gd.fit_posterior(x, y, starts=2, seed=3)

    def drawn(seed: int) -> nn.Module:
        return drawn_layers(3, seed).requires_grad_()

    theirs = gd.fit_posterior(x, y, drawn, starts=2, seed=3)
    torch.testing.assert_close(ours.predict(x), theirs.predict(x), rtol=1e-10, atol=1e-10)
    one = gd.fit_posterior(x, y, drawn(3))
    assert len(one.members) == 1


def test_a_users_module_learns_and_is_not_changed() -> None:
    model, (x, y) = mlp(), noisy(150)
    before = copy.deepcopy(model.state_dict())
    posterior = gd.fit_posterior(x, y, model)
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())
    assert model.training
    asked, truth = noisy(500, seed=9)
    assert float((posterior.predict(asked) - truth).square().mean().sqrt()) < 0.5
    with torch.no_grad():
        plain = posterior.network()(asked)[:, 0]
    assert float((plain - truth).square().mean().sqrt()) < 0.6
    with pytest.raises(gd.InputError, match="model of your own"):
        posterior.tensors()


def test_starts_of_a_function_follow_the_seed_and_leave_the_global_one() -> None:
    x, y = noisy(30)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = gd.fit_posterior(x, y, lambda seed: mlp(), starts=2, seed=1)
    other = gd.fit_posterior(x, y, lambda seed: mlp(), starts=2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.predict(x), other.predict(x))
    assert len(one.members) == 2


class Twice(nn.Module):
    """Calls a layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.inner(self.inner(self.first(x)).tanh()))
        return found


class Backwards(Twice):
    """Calls its layers in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 1), nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.first(self.inner(self.last(x)).tanh())
        return found


class Mixing(Twice):
    """Takes the mean over rows away."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.inner(self.first(x - x.mean(0))).tanh())
        return found


class Positions(nn.Module):
    """A layer on positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x[:, :, None]).sum(1)
        return found


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "batch norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), "BatchNorm1d as '1'"),
    "other parameters": (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 1)), "1.weight: only those"),
    "several outputs": (lambda: mlp(outputs=2), r"returns \(3, 2\)"),
    "other columns": (lambda: nn.Linear(4, 1), "on 3 columns"),
    "no layers": (lambda: nn.Tanh(), "no nn.Linear"),
    "frozen": (lambda: mlp().requires_grad_(False), "without gradients"),
    "no module": (lambda: 3, "model is a int"),
    "a class": (lambda: Positions, r"model is the class Positions: pass a module, Positions\(…\)"),
    "no seed": (lambda: lambda: mlp(), "cannot be called with a seed .*lambda seed"),
    "no module returned": (lambda: lambda seed: seed, r"model\(0\) returned a int"),
    "twice": (Twice, "called once"),
    "another order": (Backwards, "another order"),
    "rows mixed": (Mixing, "mixes rows"),
    "positions": (Positions, "one vector a row"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_models_are_refused(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(gd.InputError, match=said):
        gd.fit_posterior(*noisy(20), make())


def test_frozen_parts_stay_what_they_are() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU().requires_grad_(False), nn.Linear(4, 1))
    posterior = gd.fit_posterior(*noisy(30), model)
    kept = dict(posterior.network().named_parameters())
    assert any(name.endswith("network.1.weight") and float(p.detach()) == 0.25 for name, p in kept.items())
