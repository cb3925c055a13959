"""Which parameters go by rule, and how the others go."""

import copy

import pytest
import torch
from support.laws import assert_close, naive_jacobian
from support.models import ZOO, Embedded, Specimen, made, normal, text, transformer, with_scaled
from torch import Tensor, nn

from geodescent._budget import Budget, spending
from geodescent._errors import JacobianError
from geodescent.outputs import SampleMap, _per_sample
from geodescent.outputs._function import ModelFunction
from geodescent.outputs._inputs import Inputs

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
each_specimen = pytest.mark.parametrize("specimen", ZOO, ids=[s.name for s in ZOO])


@each_specimen
def test_everything_goes_by_rule_but_what_is_listed(specimen: Specimen) -> None:
    model, inputs = made(specimen, torch.float64)
    assert tuple(SampleMap(model, inputs).routes.rest) == specimen.per_sample


def test_conv_net_and_embedding_model_go_by_rule() -> None:
    layers = [nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.Tanh()]
    conv = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 16, 10)).double()
    assert SampleMap(conv, normal(3, 1, 8, 8)).routes.rest == []
    assert SampleMap(Embedded().double(), text(3, 5, 11)).routes.rest == []


def test_a_transformer_block_goes_by_rule_and_two_products_with_one_weight_are_one_piece() -> None:
    model, x = transformer()
    outputs = SampleMap(model.double(), x)
    own = dict(model.named_parameters())
    assert calls_of_linearise(model, outputs) == 1
    labelled = {str(r["module"]): int(r["params"]) for r in outputs.linearise()[1].routes()}
    for names in (["0.self_attn.in_proj_weight", "0.self_attn.in_proj_bias"], ["0.self_attn.out_proj.weight"]):
        (label,) = (label for label in labelled if names[0] in label)
        assert labelled[label] >= sum(own[name].numel() for name in names)


def calls_of_linearise(model: nn.Module, outputs: SampleMap) -> int:
    """How often D and its columns call the model: once for the outputs; for the rest once a chunk, or a sample."""
    calls = list[int]()
    handle = model.register_forward_hook(lambda module, args, output: calls.append(1))
    outputs.linearise()[1].made()
    handle.remove()
    return len(calls)


@pytest.mark.parametrize(
    ("name", "calls"), [("custom layer", 2), ("weight norm", 2), ("lstm", 1), ("unvectorisable", 1 + 3)]
)
def test_vmap_is_used_where_it_can_go_and_a_loop_elsewhere(name: str, calls: int) -> None:
    (specimen,) = (specimen for specimen in ZOO if specimen.name == name)
    model, inputs = made(specimen, torch.float64)
    assert calls_of_linearise(model, SampleMap(model, inputs)) == calls


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-3])
def test_what_vmap_gets_wrong_is_noticed_also_where_samples_are_alike(n: int, spread: float) -> None:
    """That of PReLU gives wrong numbers where there are as many samples as outputs, nearly right for similar ones."""
    for seed in range(10):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)).double()
        x = normal(1, 5) + spread * normal(n, 5)
        single, double = copy.deepcopy(model).float(), model
        assert_close(SampleMap(double, x).linearise()[1].dense(), naive_jacobian(double, x), 1e-9)
        close = SampleMap(single, x.float()).linearise()[1].dense()
        assert_close(close, naive_jacobian(single, x.float()), 1e-4)


def test_what_vmap_gets_wrong_is_taken_by_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers are off by 1e-7: less than the square root of eps, and more than rounding."""
    by_vmap = _per_sample.by_vmap

    def wrong(function: ModelFunction, views: dict[str, Tensor], inputs: Inputs, rows: dict[str, Tensor]) -> None:
        by_vmap(function, views, inputs, rows)
        for row in rows.values():
            row.mul_(1.0 + 1e-7)

    monkeypatch.setattr(_per_sample, "by_vmap", wrong)
    model, x = with_scaled(), normal(5, 4)
    assert_close(SampleMap(model, x).linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


@pytest.mark.parametrize(("batch_bytes", "chunks"), [(1, 5), (2000, 3), (2**28, 1)])
def test_chunks_of_vmap_change_nothing(batch_bytes: int, chunks: int) -> None:
    """The derivatives of one sample take 2 · 62 · 8 bytes, of its two outputs by all parameters."""
    model, x = with_scaled(), normal(5, 4)
    with spending(Budget(batch_bytes=batch_bytes)):
        outputs = SampleMap(model, x)
        assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)
        assert calls_of_linearise(model, outputs) == 1 + chunks


def test_a_layer_without_a_rule_is_served_by_per_sample_derivatives() -> None:
    model, x = with_scaled(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert outputs.routes.rest == ["2.weight"]
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_a_subclass_is_not_its_parent() -> None:
    """A rule is used for exactly its type: a subclass may compute something else."""

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2.0 * super().forward(x)

    model, x = nn.Sequential(Doubled(4, 3), nn.Tanh()).double(), normal(5, 4)
    outputs = SampleMap(model, x)
    assert not outputs.routes.modules and not outputs.routes.rest  # its product goes by rule, and not its call
    assert_close(outputs.linearise()[1].dense(), naive_jacobian(model, x), 1e-12)


def test_inputs_overwritten_in_place_after_the_call() -> None:
    """What a layer was called on is lost where it is overwritten later on: its call leaves the rules, not the sum."""

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
    assert list(outputs.routes.modules) == ["second"] and not outputs.routes.rest
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
