"""Who goes by rule, and that a rule is believed only where autograd agrees."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from support.laws import assert_close, naive_jacobian
from support.models import ZOO, Embedded, Specimen, made, normal, text, transformer
from torch import Tensor, nn

from geodescent._errors import JacobianError
from geodescent.jacobian import Columns, DenseCotangents, DenseInputs, OuterColumns, Workspace
from geodescent.outputs import RULES, Rule, SampleMap

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
each_specimen = pytest.mark.parametrize("specimen", ZOO, ids=[s.name for s in ZOO])


class Scaled(nn.Module):
    """`y = W a / 2`: a layer that no rule is known for."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_out, d_in))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * F.linear(x, self.weight)


def right(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
    return [
        OuterColumns(DenseInputs(a.flatten(1, -2)), DenseCotangents(0.5 * g.flatten(2, -2)), index["weight"], label)
    ]


def wrong(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
    return [OuterColumns(DenseInputs(a.flatten(1, -2)), DenseCotangents(g.flatten(2, -2)), index["weight"], label)]


@pytest.fixture
def rules() -> Iterator[dict[type[nn.Module], Rule]]:
    """The registry, put back afterwards."""
    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)


def with_scaled() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), Scaled(5, 5), nn.Tanh(), nn.Linear(5, 2)).double()


@each_specimen
def test_everything_goes_by_rule_but_what_is_listed(specimen: Specimen) -> None:
    model, inputs = made(specimen, torch.float64)
    assert tuple(SampleMap(model, inputs).routes.per_sample) == specimen.per_sample


def test_conv_net_and_embedding_model_go_by_rule() -> None:
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.Tanh()]
    conv = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 16, 10)).double()
    assert SampleMap(conv, normal(3, 1, 8, 8)).routes.per_sample == []
    assert SampleMap(Embedded().double(), text(3, 5, 11)).routes.per_sample == []


def test_most_of_a_transformer_block_goes_by_rule() -> None:
    model, x = transformer()
    outputs = SampleMap(model.double(), x)
    own = dict(model.named_parameters())
    by_vmap = sum(own[name].numel() for name in outputs.routes.per_sample)
    assert outputs.routes.vectorised
    assert by_vmap <= 0.5 * outputs.n_params
    labelled = {str(r["module"]): int(r["params"]) for r in outputs.linearise()[1].routes()}
    assert labelled[" + ".join(outputs.routes.per_sample)] == by_vmap


def test_vmap_is_used_where_it_can_go_and_a_loop_elsewhere() -> None:
    by_name = {specimen.name: specimen for specimen in ZOO}
    for name, vectorised in [("custom layer", True), ("weight norm", True), ("lstm", False), ("unvectorisable", False)]:
        model, inputs = made(by_name[name], torch.float64)
        assert SampleMap(model, inputs).routes.vectorised == vectorised, name


@pytest.mark.parametrize("chunk_bytes", [1, 2000])
def test_chunks_of_vmap_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    from geodescent.outputs import _per_sample

    monkeypatch.setattr(_per_sample, "VMAP_BYTES", chunk_bytes)
    model = with_scaled()
    x = normal(5, 4)
    assert_close(SampleMap(model, x).linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


# --- rules of one's own ----------------------------------------------------------------------------------------------


def test_a_layer_without_a_rule_is_served_by_per_sample_derivatives() -> None:
    model, x = with_scaled(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.per_sample == ["2.weight"]
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_a_right_rule_of_the_user_is_used(rules: dict[type[nn.Module], Rule]) -> None:
    rules[Scaled] = Rule(right, ("weight",))
    model, x = with_scaled(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.per_sample == []
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_a_wrong_rule_is_an_error_that_names_the_module(rules: dict[type[nn.Module], Rule]) -> None:
    rules[Scaled] = Rule(wrong, ("weight",))
    model, x = with_scaled(), normal(5, 4)
    with pytest.raises(JacobianError, match=r"^2: .* by layers differs from autograd's by .*RULES"):
        SampleMap(model, x)
    with pytest.raises(JacobianError, match=r"^the model: "):
        SampleMap(Scaled(4, 2).double(), x)


def test_the_check_can_be_left_out(rules: dict[type[nn.Module], Rule]) -> None:
    rules[Scaled] = Rule(wrong, ("weight",))
    model, x = with_scaled(), normal(5, 4)
    dense = SampleMap(model, x, check=False).linearise()[1].dense()
    entries = slice(25, 50)
    assert_close(dense[:, entries], 2.0 * naive_jacobian(model, x)[:, entries], 1e-12)


def test_a_rule_that_breaks_the_gram_alone_is_noticed(rules: dict[type[nn.Module], Rule]) -> None:
    """Dᵀu is right and G u is not: a record whose samples have changed places in the block of G."""

    class Wrong(OuterColumns):
        def add_block(self, other: OuterColumns, out: Tensor, work: Workspace, *, fresh: bool) -> None:
            super().add_block(other, out, work, fresh=fresh)
            out.add_(1.0)

    def broken(module: nn.Module, a: Tensor, g: Tensor, index: dict[str, Tensor], label: str) -> list[Columns]:
        return [Wrong(DenseInputs(a.flatten(1, -2)), DenseCotangents(0.5 * g.flatten(2, -2)), index["weight"], label)]

    rules[Scaled] = Rule(broken, ("weight",))
    with pytest.raises(JacobianError, match=r"^2: G u by layers"):
        SampleMap(nn.Sequential(nn.Linear(4, 30), nn.Tanh(), Scaled(30, 30), nn.Linear(30, 1)).double(), normal(5, 4))


def test_a_subclass_is_not_its_parent() -> None:
    """A rule is used for exactly its type: a subclass may compute something else."""

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2.0 * super().forward(x)

    model, x = nn.Sequential(Doubled(4, 3), nn.Tanh()).double(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.per_sample == ["0.weight", "0.bias"]
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_inputs_overwritten_in_place_after_the_call() -> None:
    """What a layer was called on is lost where it is overwritten later on: its parameters leave the rules."""

    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)
            self.first.weight.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            scratch = 1.0 * x
            hidden = torch.tanh(self.first(scratch))
            scratch.mul_(2.0)
            return self.second(hidden + scratch)

    model, x = Overwriting().double(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.per_sample == ["first.bias"]
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_operations_that_can_be_differentiated_backwards_and_once_only() -> None:
    """The check takes D(Dᵀu) row by row where autograd has no other derivative."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g: Tensor) -> Tensor:
            return g * ctx.saved_tensors[0].cos()

    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(x)

    model, x = nn.Sequential(nn.Linear(4, 3), Sine(), nn.Linear(3, 2)).double(), normal(5, 4)
    assert_close(SampleMap(model, x).linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_a_path_that_depends_on_the_data_is_refused() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(self.right(x)) if len(x) < 5 else self.right(self.left(x))

    with pytest.raises(JacobianError, match="its path depends on the data"):
        SampleMap(Forked().double(), normal(6, 3))
