"""Rules of one's own: taught, used for exactly their type, and believed only where autograd agrees."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.laws import assert_close, assert_same_jacobian, naive_jacobian
from support.models import Scaled, normal, with_scaled
from torch import Tensor, nn

import geodescent as gd
from geodescent.jacobian import Columns, DenseCotangents, DenseInputs, OuterColumns, Workspace
from geodescent.outputs import RULES, Rule, SampleMap


def right(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
    return [
        OuterColumns(DenseInputs(a.flatten(1, -2)), DenseCotangents(0.5 * g.flatten(2, -2)), index["weight"], label)
    ]


def wrong(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
    return [OuterColumns(DenseInputs(a.flatten(1, -2)), DenseCotangents(g.flatten(2, -2)), index["weight"], label)]


@pytest.fixture(autouse=True)
def rules() -> Iterator[dict[type[nn.Module], Rule]]:
    """The registry, put back afterwards."""
    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)


def test_a_right_rule_of_the_user_is_used() -> None:
    gd.register_rule(Scaled, right, parameters=("weight",))
    model, x = with_scaled(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.rest == []
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_a_wrong_rule_is_an_error_that_names_the_module() -> None:
    gd.register_rule(Scaled, wrong, parameters=("weight",))
    model, x = with_scaled(), normal(5, 4)
    with pytest.raises(gd.JacobianError, match=r"^2: .* by layers differs from autograd's by .*gd\.register_rule"):
        SampleMap(model, x)
    with pytest.raises(gd.JacobianError, match=r"^the model: "):
        SampleMap(Scaled(4, 2).double(), x)


def test_the_check_can_be_left_out() -> None:
    gd.register_rule(Scaled, wrong, parameters=("weight",))
    model, x = with_scaled(), normal(5, 4)
    dense = SampleMap(model, x, check=False).linearise()[1].dense()
    entries = slice(25, 50)
    assert_close(dense[:, entries], 2.0 * naive_jacobian(model, x)[:, entries], 1e-12)


def test_a_rule_that_breaks_the_gram_alone_is_noticed() -> None:
    """Dᵀu is right and G u is not: every entry of the block of G is too large by 1."""

    class Wrong(OuterColumns):
        def add_block(self, other: Columns, out: Tensor, work: Workspace, *, fresh: bool) -> None:
            super().add_block(other, out, work, fresh=fresh)
            out.add_(1.0)

    def broken(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
        return [Wrong(DenseInputs(a.flatten(1, -2)), DenseCotangents(0.5 * g.flatten(2, -2)), index["weight"], label)]

    gd.register_rule(Scaled, broken, parameters=("weight",))
    with pytest.raises(gd.JacobianError, match=r"^2: G u by layers"):
        SampleMap(nn.Sequential(nn.Linear(4, 30), nn.Tanh(), Scaled(30, 30), nn.Linear(30, 1)).double(), normal(5, 4))


def test_a_rule_that_breaks_the_product_with_d_alone_is_noticed() -> None:
    """Dᵀu is right and D v is not; of many outputs a few mixtures are enough."""

    class Wrong(OuterColumns):
        def mv(self, v: Tensor) -> Tensor:
            return 1.01 * super().mv(v)

    def broken(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
        return [Wrong(DenseInputs(a.flatten(1, -2)), DenseCotangents(0.5 * g.flatten(2, -2)), index["weight"], label)]

    gd.register_rule(Scaled, broken, parameters=("weight",))
    for n_outputs in (1, 20):
        model = nn.Sequential(nn.Linear(4, 30), nn.Tanh(), Scaled(30, 30), nn.Linear(30, n_outputs)).double()
        with pytest.raises(gd.JacobianError, match=r"^2: ⟨u, D v⟩ by layers differs from ⟨Dᵀu, v⟩"):
            SampleMap(model, normal(5, 4))


@pytest.mark.parametrize("n_outputs", [1, 20])
def test_entries_that_a_rule_names_twice_in_one_piece_are_noticed(n_outputs: int) -> None:
    """`0.25 W [a, a]` for `0.5 W a`: the products with D are right, and G is half of what it is."""

    def twice(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
        inputs, where = a.flatten(1, -2), index["weight"]
        doubled = DenseInputs(torch.cat([inputs, inputs], 2))
        return [OuterColumns(doubled, DenseCotangents(0.25 * g.flatten(2, -2)), torch.cat([where, where], 1), label)]

    gd.register_rule(Scaled, twice, parameters=("weight",))
    model = nn.Sequential(nn.Linear(4, 30), nn.Tanh(), Scaled(30, 30), nn.Linear(30, n_outputs)).double()
    with pytest.raises(gd.JacobianError, match=r"^2: G u by layers differs from D\(Dᵀu\)"):
        SampleMap(model, normal(5, 4))


# --- what rules are made of ------------------------------------------------------------------------------------------


class Shifted(nn.Module):
    """`y = c · (W a + b)`: three parameters, of which a rule need not account for all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3))
        self.gain = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x @ self.weight.T + self.bias)


def shifted(module: Any, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
    """W and b as those of a linear layer, c by rows that are formed."""
    n, q = g.shape[:2]
    inputs, scaled = a.reshape(n, -1, 4), (g * module.gain).reshape(n, q, -1, 3)
    columns = gd.affine_columns(inputs, scaled, index.get("weight"), index.get("bias"), label)
    if "gain" in index:
        inside = (inputs @ module.weight.T + module.bias)[:, None]
        columns.append(gd.DenseColumns((g.reshape(n, q, -1, 3) * inside).sum(2), index["gain"], label))
    return columns


@pytest.mark.parametrize("positions", [(), (2,)])
@pytest.mark.parametrize("frozen", [(), ("weight",), ("bias",), ("gain",), ("weight", "bias"), ("bias", "gain")])
def test_a_rule_from_the_pieces_on_the_face(frozen: tuple[str, ...], positions: tuple[int, ...]) -> None:
    gd.register_rule(Shifted, shifted, parameters=("weight", "bias", "gain"))
    layer = Shifted()
    for name in frozen:
        layer.get_parameter(name).requires_grad_(False)
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(3 * (positions or (1,))[0], 2)).double()
    x = normal(5, *positions, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.rest == []
    assert_same_jacobian(outputs.linearise()[1], naive_jacobian(model, x), 1e-12)


def test_a_rule_reads_the_parameters_at_which_the_jacobian_is_taken() -> None:
    """Not those that the model happens to hold; some are tied, and some stand still."""
    gd.register_rule(Shifted, shifted, parameters=("weight", "bias", "gain"))
    first, second = Shifted(), Shifted()
    second.gain = first.gain
    second.bias.requires_grad_(False)
    model, x = nn.Sequential(first, nn.Linear(3, 4), second).double(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.rest == []
    theta = outputs.theta + normal(outputs.n_params)
    dense = outputs.linearise(theta)[1].dense()
    outputs.write(theta)
    assert_close(dense, naive_jacobian(model, x), 1e-12)


def test_a_rule_that_reads_parameters_serves_a_closure_too() -> None:
    gd.register_rule(Shifted, shifted, parameters=("weight", "bias", "gain"))
    model, x = nn.Sequential(Shifted(), nn.Tanh(), nn.Linear(3, 2)).double(), normal(5, 4)
    outputs = gd.ClosureMap.of(model, lambda: model(x))
    theta = outputs.theta + normal(outputs.n_params)
    jacobian = outputs.linearise(theta)[1]
    assert [piece.label for piece in jacobian.columns] == ["0", "0", "2"]  # W and b, the gain, and the last layer
    outputs.write(theta)
    assert_same_jacobian(jacobian, naive_jacobian(model, x), 1e-12)


def test_parameters_that_a_rule_does_not_name_go_through_rows_of_their_own() -> None:
    gd.register_rule(Shifted, shifted)
    model, x = nn.Sequential(Shifted(), nn.Linear(3, 2)).double(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.rest == ["0.gain"]
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


class Positionwise(nn.Module):
    """The layer sees (position, sample, feature)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = Shifted(), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.layer(x.transpose(0, 1))).sum(0))


@pytest.mark.parametrize(("any_axis", "rest"), [(True, []), (False, ["layer.weight", "layer.gain"])])
def test_samples_on_another_axis_are_for_rules_that_say_so(any_axis: bool, rest: list[str]) -> None:
    gd.register_rule(Shifted, shifted, parameters=("weight", "bias", "gain"), any_axis=any_axis)
    model, x = Positionwise().double(), normal(5, 2, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.rest == rest
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_maps_that_are_there_already_keep_their_routes() -> None:
    model, x = with_scaled(), normal(5, 4)
    before = SampleMap(model, x)
    gd.register_rule(Scaled, right, parameters=("weight",))
    assert before.on(x).routes.rest == ["2.weight"]
    assert_close(before.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


@pytest.mark.parametrize(("layer", "apply"), [(nn.Linear(2, 1), right), (int, right), (Scaled, "right"), ("", right)])
def test_what_is_no_layer_or_no_rule_is_refused(layer: Any, apply: Any, rules: dict[type[nn.Module], Rule]) -> None:
    before = dict(rules)
    with pytest.raises(gd.InputError, match="register_rule takes the class of a layer and a function"):
        gd.register_rule(layer, apply)
    assert rules == before
