"""What a block of rows and a problem refuse, each with the sentence that says the way out."""

import math
from typing import Any

import pytest
import torch
from support.models import normal
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd
from geodescent.problem import on_samples, sampled_block

F64 = torch.float64


def network(n_outputs: int = 2) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, n_outputs)).double()


def samples(n_outputs: int = 2) -> gd.SampleMap:
    return gd.SampleMap(network(n_outputs), normal(5, 3))


def penalty(theta: Any) -> gd.RowBlock:
    """θ itself against zeros, of a flat tensor or of named ones."""

    def function(at: Any) -> Tensor:
        return at if isinstance(at, Tensor) else torch.cat([part.reshape(-1) for part in at.values()])

    outputs = gd.FunctionMap(function, theta)
    return gd.RowBlock("size", outputs, torch.zeros_like(outputs.theta))


Y = torch.zeros(5, 2, dtype=F64)
GOOD = "data", "rows"

TARGETS: list[tuple[Any, str]] = [  # of a map of five samples with two outputs
    (None, r"y is NoneType: pass a tensor, an array, a list, a series or a frame"),
    (torch.tensor(1.0, dtype=F64), r"X holds 5 samples and y has shape \(\)"),
    (Y[:4], r"X holds 5 samples and y has shape \(4, 2\): y needs one row for each sample"),
    (torch.zeros(5, dtype=torch.int64), r"5 class labels as numbers \(torch\.int64\).*has 2 outputs.*one_hot\(y, 2\)"),
    (torch.zeros(5, dtype=torch.bool), "class labels as numbers"),
    (Y.long(), r"y is torch\.int64 but the model computes in torch\.float64: convert, y\.to\(torch\.float64\)"),
    (Y.cfloat(), r"y is torch\.complex64 but the model computes"),
    (Y[:, 0], r"y has shape \(5,\).*outputs have shape \(5, 2\).*class labels.*one_hot\(y\.long\(\), 2\)"),
    (Y[:, :1], r"y has shape \(5, 1\).*\(5, 2\); nothing is broadcast. Pass y of shape \(5, 2\), or a model"),
    (Y[..., None], r"y has shape \(5, 2, 1\).*nothing is broadcast"),
    (Y.float(), r"y is torch\.float32 but the model computes in torch\.float64"),
    (Y.to("meta"), "y is on meta but the model is on cpu: move them to one device"),
    (torch.full((5, 2), math.nan, dtype=F64), "holds 10 NaN or infinite values of 10. Remove or impute them"),
]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(("target", "sentence"), TARGETS)
def test_targets(target: Any, sentence: str, name: str) -> None:
    """A block that is not alone by its name says which it is."""
    with pytest.raises(gd.InputError, match=sentence) as caught:
        gd.RowBlock(name, samples(), target)
    assert ("block 'rows'" in str(caught.value)) == (name == "rows")


OF_FORMULAS: list[tuple[tuple[int, ...], tuple[int, ...], str]] = [  # shapes of outputs and of y
    ((), (), r"outputs of shape \(1,\) and y has shape \(\): pass y\.reshape\(1\)\."),
    ((3, 2), (6,), r"outputs of shape \(3, 2\) and y has shape \(6,\): pass y\.reshape\(3, 2\)\."),
    ((3,), (4,), r"outputs of shape \(3,\) and y has shape \(4,\): pass one number of y for each output"),
]


@pytest.mark.parametrize(("outputs", "target", "sentence"), OF_FORMULAS)
def test_targets_of_a_formula(outputs: tuple[int, ...], target: tuple[int, ...], sentence: str) -> None:
    """It has no X and no samples; the way out is one."""
    n = math.prod(outputs)
    formula, y = gd.FunctionMap(lambda t: t[:n].view(outputs), torch.ones(6, dtype=F64)), torch.zeros(target, dtype=F64)
    with pytest.raises(gd.InputError, match=sentence):
        gd.RowBlock("data", formula, y)
    if y.numel() == n:
        gd.RowBlock("data", formula, y.reshape(outputs or 1))


def test_what_targets_may_be() -> None:
    one, wide = samples(1), gd.SampleMap(nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (2, 3))).double(), normal(5, 3))
    assert gd.RowBlock("data", one, Y[:, 0]).target.shape == (5, 1)
    assert gd.RowBlock("data", one, Y[:, :1]).target.shape == (5, 1)
    block = gd.RowBlock("data", wide, torch.arange(30, dtype=F64).view(5, 2, 3).requires_grad_())
    assert block.target.shape == (5, 6) and block.target[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert not block.target.requires_grad
    assert torch.equal(gd.RowBlock("data", wide, block.target).target, block.target)  # rows (N, Q) are rows already
    with pytest.raises(gd.InputError, match=r"y has shape \(5, 3, 2\) and the outputs have shape \(5, 2, 3\)"):
        gd.RowBlock("data", wide, torch.zeros(5, 3, 2, dtype=F64))


WEIGHTS: list[tuple[Any, str]] = [
    ([1.0] * 4, r"weights has shape \(4,\); one weight a sample"),
    (torch.ones(4), r"weights has shape \(4,\); one weight a sample is needed, \(5,\)"),
    (torch.ones(5, 1), r"weights has shape \(5, 1\)"),
    (torch.tensor([1.0, math.inf, 1.0, 1.0, 1.0]), "weights holds 1 NaN or infinite values of 5"),
    (torch.tensor([1.0, -0.5, 1.0, 1.0, 1.0]), "weights must be ≥ 0 with a positive sum; the smallest is -0.5"),
    (torch.zeros(5), "positive sum; the smallest is 0"),
]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(("weights", "sentence"), WEIGHTS)
def test_weights_of_samples(weights: Any, sentence: str, name: str) -> None:
    with pytest.raises(gd.InputError, match=sentence) as caught:
        gd.RowBlock(name, samples(), Y, weights=weights)
    assert ("block 'rows'" in str(caught.value)) == (name == "rows")


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_the_weight_of_a_block(weight: float) -> None:
    with pytest.raises(gd.InputError, match=rf"block 'rows' has weight {weight}: a positive, finite number is needed"):
        gd.RowBlock("rows", samples(), Y, weight=weight)


class NoWrite:
    """All verbs of an output map but one."""

    theta, shape, dtype, device = torch.zeros(2, dtype=F64), (2,), F64, torch.device("cpu")

    def __call__(self, theta: Tensor) -> Tensor:
        return theta

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.Jacobian]:
        return theta, gd.MatrixJacobian(torch.eye(2, dtype=F64))

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return 0.0 * theta


class Whole(NoWrite):
    def write(self, theta: Tensor) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("made", [nn.Linear(3, 2), lambda theta: theta, NoWrite()], ids=lambda m: type(m).__name__)
def test_what_is_no_output_map(made: Any) -> None:
    with pytest.raises(gd.InputError, match=rf"block 'rows': {type(made).__name__} is no output map.*gd\.SampleMap"):
        gd.RowBlock("rows", made, Y)
    assert gd.RowBlock("rows", Whole(), torch.zeros(2, dtype=F64)).target.shape == (2, 1)


# --- problems --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blocks",
    [(), [], (Y,), ("data",), None, gd.RowBlock("data", samples(), Y)],
    ids=["empty tuple", "empty list", "tensor", "name", "None", "block alone"],
)
def test_what_are_no_blocks(blocks: Any) -> None:
    with pytest.raises(gd.InputError, match=r"a Problem needs blocks of rows: gd\.Problem\(\(gd\.RowBlock\("):
        gd.Problem(blocks)


def test_two_blocks_of_one_name() -> None:
    block = gd.RowBlock("rows", samples(), Y)
    with pytest.raises(gd.InputError, match=r"the blocks are called \['rows', 'rows'\]: each needs a name of its own"):
        gd.Problem((block, block))


def test_parameters_of_another_length() -> None:
    data = gd.RowBlock("data", samples(), Y)
    with pytest.raises(gd.InputError, match=r"block 'size' has 25 parameters and block 'data' has 26: .* share θ"):
        gd.Problem((data, penalty(data.map.theta[1:])))


def test_another_precision() -> None:
    data = gd.RowBlock("data", samples(), Y)
    sentence = r"block 'size' computes in torch\.float32 on cpu and block 'data' in torch\.float64 on cpu: .*one dtype"
    with pytest.raises(gd.InputError, match=sentence):
        gd.Problem((data, penalty(data.map.theta.float())))


ORDER = ("0.weight", "0.bias", "2.weight", "2.bias")


def shapes(*, order: tuple[str, ...] = ORDER, **changed: Any) -> dict[str, Tensor]:
    own = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    return {name: torch.zeros(*{**own, **changed}[name], dtype=F64) for name in order}


NAMED: list[tuple[dict[str, Tensor], str]] = [
    (
        shapes(order=("0.bias", "0.weight", "2.weight", "2.bias")),
        r"block 'size' has 0\.bias \(4,\) where block 'data' has 0\.weight \(4, 3\) \(parameter 1\): .* in one order",
    ),
    (
        shapes(order=("0.weight", "0.bias", "2.bias", "2.weight")),
        r"has 2\.bias \(2,\) where block 'data' has 2\.weight \(2, 4\) \(parameter 3\)",
    ),
    (shapes(**{"2.weight": (4, 2)}), r"has 2\.weight \(4, 2\) where block 'data' has 2\.weight \(2, 4\)"),
    ({"0.weight": torch.zeros(26, dtype=F64)}, r"has 0\.weight \(26,\) where block 'data' has 0\.weight \(4, 3\)"),
    (
        {**shapes(**{"2.bias": (1,)}), "extra": torch.zeros(1, dtype=F64)},
        r"has 2\.bias \(1,\) where block 'data' has 2\.bias \(2,\) \(parameter 4\)",
    ),
]


@pytest.mark.parametrize(("theta", "sentence"), NAMED)
def test_named_parameters_in_another_order_or_shape(theta: dict[str, Tensor], sentence: str) -> None:
    """26 numbers all of them: nothing but the names and shapes tells."""
    data = gd.RowBlock("data", samples(), Y)
    with pytest.raises(gd.InputError, match=sentence):
        gd.Problem((data, penalty(theta)))


def test_fewer_named_parameters_of_the_same_length_in_all() -> None:
    """The names of one are the first names of the other."""
    one, two = {"a": torch.zeros(2, dtype=F64)}, {"a": torch.zeros(2, dtype=F64), "b": torch.zeros(0, dtype=F64)}
    first = penalty(one)
    second = gd.RowBlock("more", penalty(two).map, torch.zeros(2, dtype=F64))
    with pytest.raises(
        gd.InputError, match=r"block 'more' has b \(0,\) where block 'size' has nothing \(parameter 2\)"
    ):
        gd.Problem((first, second))
    with pytest.raises(gd.InputError, match=r"block 'size' has nothing where block 'more' has b \(0,\)"):
        gd.Problem((second, first))


def test_named_blocks_are_compared_behind_a_flat_one() -> None:
    data = gd.RowBlock("data", samples(), Y)
    flat = gd.RowBlock("flat", penalty(data.map.theta).map, torch.zeros(26, dtype=F64))
    gd.Problem((flat, data, penalty(shapes())))
    with pytest.raises(gd.InputError, match=r"block 'size' has 0\.bias"):
        gd.Problem((flat, data, penalty(shapes(order=("0.bias", "0.weight", "2.weight", "2.bias")))))


# --- what a problem of several blocks cannot be asked ---------------------------------------------------------------


def test_other_samples_need_one_block_of_samples() -> None:
    data = gd.RowBlock("data", samples(), Y)
    x, one, two = normal(3, 3), gd.Problem((data,)), gd.Problem((data, penalty(data.map.theta)))
    assert on_samples(one, x, Y[:3], name="validation").blocks[0].name == "validation"
    assert sampled_block(two) is None and sampled_block(gd.Problem((penalty(data.map.theta),))) is None
    for problem in (two, gd.Problem((penalty(data.map.theta),))):
        with pytest.raises(gd.InputError, match="other samples need a problem of one block whose map is of samples"):
            on_samples(problem, x, Y[:3])


def test_a_streamed_block_cannot_stand_beside_others() -> None:
    model, x = network(), normal(5, 3)
    (streamed,) = gd.StreamedSource.of(model, DataLoader(TensorDataset(x, Y), batch_size=2)).whole.blocks
    size = penalty(streamed.map.theta)
    for blocks in ((streamed, size), (size, streamed)):
        problem = gd.Problem(blocks)
        with pytest.raises(gd.JacobianError, match=r"streamed from a DataLoader cannot stand beside other blocks"):
            problem.linearise(problem.theta)


@pytest.mark.parametrize("call", ["fit", "flow", "certify"])
def test_a_problem_brings_its_own_data(call: str) -> None:
    problem = gd.Problem((gd.RowBlock("data", samples(), Y),))
    with pytest.raises(gd.InputError, match=rf"brings its own data: leave X and y out, gd\.{call}\(problem\)"):
        getattr(gd, call)(problem, normal(5, 3), Y)
