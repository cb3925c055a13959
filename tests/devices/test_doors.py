"""The other doors on each device: the numbers are those of the CPU, and tensors are where the model is."""

import pytest
import torch
from support.device_nets import NETS, net
from support.devices import CLOSE, F32, F64, assert_on, assert_same_number, moved, with_cpu
from torch import Tensor, nn

import geodescent as gd
from geodescent import constructive, costs, geometry

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("metric", ["fit", "flow"])
def test_certify(device: torch.device, metric: str, dtype: torch.dtype) -> None:
    every = [gd.certify(*moved(net("vectors"), at, dtype), metric=metric) for at in with_cpu(device)]
    here, there = every[0], every[-1]
    assert here.rank == there.rank and here.sigma_max is not None and there.sigma_max is not None
    assert_same_number(here.sigma_max, there.sigma_max, 1e-2 * CLOSE[dtype])
    assert_same_number(here.cost, there.cost, 1e-2 * CLOSE[dtype])
    assert len(str(here)) > 50


@pytest.mark.parametrize("name", NETS)
def test_certify_every_kind_of_network(device: torch.device, name: str) -> None:
    every = [gd.certify(*moved(net(name), at)) for at in with_cpu(device)]
    assert every[0].rank == every[-1].rank and "nothing was computed" not in str(every[0])


def test_rank_that_is_lost(device: torch.device) -> None:
    """Repeated samples and a dead unit: the rank is that of the CPU's decomposition, and the causes are named."""
    model, inputs, y = net("vectors")
    with torch.no_grad():
        model[2].weight[:, 0] = 0.0  # type: ignore[index, union-attr, operator]
    inputs, y = inputs[[0, 1, 2, 3, 0, 1]], y[[0, 1, 2, 3, 0, 1]]
    every = [gd.certify(*moved((model, inputs, y), at)) for at in with_cpu(device)]
    here, there = every[0], every[-1]
    assert here.rank == there.rank == 8
    assert [str(cause) for cause in here.causes] == [str(cause) for cause in there.causes]


def test_flow(device: torch.device) -> None:
    every = [gd.flow(*moved(net("vectors"), at), until=0.5, tol=1e-7) for at in with_cpu(device)]
    here, there = every[0], every[-1]
    assert_on(here.theta, device)
    assert_same_number(here.cost[-1], there.cost[-1], 1e-5)
    assert set(here.rank) == set(there.rank)
    assert here.max_relative_deviation < 1e-4 and len(str(here)) > 50


def test_flow_of_a_field_and_by_products(device: torch.device) -> None:
    model, inputs, y = moved(net("vectors"), device)
    assert gd.flow(model, inputs, y, until=0.05, tol=1e-3, field=gd.StraightLineField()).cost[-1] > 0.0
    assert gd.flow(model, inputs, y, until=0.05, tol=1e-3, lift=gd.KrylovLift()).cost[-1] > 0.0


@pytest.mark.parametrize("name", ["vectors", "outside layers", "convolution", "lstm", "embedding"])
def test_initialise(device: torch.device, name: str) -> None:
    models = [moved(net(name), at) for at in with_cpu(device)]
    said = [str(gd.initialise(*each)) for each in models]
    assert len(said[0]) > 20
    for here, there in zip(models[0][0].parameters(), models[-1][0].parameters(), strict=True):
        assert_on(here, device)
        assert float((here.detach().cpu() - there.detach()).norm()) <= 1e-6 * (1.0 + float(there.detach().norm()))


@pytest.mark.parametrize("name", NETS)
def test_the_optimizer(device: torch.device, name: str) -> None:
    """Steps by X and y and by a closure cost what they cost on the CPU."""
    costs_of = list[list[float]]()
    for at in with_cpu(device):
        model, inputs, y = moved(net(name), at)
        twin = moved(model, at)

        def closure(twin: nn.Module = twin, inputs=inputs, y: Tensor = y) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
            return (twin(**inputs) if isinstance(inputs, dict) else twin(inputs)), y

        first, second = gd.GeoDescent(model), gd.GeoDescent(twin)
        costs_of.append([first.step(inputs, y) for _ in range(2)] + [second.step(closure) for _ in range(2)])
    for here, there in zip(costs_of[0], costs_of[-1], strict=True):
        assert_same_number(here, there, 1e-4, 1e-9)


def test_the_optimizer_goes_on_from_its_state(device: torch.device) -> None:
    model, inputs, y = moved(net("vectors"), device)
    optimizer = gd.GeoDescent(model)
    optimizer.step(inputs, y)
    again = gd.GeoDescent(model)
    again.load_state_dict(optimizer.state_dict())
    assert again.step(inputs, y) > again.step(inputs, y)


def classes(device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres, labels = 4.0 * torch.eye(3, dtype=F64), torch.arange(3).repeat_interleave(6)
    X = centres[labels] + 0.1 * torch.randn(18, 3, generator=generator, dtype=F64)
    return X.to(device), nn.functional.one_hot(labels).double().to(device)


@pytest.mark.parametrize(
    "make", [constructive.separable, constructive.clustered, constructive.wide, constructive.shallow]
)
def test_networks_that_are_written_down(device: torch.device, make) -> None:  # type: ignore[no-untyped-def]
    X, _ = classes(device)
    every = [make(*classes(at)) for at in with_cpu(device)]
    network, there = every[0], every[-1]
    assert_on(network(X), device)
    assert_same_number(network.report.cost, there.report.cost, 1e-6, 1e-20)


@pytest.mark.parametrize("cost", [costs.CrossEntropy(), costs.Logistic()], ids=["cross entropy", "logistic"])
@pytest.mark.parametrize("metric", ["euclidean", "hessian"])
def test_flows_of_other_costs(device: torch.device, cost: costs.OutputCost, metric: str) -> None:
    ends = []
    for at in with_cpu(device):
        model, inputs, y = moved(net("vectors"), at)
        way = geometry.cost_flow(model, inputs, torch.softmax(y, 1), cost=cost, metric=metric, until=0.1, tol=1e-6)
        ends.append(way.cost[-1])
    assert_same_number(ends[0], ends[-1], 1e-4)


def test_the_manifold_of_zero_cost(device: torch.device) -> None:
    model, inputs, y = moved(net("vectors"), device)
    gd.fit(model, inputs[:6], y[:6])
    refined = geometry.refine(model, inputs[:6], y[:6], max_steps=3, highest_cost=1e-12)
    assert_on(next(model.parameters()), device)
    assert len(refined.points) > 1
    assert len(str(geometry.classify(model, inputs[:6], y[:6]))) > 10
