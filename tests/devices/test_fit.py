"""`gd.fit` on each device: the costs, and where everything is, are those of the CPU."""

from typing import Any

import pytest
import torch
from support.device_nets import NETS, net
from support.devices import CLOSE, F32, F64, assert_on, assert_same_number, moved, random_states, with_cpu
from support.laws import assert_close, naive_jacobian
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

CPU = torch.device("cpu")
METHODS: dict[str, gd.Method | None] = {
    "planned": None,
    "gram, natural": gd.Method(gd.GramLift(), gd.GeodesicWalk(), gd.NaturalControl()),
    "normal, gain": gd.Method(gd.NormalLift(), gd.EulerWalk(), gd.GainRatio()),
    "krylov, gain": gd.Method(gd.KrylovLift(), gd.EulerWalk(), gd.GainRatio()),
    "krylov, natural": gd.Method(gd.KrylovLift(), gd.GeodesicWalk(), gd.NaturalControl()),
    "spring": gd.Method(gd.GramLift(), gd.EulerWalk(), gd.Spring()),
}


def fitted(device: torch.device, dtype: torch.dtype, name: str = "vectors", **arguments: Any) -> gd.Solution:
    """A fit of few steps, whose tensors are on the device."""
    model, inputs, y = moved(net(name), device, dtype)
    solution = gd.fit(model, inputs, y, **{"max_steps": 4} | moved_arguments(arguments, device, dtype))
    assert_on(solution.theta, device)
    assert all(p.device.type == device.type for p in model.parameters())
    assert torch.equal(solution.theta, torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    return solution


def moved_arguments(arguments: dict[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    kinds = (torch.Tensor, tuple)
    return {k: moved(v, device, dtype) if isinstance(v, kinds) else v for k, v in arguments.items()}


def assert_as_on_the_cpu(device: torch.device, dtype: torch.dtype, name: str = "vectors", **arguments: Any) -> None:
    """The costs of the start and of the end; the latter to the rounding of the former.

    That of the start in 1e-8 of float64: torch's own weight norm on CUDA has no more digits.
    """
    every = [fitted(at, dtype, name, **arguments) for at in with_cpu(device)]
    here, there = every[0], every[-1]
    assert_same_number(here.cost0, there.cost0, 1e-2 * CLOSE[dtype])
    assert_same_number(here.cost, there.cost, CLOSE[dtype], 1e-2 * CLOSE[dtype] * there.cost0)
    assert here.cost < here.cost0


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_network(device: torch.device, name: str) -> None:
    assert_as_on_the_cpu(device, F64, name, max_steps=2)


@pytest.mark.parametrize("name", ["norms", "lstm", "attention", "convolution", "bag"])
def test_networks_in_single_precision(device: torch.device, name: str) -> None:
    assert_as_on_the_cpu(device, F32, name, max_steps=2)


@pytest.mark.parametrize("name", NETS)
def test_d_is_that_of_autograd(device: torch.device, name: str) -> None:
    """In evaluation, in which cuDNN's recurrent layers refuse to go backwards, and in training."""
    model, inputs, _ = moved(net(name), device)
    for mode in (True, False):
        model.train(mode)
        outputs = gd.SampleMap(model, inputs)
        dense = outputs.linearise()[1].dense()
        assert_on(dense, device)
        assert_on(outputs.second_derivative(outputs.theta, outputs.theta), device)
        with torch.backends.cudnn.flags(enabled=False):
            assert_close(dense, naive_jacobian(model, inputs), 1e-9)


def test_second_derivatives_are_those_of_the_cpu(device: torch.device) -> None:
    for name in NETS:
        model, inputs, _ = net(name)
        there, here = gd.SampleMap(model, inputs), gd.SampleMap(*moved((model, inputs), device))
        direction = torch.cos(torch.arange(there.n_params, dtype=F64, device="cpu"))
        expected = there.second_derivative(there.theta, direction)
        found = here.second_derivative(here.theta, direction.to(device))
        assert float((found.cpu() - expected).norm()) <= 1e-6 * (1.0 + float(expected.norm())), name


@pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method(device: torch.device, method: str, dtype: torch.dtype) -> None:
    assert_as_on_the_cpu(device, dtype, method=METHODS[method])


def test_arguments(device: torch.device) -> None:
    _, inputs, y = net("vectors")
    other = (inputs[:5] + 0.1, y[:5])
    assert_as_on_the_cpu(device, F64, weights=torch.linspace(0.0, 1.0, 12))
    assert_as_on_the_cpu(device, F64, initialise=True)
    assert_as_on_the_cpu(device, F64, validation=other)
    assert_as_on_the_cpu(device, F64, stop="validation")
    assert_as_on_the_cpu(device, F64, target_cost=1e-3, max_seconds=60.0)


def test_arrays_follow_the_model(device: torch.device) -> None:
    model, inputs, y = net("vectors")
    here = moved(model, device)
    solution = gd.fit(
        here, inputs.numpy(), y.tolist(), max_steps=4, weights=[1.0] * 12, validation=(inputs.numpy(), y.numpy())
    )
    assert_on(solution.theta, device)
    assert any(str(device.type) in note for note in solution.stats["notes"])  # type: ignore[attr-defined]


def test_several_blocks(device: torch.device) -> None:
    def problem(at: torch.device) -> gd.Problem:
        model, inputs, y = moved(net("vectors"), at)
        data = gd.SampleMap(model, inputs)
        size = gd.FunctionMap(lambda theta: theta, data.theta)
        more = gd.SampleMap(model, inputs[:3] + 0.1)
        return gd.Problem(
            (
                gd.RowBlock("data", data, y, torch.linspace(0.0, 1.0, 12, device=at)),
                gd.RowBlock("more", more, y[:3], weight=0.5),
                gd.RowBlock("size", size, torch.zeros_like(data.theta), weight=1e-3),
            )
        )

    every = [gd.fit(problem(at), max_steps=4) for at in with_cpu(device)]
    here, there = every[0], every[-1]
    assert_on(here.theta, device)
    assert_same_number(here.cost, there.cost, CLOSE[F64])


def test_a_part_of_many_samples(device: torch.device) -> None:
    """The first steps are taken on samples that are drawn by a generator of the CPU."""
    model = torch.nn.Linear(1, 1).double()
    x = torch.linspace(-1.0, 1.0, 2200, dtype=F64)[:, None]
    here, x = moved((model, x), device)
    assert gd.fit(here, x, 3.0 * x + 1.0).cost < 1e-20


@pytest.mark.parametrize("lift", [None, gd.NormalLift()])
@pytest.mark.parametrize("stored", ["cpu", "device"])
def test_batches_of_a_loader_follow_the_model(device: torch.device, lift: gd.Lift | None, stored: str) -> None:
    def run(at: torch.device) -> gd.Solution:
        model, inputs, y = net("vectors")
        data = TensorDataset(*moved((inputs, y), at if stored == "device" else CPU))
        method = None if lift is None else gd.Method(lift)
        return gd.fit(moved(model, at), DataLoader(data, batch_size=5), max_steps=6, method=method)

    every = [run(at) for at in with_cpu(device)]
    here, there = every[0], every[-1]
    assert_on(here.theta, device)
    assert_same_number(here.cost, there.cost, CLOSE[F64])


def test_a_short_time(device: torch.device) -> None:
    """Seconds are those of finished work, and steps that would take too long are taken on few samples."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.Tanh(), torch.nn.Linear(256, 4))
    x = torch.randn(20_000, 8)
    model, x = moved((model, x), device)
    solution = gd.fit(model, x, torch.sin(x[:, :4]), max_seconds=1.5)
    assert solution.seconds < 3.5 and solution.cost < solution.cost0


def test_the_random_states_are_left_as_found(device: torch.device) -> None:
    model, inputs, y = moved(net("vectors"), device)
    before = random_states()
    gd.fit(model, inputs, y, max_steps=2, initialise=True)
    gd.flow(model, inputs, y, until=0.1, tol=1e-3)
    gd.certify(model, inputs, y)
    assert all(torch.equal(a, b) for a, b in zip(before, random_states(), strict=True))


def test_settings_of_torch_are_left_as_found(device: torch.device) -> None:
    model, inputs, y = moved(net("lstm"), device)
    before = torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled()
    gd.fit(model, inputs, y, max_steps=1)
    assert before == (torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled())
