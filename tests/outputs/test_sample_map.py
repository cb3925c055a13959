"""SampleMap at the door: what it refuses and how it says so, and that it leaves the model as it was found."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.laws import assert_close, called, naive_jacobian
from support.models import Embedded, OneNumber, TiedEmbedding, TwoInputs, conv_groups, frozen, mlp, normal, text
from torch import Tensor, nn

import geodescent as gd
from geodescent._errors import InputError, JacobianError
from geodescent.outputs import SampleMap


class Applied(nn.Module):
    """A linear layer, and whatever is asked for after it."""

    def __init__(self, after: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.after = after or (lambda y: y)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.layer(x))


class Counting(nn.Module):
    """Its forward pass changes a buffer, and may fail afterwards."""

    def __init__(self, *, rebind: bool = False, fail: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.rebind, self.fail = rebind, fail
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1 if self.rebind else self.count.add_(1)
        if self.fail:
            raise ArithmeticError("no luck")
        return self.layer(x)


# --- what it says ----------------------------------------------------------------------------------------------------


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


# --- what it refuses -------------------------------------------------------------------------------------------------


class Moody(nn.Module):
    """Other outputs at every call, without torch's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) * self.calls


JACOBIAN, INPUT = JacobianError, InputError

RETURNED = [  # what a model makes of the outputs of a linear layer on (5, 4)
    (lambda y: F.dropout(y, 0.5), JACOBIAN, r"draws random numbers.*model\.eval\(\)"),
    (lambda y: F.dropout(y, 1e-9), JACOBIAN, "draws random numbers"),
    (lambda y: y - y.mean(0), JACOBIAN, r"change by .*mixes samples"),
    (lambda y: y - 1e-4 * y.mean(0), JACOBIAN, "mixes samples"),
    (lambda y: (y, y), INPUT, r"returns tuple, not a tensor.*select="),
    (lambda y: None, INPUT, "returns NoneType, not a tensor"),
    (lambda y: torch.complex(y, y), INPUT, r"returns torch\.complex128.*view_as_real"),
    (lambda y: y.float(), INPUT, r"returns torch\.float32 but its parameters are torch\.float64"),
    (lambda y: y.sum(), INPUT, r"shape \(\) for 2 samples"),
    (lambda y: y.T, INPUT, r"\(3, 2\) for 2 samples: samples must come first"),
    (lambda y: 0.0 * y.detach(), INPUT, "depend on no parameter that requires grad"),
]

CALLED_ON = [  # inputs of a network of five inputs
    (torch.tensor([[1.0, math.nan, 0.0, math.inf, 1.0]] * 3).double(), "X holds 6 NaN or infinite values of 15"),
    (torch.ones(5, 5, dtype=torch.int64), r"could not be called on X of torch\.int64.*X\.to\(torch\.float64\)"),
    (normal(5, 6), "could not be called on two samples of X"),
    (normal(5, 5).float(), r"an input is torch\.float32 but parameter 0\.weight is torch\.float64.*X\.double\(\)"),
    (torch.ones(5, 5, dtype=torch.complex128), r"an input is torch\.complex128"),
    ([1.0, 2.0], "X must hold tensors, not float"),
    (normal(0, 5), "at least one"),
    (torch.tensor(1.0).double(), "samples on the first axis"),
    ((normal(5, 5), normal(4, 2)), r"hold \[4, 5\] samples"),
]

MODELS = [  # models of four inputs
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), r"^1 \(BatchNorm1d\) uses the statistics.*model\.eval"),
    (lambda: nn.BatchNorm1d(4, track_running_stats=False).eval(), r"^the model \(BatchNorm1d\) uses the statistics"),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.2)), r"^1 \(Dropout, p = 0\.2\) is active.*model\.eval\(\)"),
    (lambda: Moody(), "two identical calls gave different outputs"),
    (lambda: Counting(), r"changes the buffer count: call model\.eval\(\)"),
]


@pytest.mark.parametrize(("after", "error", "message"), RETURNED)
def test_outputs_that_are_none(after: Any, error: type[Exception], message: str) -> None:
    assert_refused(Applied(after), normal(5, 4), error, message)


@pytest.mark.parametrize(("x", "message"), CALLED_ON)
def test_inputs_that_cannot_be_used(x: Any, message: str) -> None:
    assert_refused(mlp()[0], x, InputError, message)


@pytest.mark.parametrize(("make", "message"), MODELS)
def test_models_that_are_no_function_of_one_sample(make: Any, message: str) -> None:
    assert_refused(make(), normal(5, 4), JacobianError, message)


def test_mixing_is_noticed_where_the_first_samples_are_alike() -> None:
    """Three equal samples do not see each other; the check looks at samples from all over X."""
    x = normal(20, 4)
    x[1:3] = x[0]
    assert_refused(Applied(lambda y: y - y.mean(0)), x, JacobianError, r"^layer: .* by layers differs.*mixes samples")


def test_outputs_that_cancel_are_no_mixing() -> None:
    """Two equal halves: outputs of zero to rounding, and a Jacobian that is not."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(9, 80), nn.Tanh(), nn.Linear(80, 2))
            self.right = copy.deepcopy(self.left)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) - self.right(x) + 1e-16 * len(x)

    jacobian = SampleMap(Halves().double(), normal(6, 9)).linearise()[1]
    assert float(jacobian.row_squares().min()) > 1.0


def test_nothing_to_fit() -> None:
    assert_refused(
        mlp()[0].requires_grad_(False), normal(5, 5), InputError, r"no parameter .* grad.*requires_grad_\(True\)"
    )


def assert_refused(model: nn.Module, x: Any, error: type[Exception], message: str) -> None:
    """The error, its sentence, and a model that is as it was."""
    model = model.double()
    before = Snapshot(model)
    with pytest.raises(error, match=message):
        SampleMap(model, x)
    before.assert_unchanged()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match="float32 and float64 are supported"):
        SampleMap(nn.Linear(4, 3).to(dtype), normal(5, 4).to(dtype))


def test_mixed_devices_are_refused() -> None:
    with pytest.raises(InputError, match="an input is on meta but parameter weight is on cpu: move them to one device"):
        SampleMap(nn.Linear(4, 3), torch.empty(5, 4, device="meta"))


def test_new_inputs_are_looked_at_too() -> None:
    outputs = SampleMap(nn.Linear(4, 3).double(), normal(5, 4))
    with pytest.raises(InputError, match=r"torch\.float32"):
        outputs.on(normal(5, 4).float())


def test_too_many_rows_outside_the_rules_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from geodescent import _budget as _memory

    model = nn.Sequential(nn.PReLU()).double()
    monkeypatch.setattr(_memory, "available_bytes", lambda device: 10)
    with pytest.raises(ValueError, match="rows of 1 parameters outside the rules, for 5 residuals"):
        SampleMap(model, normal(5, 1))


# --- as it was found -------------------------------------------------------------------------------------------------


class Snapshot:
    """Everything of a model that must not change."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.state = copy.deepcopy(model.state_dict())
        self.now = self.look()

    def look(self) -> dict[str, Any]:
        parameters = dict(self.model.named_parameters())
        return {
            "mode": [m.training for m in self.model.modules()],
            "identity": [(name, id(p), p.data_ptr(), p.requires_grad) for name, p in parameters.items()],
            "grad": [None if p.grad is None else p.grad.clone().tolist() for p in parameters.values()],
            "buffers": [(name, id(b)) for name, b in self.model.named_buffers()],
            "hooks": [
                (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in self.model.modules()
            ],
            "random": torch.get_rng_state().tolist(),
            "dtype": torch.get_default_dtype(),
            "grad mode": torch.is_grad_enabled(),
        }

    def assert_unchanged(self) -> None:
        now = self.look()
        for what, before in self.now.items():
            assert now[what] == before, what
        for name, value in self.model.state_dict().items():
            assert torch.equal(value, self.state[name]), name


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
