"""D of a recorded call: products by passes through its graph, and columns by rules, are autograd's row by row."""

from collections.abc import Callable

import pytest
import torch
import torch.utils.checkpoint
from support.laws import assert_adjoint, assert_close, naive_jacobian
from support.models import ZOO, Specimen, made, normal, text
from torch import Tensor, nn

import geodescent as gd
from geodescent._budget import Budget, spending
from geodescent._errors import JacobianError, MemoryPlanError
from geodescent.jacobian import (
    BlockJacobian,
    MatrixJacobian,
    OuterColumns,
    RecordedBlock,
    expecting,
    goes_by_passes,
    is_recorded,
    random_sums,
)
from geodescent.outputs import SampleMap

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]
F64 = torch.float64
PRECISIONS = [(F64, 1e-11), (torch.float32, 2e-4)]


class Last(nn.Module):
    """The last state of a recurrent layer, read by a linear one; samples first or second."""

    def __init__(self, memory: nn.RNNBase) -> None:
        super().__init__()
        self.memory = memory
        width = (memory.proj_size or memory.hidden_size) * (2 if memory.bidirectional else 1)
        self.out = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        states = self.memory(x if self.memory.batch_first else x.transpose(0, 1))[0]
        return self.out(states[:, -1] if self.memory.batch_first else states[-1])


class Cells(nn.Module):
    """A cell called by hand at every time."""

    def __init__(self, kind: type[nn.LSTMCell] | type[nn.GRUCell]) -> None:
        super().__init__()
        self.cell, self.out = kind(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for now in x.unbind(1):
            state = self.cell(now, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


class Attending(nn.Module):
    """Attention of one sequence to itself or to another, with keys and values of other widths where asked."""

    def __init__(self, *, width: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, kdim=width, vdim=width, bias=bias)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        other = x if other is None else other
        return self.out(self.attention(x, other, other, need_weights=False)[0].mean(1))


class Bags(nn.Module):
    """Bags of words, seen through a small network; each word weighted by its place where asked."""

    def __init__(self, *, weighted: bool = False, **options: object) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(9, 4, **options)
        self.out = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        self.weighted = weighted

    def forward(self, words: Tensor) -> Tensor:
        if not self.weighted:
            return self.out(self.bag(words))
        places = torch.arange(1.0, words.shape[1] + 1.0, dtype=self.bag.weight.dtype).expand(words.shape)
        return self.out(self.bag(words, per_sample_weights=places))


def convolved(layer: nn.Module, *shape: int) -> tuple[nn.Module, Tensor]:
    """A layer on pictures between two convolutions, so that changes go through it."""
    x = normal(3, *shape)
    before = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[x.dim()](shape[0], shape[0], 1)
    return nn.Sequential(before, nn.Tanh(), layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)), x


Kind = Callable[[], tuple[nn.Module, object]]
RULED: dict[str, Kind] = {
    "lstm": lambda: (Last(nn.LSTM(3, 4, batch_first=True)), normal(5, 6, 3)),
    "lstm, samples second": lambda: (Last(nn.LSTM(3, 4)), normal(5, 6, 3)),
    "lstm, as many samples as times": lambda: (Last(nn.LSTM(3, 4)), normal(3, 3, 3)),
    "lstm, two layers, both ways": lambda: (Last(nn.LSTM(3, 4, 2, bidirectional=True)), normal(4, 5, 3)),
    "lstm, no bias": lambda: (Last(nn.LSTM(3, 4, bias=False, batch_first=True)), normal(4, 5, 3)),
    "lstm, projected": lambda: (Last(nn.LSTM(3, 4, proj_size=2, batch_first=True)), normal(4, 5, 3)),
    "lstm, one time": lambda: (Last(nn.LSTM(3, 4, batch_first=True)), normal(4, 1, 3)),
    "gru": lambda: (Last(nn.GRU(3, 4, batch_first=True)), normal(5, 6, 3)),
    "gru, two layers, both ways": lambda: (Last(nn.GRU(3, 4, 2, bidirectional=True)), normal(4, 5, 3)),
    "gru, no bias": lambda: (Last(nn.GRU(3, 4, bias=False)), normal(4, 5, 3)),
    "rnn, relu": lambda: (Last(nn.RNN(3, 4, nonlinearity="relu", batch_first=True)), normal(4, 5, 3)),
    "lstm cell": lambda: (Cells(nn.LSTMCell), normal(4, 5, 3)),
    "gru cell": lambda: (Cells(nn.GRUCell), normal(4, 5, 3)),
    "attention": lambda: (Attending(), normal(4, 5, 8)),
    "attention, no bias": lambda: (Attending(bias=False), normal(4, 5, 8)),
    "bags, mean": lambda: (Bags(), text(6, 5, 9)),
    "bags, sum": lambda: (Bags(mode="sum"), text(6, 5, 9)),
    "bags, padding": lambda: (Bags(padding_idx=2), text(6, 5, 9)),
    "bags, sparse": lambda: (Bags(mode="sum", sparse=True), text(6, 5, 9)),
    "conv, stride": lambda: convolved(nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0)), 2, 6, 5),
    "conv, groups": lambda: convolved(nn.Conv2d(4, 6, 3, groups=2, dilation=2, bias=False), 4, 6, 6),
    "conv, same": lambda: convolved(nn.Conv2d(2, 3, 3, padding="same"), 2, 4, 4),
    "conv, circular": lambda: convolved(nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), 2, 6),
    "conv, volume": lambda: convolved(nn.Conv3d(1, 2, 2), 1, 3, 3, 3),
    "transposed conv": lambda: convolved(
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), 4, 3, 3
    ),
    "transposed conv, line": lambda: convolved(nn.ConvTranspose1d(2, 3, 3, dilation=2), 2, 4),
}
OTHERS: dict[str, Kind] = {
    "attention to other widths": lambda: (Attending(width=6), (normal(4, 5, 8), normal(4, 3, 6))),
    "bags, max": lambda: (Bags(mode="max"), text(6, 5, 9)),
    "bags, weighted": lambda: (Bags(mode="sum", weighted=True), text(6, 5, 9)),
    "attention to another": lambda: (Attending(), (normal(4, 5, 8), normal(4, 3, 8))),
}


def map_of(kind: Kind, dtype: torch.dtype) -> tuple[nn.Module, SampleMap, Tensor]:
    torch.manual_seed(0)
    model, inputs = kind()
    if isinstance(inputs, tuple):
        inputs = tuple(x.to(dtype) for x in inputs)
    elif inputs.is_floating_point():
        inputs = inputs.to(dtype)
    model = model.to(dtype)
    model(*inputs) if isinstance(inputs, tuple) else model(inputs)  # a lazy layer is made
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model, SampleMap(model, inputs), naive_jacobian(model, inputs)


def vectors(dense: Tensor) -> tuple[Tensor, Tensor]:
    m, k = dense.shape
    return normal(k).to(dense.dtype), normal(m).to(dense.dtype)


@pytest.mark.parametrize(("dtype", "tol"), PRECISIONS, ids=["double", "single"])
@pytest.mark.parametrize("name", [*RULED, *OTHERS])
def test_products_and_columns_are_those_of_autograd(name: str, dtype: torch.dtype, tol: float) -> None:
    _, outputs, dense = map_of({**RULED, **OTHERS}[name], dtype)
    v, u = vectors(dense)
    jacobian = outputs.linearise()[1]
    assert_close(jacobian.rmv(u), dense.T @ u, tol)
    assert_close(jacobian.mv(v), dense @ v, tol)
    assert_adjoint(outputs.linearise()[1], tol)
    assert_close(outputs.linearise()[1].dense(), dense, tol)
    assert_close(outputs.linearise()[1].gram(), dense @ dense.T, tol)
    assert_close(outputs.with_columns(outputs.theta)[1].mv(v), dense @ v, tol)


@pytest.mark.parametrize("name", [name for name in RULED if not name.startswith("bags")])
def test_products_are_passes_through_the_graph(name: str) -> None:
    """Were one wrong, columns would take its place."""
    _, outputs, dense = map_of(RULED[name], F64)
    jacobian, (v, _) = outputs.linearise()[1], vectors(dense)
    assert_close(jacobian.mv(v), dense @ v, 1e-11)
    assert not block_of(jacobian).is_made


@pytest.mark.parametrize("name", RULED)
def test_all_parameters_go_by_rule(name: str) -> None:
    _, outputs, _ = map_of(RULED[name], F64)
    assert outputs.routes.rest == []


def test_weight_and_bias_of_a_cell_are_one_layer_whose_positions_are_the_times() -> None:
    for name in ("lstm", "gru"):
        _, outputs, _ = map_of(RULED[name], F64)
        pieces = {c.label: c for c in outputs.linearise()[1].columns if isinstance(c, OuterColumns)}
        hidden = pieces["memory.weight_hh_l0 + memory.bias_hh_l0"]
        assert hidden.index.shape[1] == 4 + 1 and hidden.inputs.positions == 6
        assert pieces["memory.weight_ih_l0 + memory.bias_ih_l0"].inputs.positions == 6


@pytest.mark.parametrize(
    ("name", "rest"), [("another", ["in_proj_weight", "in_proj_bias"]), ("other widths", ["in_proj_bias"])]
)
def test_attention_to_another_sequence_goes_by_rule_but_for_what_is_cut(name: str, rest: list[str]) -> None:
    _, outputs, _ = map_of(OTHERS[f"attention to {name}"], F64)
    assert outputs.routes.rest == [f"attention.{own}" for own in rest]


def test_weighted_bags_go_sample_by_sample() -> None:
    for name in ("bags, max", "bags, weighted"):
        assert map_of(OTHERS[name], F64)[1].routes.rest == ["bag.weight"]


@pytest.mark.parametrize("dropout", ["lstm", "encoder"])
def test_active_dropout_is_refused(dropout: str) -> None:
    models = {
        "lstm": lambda: Last(nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True)),
        "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 8, dropout=0.1, batch_first=True),
    }
    model = models[dropout]().double()
    with pytest.raises(JacobianError, match="random"):
        SampleMap(model, normal(4, 5, 3 if dropout == "lstm" else 8))
    SampleMap(model.eval(), normal(4, 5, 3 if dropout == "lstm" else 8))


# --- products first, columns where they are asked --------------------------------------------------------------------


def net() -> SampleMap:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 4)]
    return SampleMap(nn.Sequential(*layers).double(), normal(6, 1, 6, 6))


def block_of(jacobian: BlockJacobian) -> RecordedBlock:
    (block,) = jacobian.blocks
    assert isinstance(block, RecordedBlock)
    return block


def test_columns_are_made_where_they_are_asked_or_once_products_have_cost_as_much() -> None:
    outputs = net()
    few, many, asked = (outputs.linearise()[1] for _ in range(3))
    v = torch.ones(outputs.n_params, dtype=F64)
    first = few.mv(v)
    assert not block_of(few).is_made
    flops = few.product_flops(), few.gram_flops()
    assert not block_of(few).is_made and few.holds_rows
    for _ in range(20):
        last = many.mv(v)
    assert block_of(many).is_made
    assert_close(last, first, 1e-13)
    asked.gram()
    assert block_of(asked).is_made
    assert_close(asked.mv(v), first, 1e-13)
    assert flops == pytest.approx((asked.product_flops(), asked.gram_flops()))


def test_columns_are_made_at_once_for_as_many_products_as_they_cost_and_never_where_they_do_not_fit() -> None:
    """Four outputs take six products."""
    outputs = net()
    few, many, narrow = (outputs.linearise()[1] for _ in range(3))
    v = torch.ones(outputs.n_params, dtype=F64)
    few.mv(v)
    assert not block_of(expecting(few, 5.0)).is_made and expecting(many, 6.0).blocks[0].is_made
    with spending(Budget(free_bytes=20_000)):
        assert not block_of(expecting(narrow, 100.0)).is_made
        products = [narrow.mv(v) for _ in range(20)]
        assert not block_of(narrow).is_made
    assert_close(products[-1], many.mv(v), 1e-13)
    matrix = MatrixJacobian(torch.eye(3, dtype=F64))
    assert expecting(matrix, 100.0) is matrix


def test_in_another_precision_products_are_counted_anew() -> None:
    outputs = net()
    jacobian = outputs.linearise()[1]
    v = torch.ones(outputs.n_params, dtype=F64)
    single = jacobian.to(torch.float32)
    for _ in range(20):
        single.mv(v.float())
    jacobian.mv(v)
    assert block_of(single).is_made and not block_of(jacobian).is_made


def test_the_first_product_with_the_transpose_leaves_its_graph_for_the_products_that_follow() -> None:
    """From the second linearisation on, when the model is known to have derivatives of its derivatives."""
    outputs = net()
    jacobian, plain = outputs.linearise()[1], outputs.with_columns(outputs.theta)[1]
    u, v = normal(plain.n_residuals).double(), normal(plain.n_params).double()
    jacobian.rmv(u)
    assert block_of(jacobian).recorded._gradient is None
    jacobian.mv(v)
    again = outputs.linearise()[1]
    first = again.rmv(u)
    graph = block_of(again).recorded._gradient
    assert graph is not None and not first.requires_grad
    assert_close(first, plain.rmv(u), 1e-12)
    assert_close(again.mv(v), plain.mv(v), 1e-12)
    assert_close(again.rmv(2.0 * u), 2.0 * first, 1e-12)
    assert block_of(again).recorded._gradient is graph


def test_its_routes_are_those_of_its_columns_and_do_not_make_them() -> None:
    jacobian = net().linearise()[1]
    routes = jacobian.routes()
    assert not block_of(jacobian).is_made and routes == jacobian.made().routes()


def test_random_sums_are_those_of_a_recorded_call_alone() -> None:
    outputs = net()
    jacobian = outputs.linearise()[1]
    sums = random_sums(jacobian)
    assert_close(sums.dense(), jacobian.sketched(0).dense(), 1e-12)
    assert random_sums(jacobian.made()) is None
    assert random_sums(MatrixJacobian(torch.eye(3, dtype=F64))) is None
    jacobian.blocks[0].made()  # its columns are known from now on
    assert random_sums(jacobian) is None and is_recorded(jacobian) and not goes_by_passes(jacobian)


def test_scaled_mixed_and_converted_it_is_what_the_columns_are() -> None:
    outputs = net()
    m, k, n, q = *outputs.linearise()[1].shape, *outputs.shape
    rows, columns = normal(m).double().abs() + 0.5, normal(k).double().abs() + 0.5
    one, each = normal(q, 2).double(), normal(n, 2, 3).double()
    v = normal(k).double()

    def changed(jacobian: BlockJacobian) -> list[BlockJacobian]:
        scaled = jacobian.scaled(rows=rows, columns=columns)
        mixed = scaled.scaled(columns=columns).mixed(one)
        return [scaled, scaled.scaled(rows=rows), mixed, mixed.scaled(rows=rows[: 2 * n]).mixed(each)]

    for with_columns in (False, True):
        lazy, plain = outputs.linearise()[1], outputs.with_columns(outputs.theta)[1]
        for ours, theirs in zip(changed(lazy), changed(plain), strict=True):
            u = normal(theirs.n_residuals).double()
            if with_columns:
                assert_close(ours.gram(), theirs.gram(), 1e-12)
            assert block_of(ours).is_made == with_columns
            assert_close(ours.mv(v), theirs.mv(v), 1e-12)
            assert_close(ours.rmv(u), theirs.rmv(u), 1e-12)
            single, expected = ours.to(torch.float32), theirs.to(torch.float32)
            assert single.mv(v.float()).dtype == single.rmv(u.float()).dtype == single.gram().dtype == torch.float32
            assert_close(single.mv(v.float()), expected.mv(v.float()), 1e-5)
            assert_close(single.rmv(u.float()), expected.rmv(u.float()), 1e-5)


def test_a_sketch_is_a_random_sum_of_outputs_whose_mean_square_is_that_of_d() -> None:
    outputs = net()
    jacobian, dense = outputs.linearise()[1], outputs.linearise()[1].dense()
    sketch = jacobian.sketched(3)
    assert sketch.blocks[0].n_outputs == 1 and not block_of(jacobian).is_made
    assert_close(sketch.dense(), outputs.with_columns(outputs.theta)[1].sketched(3).dense(), 1e-12)
    sums = [jacobian.sketched(seed).dense() for seed in range(400)]
    mean = torch.stack([d.T @ d for d in sums]).mean(0)
    few = torch.stack([d.T @ d for d in sums[:25]]).mean(0)
    normal_matrix = dense.T @ dense
    off, off_few = ((part - normal_matrix).norm() / normal_matrix.norm() for part in (mean, few))
    assert off < 0.1 and off_few / off == pytest.approx(4.0, rel=0.5)  # 1/√400 against 1/√25


def test_of_one_output_the_columns_are_made_at_once() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 1)).double()
    assert SampleMap(model, normal(5, 1, 4)).linearise()[1].blocks[0].is_made


def test_where_the_graph_of_the_gradient_does_not_fit_products_take_the_columns() -> None:
    outputs = net()
    jacobian, v = outputs.linearise()[1], torch.ones(outputs.n_params, dtype=F64)
    expected = outputs.linearise()[1].mv(v)
    block_of(jacobian).recorded.graph_bytes = 1e18
    assert_close(jacobian.mv(v), expected, 1e-12)
    assert block_of(jacobian).is_made
    other = outputs.linearise()[1]
    other.mv(v)
    assert not block_of(other).is_made  # where it fits again
    with spending(Budget(free_bytes=100)), pytest.raises(MemoryPlanError):
        outputs.linearise()


def test_what_can_be_differentiated_once_has_products_by_its_columns() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)  # type: ignore[attr-defined]
            return x.sin()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: object, g: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
            return g * x.cos()

    class Sines(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(x)  # type: ignore[no-any-return, no-untyped-call]

    model = nn.Sequential(nn.Conv1d(1, 2, 2), Sines(), nn.Flatten(), nn.Linear(6, 2)).double()
    x = normal(5, 1, 4).double()
    dense = naive_jacobian(model, x)
    v, u = vectors(dense)
    for _ in range(2):
        jacobian = SampleMap(model, x).linearise()[1]
        assert_close(jacobian.rmv(u), dense.T @ u, 1e-12)
        assert_close(jacobian.mv(v), dense @ v, 1e-12)


def test_a_checkpoint_reads_the_parameters_of_the_call_also_unchecked() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten()), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False))

    model, x = Again().double(), normal(5, 1, 4).double()
    outputs = SampleMap(model, x, check=False)
    theta = 1.5 * outputs.theta
    jacobian, rows = outputs.linearise(theta)[1], outputs.linearise(theta)[1]
    outputs.write(theta)
    dense = naive_jacobian(model, x)
    outputs.write(0.1 * theta)
    v, u = vectors(dense)
    assert_close(jacobian.rmv(u), dense.T @ u, 1e-12)
    assert_close(jacobian.mv(v), dense @ v, 1e-12)
    assert_close(rows.dense(), dense, 1e-12)


@pytest.mark.parametrize("specimen", ZOO, ids=[s.name for s in ZOO])
def test_products_of_every_kind_of_model(specimen: Specimen) -> None:
    model, inputs = made(specimen, F64)
    outputs = SampleMap(model, inputs)
    dense = naive_jacobian(model, outputs.inputs)
    v, u = vectors(dense)
    jacobian = outputs.linearise()[1]
    assert_close(jacobian.mv(v), dense @ v, 1e-9)
    assert_close(jacobian.rmv(u), dense.T @ u, 1e-9)


@pytest.mark.parametrize("name", ["lstm", "gru", "attention", "bags, mean", "conv, stride"])
def test_a_fit_ends_at_the_target(name: str) -> None:
    model, outputs, _ = map_of(RULED[name], F64)
    start = model
    solution = gd.fit(start, outputs.inputs, torch.zeros(outputs.shape, dtype=F64), target_cost=1e-8, max_steps=60)
    assert solution.cost <= 1e-8
