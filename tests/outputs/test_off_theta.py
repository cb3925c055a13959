"""Modules that read, keep or recompute parameters: D is theirs at every θ, or they are refused by name."""

import copy
import sys
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.laws import assert_close
from support.maps import function_of
from support.models import Embedded, normal, text
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import geodescent as gd
from geodescent.outputs import ClosureMap


class Body(nn.Module):
    """`out(tanh(layer(x)))` with a middle that each model below makes in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.inner = nn.Linear(4, 5), nn.Sequential(nn.Linear(5, 5), nn.Tanh())
        self.gain, self.out = nn.Parameter(torch.ones(5)), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.middle(torch.tanh(self.layer(x))))

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(h) * self.gain


class Checkpointed(Body):
    def middle(self, h: Tensor) -> Tensor:
        return checkpoint(super().middle, h, use_reentrant=False)


class Nested(Body):
    def middle(self, h: Tensor) -> Tensor:
        def outer(h: Tensor) -> Tensor:
            return checkpoint(self.inner, h, use_reentrant=False) * self.gain

        return checkpoint(outer, h, use_reentrant=False)


class OfOwnParameter(Body):
    """The gain, which goes by derivatives of single samples, inside of a checkpoint."""

    def middle(self, h: Tensor) -> Tensor:
        return checkpoint(lambda h: h * self.gain, self.inner(h), use_reentrant=False)


RECOMPUTING = [Checkpointed, Nested, OfOwnParameter]


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().double()


@pytest.mark.parametrize("kind", RECOMPUTING)
def test_a_checkpoint_has_the_same_d_at_every_theta(kind: type[Body]) -> None:
    model, plain, x = made(kind), made(Body), normal(6, 4)
    ours = gd.SampleMap(model, x)
    theta = ours.theta + 0.5 * normal(ours.n_params)
    expected = torch.autograd.functional.jacobian(function_of(plain, x), theta).reshape(12, -1)
    assert_close(ours.linearise(theta)[1].dense(), expected, 1e-12)
    v = normal(ours.n_params)
    assert_close(ours.second_derivative(theta, v), gd.SampleMap(plain, x).second_derivative(theta, v), 1e-9)


@pytest.mark.parametrize("kind", RECOMPUTING)
def test_a_checkpoint_is_fitted_as_without_it(kind: type[Body]) -> None:
    x = normal(30, 4)
    y = torch.sin(x[:, :2])
    ours, plain = (gd.fit(made(k), x, y, max_steps=8) for k in (kind, Body))
    assert ours.cost == pytest.approx(plain.cost, rel=1e-6)
    assert gd.initialise(made(kind), x, y)


def test_the_hessian_of_a_checkpoint_is_not_taken_from_a_graph() -> None:
    """A graph that is differentiated later would recompute at the module's own parameters."""
    x = normal(6, 4)
    assert gd.SampleMap(made(Checkpointed), x).traced is None
    assert gd.SampleMap(made(Body), x).traced is not None
    problems = [gd.Problem.of(made(kind), x, normal(6, 2)) for kind in (Checkpointed, Body)]
    theta = problems[0].theta + 0.3 * normal(problems[0].n_params)
    ours, plain = (gd.certify(problem) for problem in problems)
    assert ours.rank == plain.rank
    assert_close(problems[0].linearise(theta)[1].dense(), problems[1].linearise(theta)[1].dense(), 1e-12)


class Kept(Body):
    """A weight that is computed at the first call and kept."""

    kept: Tensor | None = None

    def middle(self, h: Tensor) -> Tensor:
        self.kept = 2.0 * self.gain if self.kept is None else self.kept
        return self.inner(h) * self.kept


class KeptDetached(Body):
    kept: Tensor | None = None

    def middle(self, h: Tensor) -> Tensor:
        self.kept = 2.0 * self.gain.detach() if self.kept is None else self.kept
        return self.inner(h) * self.kept


class KeptInDict(Body):
    def __init__(self) -> None:
        super().__init__()
        self.kept = dict[str, Tensor]()

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(h) * self.kept.setdefault("gain", 2.0 * self.gain)


class KeptProperty(Body):
    @cached_property
    def kept(self) -> Tensor:
        return 2.0 * self.gain

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(h) * self.kept


@pytest.mark.parametrize("kind", [Kept, KeptDetached, KeptInDict, KeptProperty])
def test_results_kept_from_an_earlier_call_are_refused(kind: type[Body]) -> None:
    model = made(kind)
    before = {key: copy.copy(value) for key, value in vars(model).items() if key == "kept"}
    with pytest.raises(gd.JacobianError, match=r"keeps kept from an earlier call.*anew in every forward pass"):
        gd.SampleMap(model, normal(6, 4))
    assert {key: value for key, value in vars(model).items() if key == "kept"} == before  # left as found


class InClosure(Body):
    def __init__(self) -> None:
        super().__init__()
        gain = self.gain
        self.scaled = lambda h: h * gain

    def middle(self, h: Tensor) -> Tensor:
        return self.scaled(self.inner(h))


class InList(Body):
    def __init__(self) -> None:
        super().__init__()
        self.gains = [self.gain]

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(h) * self.gains[0]


class InPartial(Body):
    def __init__(self) -> None:
        super().__init__()
        self.scaled = partial(torch.mul, self.gain)

    def middle(self, h: Tensor) -> Tensor:
        return self.scaled(self.inner(h))


class InHook(Body):
    def __init__(self) -> None:
        super().__init__()
        gain = self.gain
        self.inner.register_forward_hook(lambda module, inputs, returned: returned * gain)

    def middle(self, h: Tensor) -> Tensor:
        return self.inner(h)


@pytest.mark.parametrize("kind", [InClosure, InList, InPartial, InHook])
def test_parameters_held_elsewhere_are_refused(kind: type[Body]) -> None:
    model = made(kind)
    stood = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(gd.JacobianError, match=r"a closure, a hook or a list holds some.*as attributes"):
        gd.SampleMap(model, normal(6, 4))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), stood, strict=True))
    gd.SampleMap(made(Body), normal(6, 4))  # the way out: read as an attribute


def test_a_hook_that_reads_the_parameter_as_an_attribute_is_followed() -> None:
    model = made(Body)
    model.inner.register_forward_hook(lambda module, inputs, returned: returned * model.gain)
    outputs = gd.SampleMap(model, normal(6, 4))
    theta = outputs.theta + 0.5
    expected = torch.autograd.functional.jacobian(function_of(model, outputs.inputs), theta).reshape(12, -1)
    assert_close(outputs.linearise(theta)[1].dense(), expected, 1e-12)


class Halved(torch.autograd.Function):
    """The identity, with half of its derivative."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return 0.5 * g


def clamped(h: Tensor) -> Tensor:
    if h.requires_grad:
        h.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
    return h


UNFOLLOWED: dict[str, Callable[[Body, Tensor], Tensor]] = {
    "detach": lambda model, h: h * model.gain.detach(),
    "data": lambda model, h: h * model.gain.data,
    "item": lambda model, h: h * model.gain[0].item(),
    "numpy": lambda model, h: h * torch.from_numpy(model.gain.detach().numpy().copy()),
    "a wrong backward": lambda model, h: Halved.apply(h * model.gain),
    "a hook of a tensor": lambda model, h: clamped(h * model.gain),
}


@pytest.mark.parametrize("name", UNFOLLOWED)
def test_what_torch_does_not_follow_is_refused(name: str) -> None:
    class Unfollowed(Body):
        def middle(self, h: Tensor) -> Tensor:
            return UNFOLLOWED[name](self, self.inner(h))

    with pytest.raises(gd.JacobianError, match="hook changes what goes backwards"):
        gd.SampleMap(made(Unfollowed), normal(6, 4))


class Watched(Body):
    """Keeps what it computed, for people to look at."""

    seen: Tensor | None = None

    def middle(self, h: Tensor) -> Tensor:
        self.seen = super().middle(h)
        return self.seen


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: Watched(), normal(6, 4)),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), normal(6, 4)),
        (lambda: Embedded(), text(4, 5, 11)),
        (lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)).eval()), normal(6, 4)),
    ],
)
def test_sound_models_are_not_refused(make: Callable[[], nn.Module], x: Tensor) -> None:
    """Also padding, whose row has no derivative by torch's convention."""
    assert gd.SampleMap(made(make).eval(), x).traced is not None


@pytest.mark.parametrize(("n", "q"), [(9, 2), (2, 9), (2, 2), (5, 5), (8, 8), (1, 1), (3, 1)])
@pytest.mark.parametrize("channels", [1, 4])
def test_prelu_is_right_at_all_sizes(n: int, q: int, channels: int) -> None:
    """Its rule of vmap fails for most sizes, and is wrong without an error for as many samples as outputs."""
    model, x = made(lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(channels), nn.Linear(4, q))), normal(n, 3)
    function = function_of(model, x)
    outputs = gd.SampleMap(model, x)
    expected = torch.autograd.functional.jacobian(function, outputs.theta).reshape(n * q, -1)
    assert_close(outputs.linearise()[1].dense(), expected, 1e-12)
    closed = ClosureMap.of(model, lambda: (model(x), torch.zeros(n, q).double()))
    assert_close(closed.linearise()[1].dense(), expected, 1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_prelu_is_right_where_the_start_says_nothing_of_it(n: int) -> None:
    """At the start, and near it, no number that it sees is negative."""
    model, x = made(lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, n))), normal(n, 3).abs()
    with torch.no_grad():
        model[0].weight.abs_()
        model[0].bias.fill_(0.1)
    outputs = gd.SampleMap(model, x)
    theta = -outputs.theta
    expected = torch.autograd.functional.jacobian(function_of(model, x), theta).reshape(n * n, -1)
    assert_close(outputs.linearise(theta)[1].dense(), expected, 1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_batch_of_another_size_is_looked_at_again(n: int) -> None:
    """Found right on nine samples, derivatives by vmap are wrong on as many as there are outputs."""
    model = made(lambda: nn.Sequential(nn.Linear(3, 4), Slanted(), nn.Linear(4, n)))
    whole = gd.SampleMap(model, normal(9, 3))
    x = normal(n, 3)
    expected = torch.autograd.functional.jacobian(function_of(model, x), whole.theta).reshape(n * n, -1)
    assert_close(whole.on(x).linearise()[1].dense(), expected, 1e-12)


class Slanted(nn.Module):
    """`F.prelu` with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.3]))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.slope)


class OnceDifferentiable(torch.autograd.Function):
    """tanh, without a forward derivative or a rule for vmap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(y := x.tanh())
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (1.0 - y * y)


class Calm(nn.Module):
    """Raises an error of another kind where it is called while an error is handled."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(2, 3), nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(3))

    def _hidden(self, x: Tensor) -> Tensor:
        return self.scale * OnceDifferentiable.apply(self.inner(x))  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        assert sys.exc_info() == (None, None, None)
        return self.head(checkpoint(self._hidden, x, use_reentrant=False))


def test_nothing_is_called_while_an_error_is_handled() -> None:
    """The frames of an error in a checkpoint keep its hooks on tensors; on CUDA they spoil what comes after."""
    model, X, y = Calm().double(), torch.randn(6, 2).double(), torch.randn(6, 2).double()
    assert gd.fit(model, X, y, max_steps=2).cost > 0.0
    problem = gd.Problem.of(model, X, y)
    assert gd.certify(problem).rank
    closure = gd.ClosureMap.of(model, lambda: (model(X), y))
    assert closure.second_derivative(closure.theta, closure.theta).shape == y.shape
