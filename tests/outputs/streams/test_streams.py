"""Derivatives by coordinates, carried through a network in one pass, are those of torch.func."""

from collections.abc import Callable

import pytest
import torch
from support.fields import (
    NETWORKS,
    WITHOUT_RULES,
    WRITTEN_OUT,
    by_func,
    coordinates,
    every_derivative,
    fields_of,
    made,
    perceptron,
    streams_map,
)
from support.laws import assert_close
from torch import Tensor, nn

from geodescent.outputs import ResidualMap, Streams

EXACT = 1e-13
STEP = 1e-3  # of differences of sixth order, whose error is then 1e-13 and better


def streams_of(outputs: ResidualMap, streams: Streams) -> dict[str, Tensor]:
    """Stream by stream, (N, F)."""
    values = torch.unflatten(outputs(outputs.theta), 1, (streams.n_points, -1)).unbind(1)
    names = [*map(str, streams.derivatives), *(["laplacian"] if streams.laplacian else [])]
    return dict(zip(names, values, strict=True))


def assert_streams_are_those_of_func(model: nn.Module, like: nn.Module, streams: Streams, tol: float) -> None:
    """Each stream alone, for those of high order are the larger ones."""
    points = coordinates(4, 1 + max(k for d in streams.derivatives for k in d))
    outputs = streams_map(model, points, streams)
    expected = by_func(fields_of(like, outputs.theta), points, list(streams.derivatives))
    assert not outputs.notes
    found = streams_of(outputs, streams)
    for derivative in streams.derivatives:
        assert_close(found[str(derivative)], expected[derivative], tol)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_derivative_up_to_the_fourth_order_is_that_of_torch_func(name: str) -> None:
    model = made(NETWORKS[name])
    assert_streams_are_those_of_func(model, model, every_derivative(2, 4), EXACT)


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_norms_are_those_written_in_sums_and_products(name: str) -> None:
    """Torch's own derivatives of layer_norm are wrong beyond the second order."""
    model, written = made(lambda: WRITTEN_OUT[name](False)), made(lambda: WRITTEN_OUT[name](True))
    assert_streams_are_those_of_func(model, written, every_derivative(2, 4), 1e-12)


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_norms_are_those_of_differences(name: str) -> None:
    """The derivatives of third order along the second coordinate, from values of the module itself."""
    model, points = made(lambda: WRITTEN_OUT[name](False)), coordinates(4)
    streams = Streams.of([(1, 1)])
    outputs, along = streams_map(model, points, Streams.of([(1, 1, 1)])), torch.tensor([0.0, STEP], dtype=torch.float64)
    shifted = {k: streams_of(streams_map(model, points + k * along, streams), streams)["(1, 1)"] for k in range(-3, 4)}
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    third = sum(w * (shifted[k] - shifted[-k]) for k, w in weights.items()) / (60.0 * STEP)
    assert_close(streams_of(outputs, Streams.of([(1, 1, 1)]))["(1, 1, 1)"], third, 1e-10)


@pytest.mark.parametrize(
    "wanted", [[(0, 1)], [(0,), (1, 1)], [(1, 2, 2)], [(0, 0, 2, 2), (1,)], [(0, 1, 2, 2)]], ids=str
)
def test_what_is_carried_is_closed_and_each_stream_is_that_of_torch_func(wanted: list[tuple[int, ...]]) -> None:
    streams = Streams.of(wanted)
    model = made(lambda: perceptron(torch.tanh, 3))
    assert streams.derivatives[0] == () and {tuple(sorted(w)) for w in wanted} <= set(streams.derivatives)
    assert_streams_are_those_of_func(model, model, Streams.of([*wanted, (2,)]), EXACT)


@pytest.mark.parametrize("name", [*NETWORKS, *WITHOUT_RULES])
@pytest.mark.parametrize("over", [(0, 1), (1,)], ids=str)
def test_the_laplacian_is_one_stream_and_the_sum_of_second_derivatives(name: str, over: tuple[int, ...]) -> None:
    model, points = made({**NETWORKS, **WITHOUT_RULES}[name]), coordinates(4)
    streams = Streams.of([(0,)], laplacian=over)
    outputs = streams_map(model, points, streams)
    seconds = [(k, k) for k in over]
    expected = by_func(fields_of(model, outputs.theta), points, seconds)
    assert streams.n_points == 1 + len(streams.derivatives[1:]) + 1 and not set(seconds) & set(streams.derivatives)
    assert_close(streams_of(outputs, streams)["laplacian"], sum(expected[k] for k in seconds), EXACT)


def test_a_laplacian_whose_terms_are_wanted_anyway_is_no_stream() -> None:
    assert Streams.of([(0, 0), (1, 1)], laplacian=(0, 1)).laplacian == ()
    assert Streams.of([(0, 0)], laplacian=(0, 1)).laplacian == (0, 1)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_laplacian_costs_one_stream_in_any_dimension(d: int) -> None:
    assert Streams.of([], laplacian=tuple(range(d))).n_points == d + 2


@pytest.mark.parametrize("name", WITHOUT_RULES)
def test_modules_without_rules_go_by_torch_func_and_say_so(name: str) -> None:
    model, points, streams = made(WITHOUT_RULES[name]), coordinates(4), every_derivative(2, 3)
    outputs = streams_map(model, points, streams)
    expected = by_func(fields_of(model, outputs.theta), points, list(streams.derivatives))
    for derivative, values in zip(streams.derivatives, streams_of(outputs, streams).values(), strict=True):
        assert_close(values, expected[derivative], EXACT)
    (note,) = outputs.notes
    assert "has no rule for derivatives by coordinates" in note and "torch.func, which is slower" in note


@pytest.mark.parametrize("name", [*NETWORKS, *WITHOUT_RULES])
def test_the_jacobian_of_streams_is_that_of_autograd(name: str) -> None:
    """All of D, row by row of the oracle: streams of one row are as different in size as their orders."""
    model, points, streams = made({**NETWORKS, **WITHOUT_RULES}[name]), coordinates(3), Streams.of([(0, 1, 1), (0, 0)])
    outputs = streams_map(model, points, streams)

    def rows(theta: Tensor) -> Tensor:
        found = by_func(fields_of(model, theta), points, list(streams.derivatives))
        return torch.stack([found[d] for d in streams.derivatives], 1).flatten(1)

    values, jacobian = outputs.linearise(outputs.theta)
    expected = torch.autograd.functional.jacobian(rows, outputs.theta).flatten(0, 1)
    assert_close(values, rows(outputs.theta), EXACT)
    for ours, theirs in zip(jacobian.dense(), expected, strict=True):
        assert_close(ours, theirs, 1e-12)


@pytest.mark.parametrize("name", [*NETWORKS, *WITHOUT_RULES, *WRITTEN_OUT])
def test_the_second_derivative_along_a_line_is_that_of_differences_of_the_first(name: str) -> None:
    builders: dict[str, Callable[[], nn.Module]] = {**NETWORKS, **WITHOUT_RULES}
    model = made(builders[name] if name in builders else lambda: WRITTEN_OUT[name](False))
    outputs = streams_map(model, coordinates(4), Streams.of([(0, 1), (1, 1)]))
    theta, v = outputs.theta, torch.randn(outputs.n_params, dtype=torch.float64)
    h = 1e-3 / float(v.norm())
    slopes = {k: outputs.linearise(theta + k * h * v)[1].mv(v).view(outputs.shape) for k in range(-3, 4)}
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    expected = sum(w * (slopes[k] - slopes[-k]) for k, w in weights.items()) / (60.0 * h)
    for ours, theirs in zip(outputs.second_derivative(theta, v).T, expected.T, strict=True):
        assert_close(ours, theirs, 1e-6 if name == "weight norm" else 1e-9)


def test_many_rows_keep_the_pieces_of_layers_and_have_the_same_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a size D is not formed: outer products with streams as positions."""
    model, points, streams = made(NETWORKS["shared"]), coordinates(5), Streams.of([(0, 1), (1, 1)])
    formed = streams_map(model, points, streams).linearise()[1]
    monkeypatch.setattr("geodescent.outputs.streams._residual_map.FORMED", 0)
    kept = streams_map(model, points, streams).linearise()[1]
    assert len(formed.blocks[0].columns) == 1 < len(kept.blocks[0].columns)
    assert_close(kept.dense(), formed.dense(), 1e-14)
    u = torch.randn(kept.shape[0], dtype=torch.float64)
    assert_close(kept.gram(), formed.dense() @ formed.dense().T, EXACT)
    assert_close(kept.rmv(u), formed.dense().T @ u, EXACT)


@pytest.mark.parametrize("name", ["tanh", "shared", "periodic", "layer norm"])
def test_in_float32_streams_are_those_of_float64_to_its_digits(name: str) -> None:
    build = NETWORKS.get(name, lambda: WRITTEN_OUT["layer norm"](False))
    streams = Streams.of([(0, 1), (1, 1)])
    exact = streams_map(made(build), coordinates(4), streams)
    single = streams_map(made(build, torch.float32), coordinates(4, dtype=torch.float32), streams)
    (rows, jacobian), (expected, dense) = single.linearise(), exact.linearise()
    assert rows.dtype == jacobian.dtype == single.dtype == torch.float32
    assert_close(rows.double(), expected, 1e-5)
    assert_close(jacobian.dense().double(), dense.dense(), 1e-5)
    v = torch.ones(exact.n_params, dtype=torch.float64)
    curved, curvature = single.second_derivative(single.theta, v.float()), exact.second_derivative(exact.theta, v)
    assert_close(curved.double(), curvature, 1e-4)


def test_pairs_of_points_are_positions_of_one_sample() -> None:
    model, left, right = made(NETWORKS["skips"]), coordinates(4), -coordinates(4)
    streams = Streams.of([(1, 1)])
    both = streams_map(model, torch.stack([left, right]), streams)
    each = [streams_map(model, points, streams) for points in (left, right)]
    found = torch.unflatten(both(both.theta), 1, (streams.n_points, 2, -1))
    for k, outputs in enumerate(each):
        assert torch.equal(found[:, :, k].flatten(1), outputs(outputs.theta))
    by_point = torch.unflatten(both.linearise()[1].dense().view(4, -1, both.n_params), 1, (streams.n_points, 2, -1))
    for k, outputs in enumerate(each):
        assert_close(by_point[:, :, k].flatten(0, 2), outputs.linearise()[1].dense(), 1e-14)


def test_a_total_is_the_sum_of_its_rows() -> None:
    model, points, streams = made(NETWORKS["gates"]), coordinates(6), Streams.of([(1, 1)])
    total, rows = streams_map(model, points, streams, total=True), streams_map(model, points, streams)
    assert_close(total(total.theta), rows(rows.theta).sum(0, keepdim=True), 1e-14)
    summed = rows.linearise()[1].dense().view(6, -1, rows.n_params).sum(0)
    assert_close(total.linearise()[1].dense(), summed, 1e-13)
    v = torch.randn(total.n_params, dtype=torch.float64)
    curvature = rows.second_derivative(rows.theta, v).sum(0, keepdim=True)
    assert_close(total.second_derivative(total.theta, v), curvature, EXACT)
