"""Rank losses made on purpose are found out, by the certificate and by where descent ends (THEORY 1.5)."""

import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine
from support.laws import naive_jacobian
from torch import Tensor, nn

import geodescent as gd
from geodescent.geometry import classify, deep_relu, kill_units, repeat_samples, silence_units


def wine() -> tuple[nn.Sequential, Tensor, Tensor]:
    """K = 159 > m = 54, ReLU; every unit awake."""
    torch.manual_seed(1)
    data = load_wine()
    x = torch.as_tensor(data.data[::10])
    y = nn.functional.one_hot(torch.as_tensor(data.target[::10])).double()
    return nn.Sequential(nn.Linear(13, 9), nn.ReLU(), nn.Linear(9, 3)).double(), (x - x.mean(0)) / x.std(0), y


def diabetes() -> Tensor:
    """Twelve patients."""
    return torch.as_tensor(load_diabetes().data[:12])


def rank(model: nn.Module, x: Tensor) -> int:
    return int(torch.linalg.matrix_rank(naive_jacobian(model, x), rtol=1e-10))


def causes(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, dict[str, object]]:
    return {cause.kind: cause.where for cause in gd.certify(model, x, y).causes}


def test_1_5_dead_units_are_found_out() -> None:
    """Seven of nine units dead: their columns are zero and K is what is left."""
    model, x, y = wine()
    assert "dead_units" not in causes(model, x, y)
    kill_units(model, x, "0", range(2, 9))
    assert int((naive_jacobian(model, x) != 0.0).any(0).sum()) == 2 * 14 + 2 * 3 + 3
    assert causes(model, x, y)["dead_units"] == {"layer": "0", "units": [*range(2, 9)]}
    assert gd.certify(model, x, y).rank == rank(model, x) < len(y.flatten())


def test_1_5_silenced_units_are_found_out_and_heard_again_after_a_step() -> None:
    model, x, y = wine()
    silence_units(model, "2", range(9))
    assert causes(model, x, y)["unheard_units"] == {"layer": "0", "units": [*range(9)]}
    assert gd.certify(model, x, y).rank == rank(model, x) <= 30
    gd.fit(model, x, y, max_steps=1)
    assert "unheard_units" not in causes(model, x, y)


def test_1_5_repeated_samples_are_found_out_with_their_floor() -> None:
    torch.manual_seed(0)
    x = diabetes()
    x = (x - x.mean(0)) / x.std(0)
    x, y = repeat_samples(x, torch.linspace(-1.0, 1.0, 12, dtype=torch.float64)[:, None] ** 2, 4)
    model = nn.Sequential(nn.Linear(10, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    certificate = gd.certify(model, x, y)
    floor = float((y[:4] - y[12:]).square().sum()) / 4.0 / len(x)
    (cause,) = [cause for cause in certificate.causes if cause.kind == "identical_inputs"]
    assert cause.where["groups"] == [[i, 12 + i] for i in range(4)]
    assert cause.cost == pytest.approx(floor, rel=1e-12) and floor > 0.01
    solution = gd.fit(model, x, y)
    assert solution.cost == pytest.approx(floor, rel=1e-9)
    landscape = classify(model, x, y)
    assert (landscape.kind, landscape.dimension) == ("critical_submanifold", landscape.n_params - landscape.rank)
    assert landscape.distance < 1e-3


@pytest.mark.parametrize("depth", [1, 5, 11])
def test_1_5_every_layer_of_one_unit_sends_one_sample_more_to_zero(depth: int) -> None:
    x = diabetes()
    model = deep_relu(x, 2, depth)
    assert sum(isinstance(module, nn.ReLU) for module in model) == depth
    hidden = model[:-1](x).detach()[:, 0]
    assert int((hidden > 0.0).sum()) == 12 - depth
    assert bool((model(x)[hidden == 0.0] == model[-1].bias).all())


def test_1_5_a_net_as_deep_as_there_are_samples_learns_the_mean_alone() -> None:
    x = diabetes()
    y = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = deep_relu(x, 2, 12)
    certificate = gd.certify(model, x, y)
    assert certificate.rank == rank(model, x) == 2
    assert {cause.kind for cause in certificate.causes} >= {"dead_units", "unheard_units"}
    solution = gd.fit(model, x, y)
    assert solution.cost == pytest.approx(float((y - y.mean(0)).square().sum()) / 24.0, rel=1e-9)
    landscape = classify(model, x, y)
    assert (landscape.kind, landscape.dimension) == ("critical_submanifold", landscape.n_params - 2)


def test_questions_without_an_answer() -> None:
    model, x, y = wine()
    with pytest.raises(gd.InputError, match=r"'1' is no nn.Linear of the model; these are: 0, 2\."):
        kill_units(model, x, "1", [0])
    with pytest.raises(gd.InputError, match="0 has no bias"):
        kill_units(nn.Sequential(nn.Linear(13, 2, bias=False)).double(), x, "0", [0])
    before = model[2].weight.detach().clone()
    with pytest.raises(gd.InputError, match=r"units must be indices from 0 to 8 of 2, not \[0, 9\]"):
        silence_units(model, "2", [0, 9])
    for mask in ([True, False, True], torch.tensor([True, False, True])):
        with pytest.raises(gd.InputError, match="none, or a mask"):
            kill_units(model, x, "0", mask)
    assert torch.equal(model[2].weight, before)
    with pytest.raises(gd.InputError, match="X holds 18 samples and y 17"):
        repeat_samples(x, y[1:], 2)
    with pytest.raises(gd.InputError, match="some rows of X are the same"):
        deep_relu(torch.cat([x, x[:1]]), 3, 2)
    with pytest.raises(gd.InputError, match="n = 10: at most half of the 18 samples"):
        repeat_samples(x, y, 10)
    with pytest.raises(gd.InputError, match="depth = 19: from 1 to N = 18"):
        deep_relu(x, 3, 19)


def test_killed_units_are_dead_around_the_point_too() -> None:
    """The highest value of each is −max(1, |highest before|); also where the activation works in place."""
    for act in (nn.ReLU(inplace=True), nn.ReLU6(inplace=True)):
        torch.manual_seed(0)
        x = torch.randn(9, 3, dtype=torch.float64)
        model = nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 1)).double()
        with torch.no_grad():
            model[0].bias[2] = 40.0
        before = model[0](x).detach().amax(0)
        kill_units(model, x, "0", torch.tensor([1, 2]))
        after = model[0](x).detach().amax(0)
        assert torch.equal(after[[0, 3]], before[[0, 3]]) and not model[0]._forward_hooks
        assert torch.allclose(after[[1, 2]], -before[[1, 2]].abs().clamp(min=1.0), rtol=1e-12)


def test_killing_leaves_modes_and_buffers_as_they_were() -> None:
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    model[3].eval()
    before = {name: buffer.clone() for name, buffer in model[1].named_buffers()}
    kill_units(model, x, "2", [1])
    assert [module.training for module in model] == [True, True, True, False, True] and model.training
    assert all(torch.equal(before[name], buffer) for name, buffer in model[1].named_buffers())


def test_half_of_the_samples_can_be_repeated_and_none_cannot() -> None:
    x = torch.arange(6.0)[:, None]
    repeated, targets = repeat_samples(x, x, 3)
    assert repeated[6:].flatten().tolist() == [0, 1, 2] and targets[6:].flatten().tolist() == [3, 4, 5]
    for n in (0, 4):
        with pytest.raises(gd.InputError, match="at most half"):
            repeat_samples(x, x, n)


def test_the_line_of_a_deep_net_is_drawn_by_the_seed() -> None:
    x = diabetes()[:6]
    one, other, whole = deep_relu(x, 2, 3), deep_relu(x, 2, 3, seed=1), deep_relu(x, 2, 6)
    assert not torch.equal(one[0].weight, other[0].weight)
    assert bool((one[-1].weight != 0.0).all()) and bool((one[-1].bias == 0.0).all())
    assert bool((whole[:-2](x) < 0.0).all())  # dead with room to spare
    with pytest.raises(gd.InputError, match="depth = 0"):
        deep_relu(x, 2, 0)
