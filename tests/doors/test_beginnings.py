"""What comes before the first step of a fit, and how much of it sees all samples."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.generalisation import in_units
from geodescent.metric import LayerUnits
from geodescent.outputs import NetworkMap, OfModule, OutputMap, Parametrised, Sampled, SampleMap
from geodescent.outputs.checks import SlopeCheck, point_of_check
from geodescent.problem import may_be_rounding

F64, N = torch.float64, 200


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


class Counted(nn.Module):
    """A network that counts how many samples its calls have."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls = inner, Counter[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls[len(x)] += 1
        return self.inner(x)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 2)).double()


def filters() -> nn.Module:
    layers = nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 40, 2), nn.Tanh(), nn.Flatten(), nn.Linear(80, 2)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize(("make", "calls"), [(mlp, 2), (filters, 3)])
def test_all_samples_are_seen_by_the_cost_before_and_after(make: Callable[[], nn.Module], calls: int) -> None:
    """And once more where the inputs of the first layer are no samples themselves."""
    torch.manual_seed(0)
    model = Counted(make())
    assert gd.fit(model, normal(N, 3), normal(N, 2), max_steps=0).steps == 0
    assert model.calls[N] == calls
    assert sum(n * times for n, times in model.calls.items() if n != N) < 3 * N


def test_forward_mode_is_not_loaded_for_a_map() -> None:
    """Torch takes a third of a second for it, once a process."""
    code = """if True:
        import sys, torch, geodescent as gd
        from torch.nn import Linear, Sequential, Tanh
        gd.SampleMap(Sequential(Linear(3, 4), Tanh(), Linear(4, 2)), torch.ones(5, 3))
        print("torch._decomp.decompositions_for_jvp" in sys.modules)
    """
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert run.stdout.strip() == "False"


def test_a_map_of_samples_is_known_for_what_it_is_without_a_copy_of_its_parameters() -> None:
    class WithoutTheta(SampleMap):
        @property
        def theta(self) -> Tensor:
            raise AttributeError("theta")

    outputs = SampleMap(mlp(), normal(5, 3))
    assert all(isinstance(outputs, kind) for kind in (OutputMap, Sampled, OfModule, Parametrised, NetworkMap))
    other = object.__new__(WithoutTheta)
    other.__dict__.update(outputs.__dict__)
    assert not isinstance(other, OutputMap)  # of other classes all members are looked for
    assert isinstance(other, Parametrised)


# --- units ----------------------------------------------------------------------------------------------------------


class TwoWays(nn.Module):
    """One layer on the samples, and on another multiple of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(3, 40), nn.Linear(3, 40), nn.Linear(40, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.first(x) + self.first(1e3 * x) + self.second(x)))


def test_a_layer_that_is_called_on_the_samples_has_their_units_and_others_those_of_their_calls() -> None:
    x = normal(N, 3) * torch.tensor([1e-3, 1.0, 1e4], dtype=F64)
    units = LayerUnits.of(gd.Problem.of(TwoWays().double(), x, normal(N, 2)))
    assert units is not None and units.layers.on_data == {"second"}
    assert units.inputs["second"].tolist() == pytest.approx([1e-3, 1.0, 1e4])
    assert units.inputs["first"].tolist() == pytest.approx([1.0, 1e3, 1e7])


def test_samples_that_require_grad_are_samples_all_the_same() -> None:
    x = normal(N, 3).requires_grad_()
    units = LayerUnits.of(gd.Problem.of(mlp(), x, normal(N, 2)))
    assert units is not None and list(units.inputs) == ["0"] and units.layers.on_data == {"0"}


@pytest.mark.parametrize("weighted", [False, True])
def test_a_few_samples_say_that_the_targets_lie_far_away(weighted: bool) -> None:
    """The shift of the start itself is that of all samples."""
    x, y = normal(N, 3), normal(N, 2) + 1e3
    weights = torch.rand(N, dtype=F64) if weighted else None
    problem = gd.Problem.of(mlp(), x, y, weights=weights)
    units, theta = LayerUnits.of(problem), problem.theta
    some, all_of_them = (in_units(problem, theta, units, most_samples=most)[1] for most in (20, None))
    assert some.saturated == all_of_them.saturated == "targets lie about 1e+03"
    assert theta.equal(problem.theta)


# --- the rounding floor ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_costs_may_be_rounding_below_the_root_of_eps_or_where_targets_lie_far_away(dtype: torch.dtype) -> None:
    x, eps = normal(N, 3).to(dtype), torch.finfo(dtype).eps
    near, far = (gd.Problem.of(mlp().to(dtype), x, (normal(N, 2) + offset).to(dtype)) for offset in (0.0, 1e8))
    assert may_be_rounding(near, 0.9 * eps**0.5, 1.0) and not may_be_rounding(near, 1.1 * eps**0.5, 1.0)
    stored = eps**2 * 2e16 / 24.0  # two outputs of 1e8
    assert may_be_rounding(far, 0.9e4 * stored, 0.0) and not may_be_rounding(far, 1.1e4 * stored, 0.0)


def test_a_target_far_above_the_floor_costs_no_pass() -> None:
    model = Counted(mlp())
    gd.fit(model, normal(N, 3), normal(N, 2), max_steps=0, target_cost=1e-3)
    assert model.calls[N] == 2
    notes = gd.fit(model, normal(N, 3), normal(N, 2), max_steps=0, target_cost=1e-40).stats["notes"]
    assert any("lies under the rounding floor" in note for note in notes)


# --- slopes ---------------------------------------------------------------------------------------------------------


def test_the_point_of_the_check_comes_with_its_outputs() -> None:
    """Also where the function is defined at the start alone."""
    theta, u, way = torch.ones(2, dtype=F64), torch.ones(2, dtype=F64), torch.ones(2, dtype=F64)

    def only_at_one(at: Tensor) -> Tensor:
        return torch.where(at == 1.0, at, torch.nan)

    for function, moved in ((torch.square, 1.01), (only_at_one, 1.0)):
        point, outputs = point_of_check(function, theta, u, way)
        assert point.tolist() == pytest.approx([moved] * 2)
        assert outputs.equal(function(point))
    check = SlopeCheck(torch.square, theta, theta, u, 2.0 * theta, lambda v: 2.0 * v, [0, 1, 2], way)
    assert check.wrong() == []
