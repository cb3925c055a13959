"""SampleMap: what it says of a model and its samples, and that it leaves the model as it was found."""

import pytest
import torch
from support.laws import assert_close, called, naive_jacobian
from support.models import (
    Applied,
    Counting,
    Embedded,
    OneNumber,
    TiedEmbedding,
    TwoInputs,
    conv_groups,
    frozen,
    mlp,
    normal,
    text,
)
from support.snapshot import Snapshot
from torch import Tensor, nn

import geodescent as gd
from geodescent._errors import InputError, JacobianError
from geodescent.outputs import SampleMap


def test_shapes_and_theta() -> None:
    model, x = conv_groups()
    outputs = SampleMap(model.double(), x)
    assert (outputs.n_samples, outputs.n_outputs, outputs.output_shape) == (4, 3, (3,))
    assert outputs.n_params == sum(p.numel() for p in model.parameters())
    assert torch.equal(outputs.theta, torch.nn.utils.parameters_to_vector(model.parameters()))
    assert outputs(outputs.theta).shape == (4, 3)


@pytest.mark.parametrize(
    ("model", "shape"), [(OneNumber(), ()), (nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (2, 3))), (2, 3))]
)
def test_outputs_of_any_shape_are_rows_of_a_matrix(model: nn.Module, shape: tuple[int, ...]) -> None:
    x = normal(5, 3)
    outputs = SampleMap(model.double(), x)
    assert outputs.output_shape == shape
    assert_close(outputs(outputs.theta), called(model, x).detach().reshape(5, -1), 1e-15)
    assert outputs.linearise()[0].shape == (5, outputs.n_outputs)


def test_tied_parameters_are_counted_once_and_frozen_ones_not() -> None:
    assert SampleMap(TiedEmbedding().double(), text(3, 4, 11)).n_params == 66
    model = frozen().double()
    outputs = SampleMap(model, normal(6, 4))
    assert outputs.n_params == 5 + 5 * 2
    outputs.write(torch.zeros(outputs.n_params, dtype=torch.float64))
    assert float(model[0].weight.detach().abs().sum()) > 0.0 and float(model[4].weight.detach().abs().sum()) == 0.0


def test_inputs_as_tensor_tuple_list_and_dict_are_one() -> None:
    model, left, right = TwoInputs().double(), normal(6, 3), normal(6, 2)
    maps = [
        SampleMap(model, (left, right)),
        SampleMap(model, [left, right]),
        SampleMap(model, {"right": right, "left": left}),
    ]
    grams = [outputs.linearise()[1].gram() for outputs in maps]
    grams.append(maps[0].on([left, right]).linearise()[1].gram())
    for gram in grams[1:]:
        assert torch.equal(gram, grams[0])


def test_select_picks_the_outputs() -> None:
    model, x = Applied(lambda y: {"out": y, "other": None}).double(), normal(5, 4)
    outputs = SampleMap(model, x, select=lambda returned: returned["out"])
    assert_close(outputs(outputs.theta), model.layer(x).detach(), 1e-15)


# --- as it was found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was_found(training: bool) -> None:
    for model, x in [mlp(), conv_groups(), (frozen(), normal(6, 4)), (Embedded(), text(4, 5, 11))]:
        model = model.double().train(training)
        next(p for p in model.parameters() if p.requires_grad).grad = None
        last = list(model.parameters())[-1]
        last.grad = torch.ones_like(last)
        before = Snapshot(model)
        outputs = SampleMap(model, x)
        _, jacobian = outputs.linearise()
        outputs(outputs.theta + 1.0)
        outputs.linearise(outputs.theta + 1.0)
        jacobian.gram(), jacobian.normal(), jacobian.rmv(jacobian.mv(outputs.theta))
        before.assert_unchanged()


@pytest.mark.parametrize("rebind", [True, False])
@pytest.mark.parametrize("fail", [True, False])
def test_buffers_are_put_back_also_after_an_exception(rebind: bool, fail: bool) -> None:
    model, x = Counting(rebind=rebind, fail=fail).double(), normal(5, 4)
    before = Snapshot(model)
    with pytest.raises((InputError, JacobianError), match="no luck" if fail else "changes the buffer count"):
        SampleMap(model, x)
    before.assert_unchanged()


def test_buffers_that_hold_nan_are_no_change() -> None:
    model = nn.Linear(4, 3).double()
    model.register_buffer("unknown", torch.tensor([float("nan"), 1.0]))
    SampleMap(model, normal(5, 4))


def test_hooks_are_gone_after_a_failed_linearise() -> None:
    model = Applied().double()
    outputs = SampleMap(model, normal(5, 4))
    before = Snapshot(model)

    def fail(y: Tensor) -> Tensor:
        raise ArithmeticError("no luck")

    model.after = fail
    with pytest.raises(ArithmeticError, match="no luck"):
        outputs.linearise()
    before.assert_unchanged()


def test_write_copies_into_the_parameters_and_never_re_points_them() -> None:
    model = nn.Linear(4, 3).double()
    pointers = [p.data_ptr() for p in model.parameters()]
    outputs = SampleMap(model, normal(5, 4))
    theta = outputs.theta * 2.0
    outputs.write(theta)
    assert torch.equal(outputs.theta, theta)
    theta.zero_()
    assert float(outputs.theta.abs().sum()) > 0.0
    assert [p.data_ptr() for p in model.parameters()] == pointers


def test_theta_is_a_copy() -> None:
    outputs = SampleMap(nn.Linear(4, 3).double(), normal(5, 4))
    before = outputs.theta
    outputs.theta.zero_()
    assert torch.equal(outputs.theta, before) and not outputs.theta.requires_grad


def test_works_under_no_grad() -> None:
    model, x = mlp()
    model = model.double()
    expected = SampleMap(model, x).linearise()[1].gram()
    with torch.no_grad():
        gram = SampleMap(model, x).linearise()[1].gram()
    assert torch.equal(gram, expected) and not gram.requires_grad


def test_a_module_called_under_two_names_is_left_as_it_was() -> None:
    """torch's functional_call swaps such a module's parameters twice and gives them back once."""
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(3, 2)).double()
    before, x = [*model.parameters()], torch.randn(5, 3, dtype=torch.float64)
    outputs = gd.SampleMap(model, x)
    value, jacobian = outputs.linearise()
    outputs.second_derivative(outputs.theta, torch.ones_like(outputs.theta))
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))
    assert_close(value, model(x).detach(), 1e-14)
    assert_close(jacobian.dense(), naive_jacobian(model, x), 1e-13)
    frozen = gd.SampleMap(model, x, parameters=model[3].parameters())
    assert_close(frozen.linearise()[1].dense(), jacobian.dense()[:, 12:], 1e-13)
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))
