"""Explicit minimisers: exact on what their hypotheses hold for, refused by class and stage where they do not."""

import copy
import math

import pytest
import torch
from sklearn import datasets
from sklearn.svm import SVC
from support.laws import assert_close
from torch import Tensor, nn

from geodescent import InputError
from geodescent.constructive import Explicit, clustered, separable, shallow, wide
from geodescent.constructive._classes import Classes
from geodescent.constructive._separable import widest_gap
from geodescent.constructive._truncation import Collapse


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def balls(n_classes: int, width: int, radius: float, *, samples: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes in balls around random means, with random targets of as many outputs as classes."""
    means = normal(n_classes, width, seed=seed)
    noise = normal(n_classes * samples, width, seed=seed + 1)
    noise = radius * noise / noise.norm(dim=1, keepdim=True)
    labels = torch.arange(n_classes).repeat_interleave(samples)
    return means[labels] + noise, normal(n_classes, n_classes, seed=seed + 2)[labels]


def table(name: str) -> tuple[Tensor, Tensor]:
    """A real table, standardised, with one-hot targets."""
    data = getattr(datasets, f"load_{name}")()
    X = torch.as_tensor(data.data, dtype=torch.float64)
    X = (X - X.mean(0)) / X.std(0).clamp(min=1e-12)
    return X, nn.functional.one_hot(torch.as_tensor(data.target)).double()


def error(network: nn.Module, X: Tensor, Y: Tensor) -> float:
    with torch.no_grad():
        return float((network(X) - Y).abs().max())


def allowed(network: Explicit) -> float:
    return 1e-12 if min(network.report.apertures) >= 1e-2 else 1e-11


# --- separable and clustered -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_classes", "width"), [(1, 3), (2, 2), (4, 6), (5, 4), (10, 20)])
@pytest.mark.parametrize("make", [separable, clustered])
def test_3_3_classes_in_balls_are_fitted_exactly(make, n_classes: int, width: int) -> None:
    if make is clustered and n_classes > width:
        pytest.skip("clustered classes are at most as many as there are features")
    X, Y = balls(n_classes, width, 0.05)
    network = make(X, Y)
    assert error(network, X, Y) <= allowed(network)
    assert network.report.error == error(network, X, Y) and sorted(network.report.order) == list(range(n_classes))
    assert [type(layer) for layer in network] == [nn.Linear, nn.ReLU] * n_classes + [nn.Linear]


@pytest.mark.parametrize("name", ["wine", "digits", "breast_cancer"])
def test_3_3_real_classes_that_are_separable_are_fitted_exactly(name: str) -> None:
    X, Y = table(name)
    network = separable(X, Y)
    assert error(network, X, Y) <= allowed(network)


def test_3_3_classes_that_no_plane_takes_apart_are_named_with_the_stage() -> None:
    X, Y = table("iris")
    with pytest.raises(
        InputError, match=r"stage \d of \d: no hyperplane has one class alone .* class \d \(target .*samples\)"
    ):
        separable(X, Y)


def test_3_3_a_ring_around_a_class_is_refused() -> None:
    angle = torch.linspace(0.0, 2.0 * math.pi, 41, dtype=torch.float64)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    X, Y = torch.cat([ring, 0.1 * ring]), torch.cat([torch.ones(40, 1), torch.zeros(40, 1)]).double()
    with pytest.raises(InputError, match="stage 1 of 2"):
        separable(X, Y)


def test_3_2_a_truncation_keeps_one_cone_and_sends_the_other_to_its_point() -> None:
    X, Y = balls(3, 5, 0.1)
    state = Collapse.of(Classes.of(X, Y))
    inside, outside = state.sides(0)
    plane = widest_gap(inside, outside)
    state.take(0, plane)
    (stage,) = state.stages

    def truncated(z: Tensor) -> Tensor:
        bias = -stage.weight @ stage.base
        return (torch.relu(z @ stage.weight.T + bias) - bias) @ stage.inverse.T

    assert_close(truncated(outside), outside, 1e-12)
    assert_close(truncated(inside), stage.base.expand_as(inside), 1e-12)
    assert_close(stage.weight @ stage.inverse, torch.eye(5, dtype=torch.float64), 1e-12)
    assert float(torch.linalg.cond(stage.weight)) == pytest.approx(1.0 / stage.aperture, rel=1e-9)
    assert_close(stage.rotation @ plane.normal, torch.full((5,), 1.0 / math.sqrt(5.0), dtype=torch.float64), 1e-12)


def test_the_widest_gap_is_that_of_a_support_vector_machine() -> None:
    X, _ = balls(2, 4, 0.3)
    half = len(X) // 2
    plane = widest_gap(X[:half], X[half:])
    machine = SVC(kernel="linear", C=1e8, tol=1e-8).fit(X.numpy(), [0] * half + [1] * half)
    assert plane.gap == pytest.approx(1.0 / float((machine.coef_**2).sum()) ** 0.5, rel=1e-4)
    h = X @ plane.normal - plane.offset
    assert float(h[:half].max()) == pytest.approx(-plane.gap) and float(h[half:].min()) == pytest.approx(plane.gap)


def test_base_points_that_depend_on_each_other_are_moved_inside_their_planes() -> None:
    """Four classes on one line in five dimensions: their means are affinely dependent."""
    line = normal(5, seed=3)
    labels = torch.arange(4).repeat_interleave(10)
    X = labels[:, None].double() * line + 0.01 * normal(40, 5)
    Y = normal(4, 2, seed=4)[labels]
    network = separable(X, Y)
    assert error(network, X, Y) <= allowed(network)
    with pytest.raises(InputError, match="stage 3 of 4"):
        clustered(X, Y)
    with pytest.raises(InputError, match="3 class means span 1 dimensions"):
        clustered(torch.arange(3.0)[:, None].double() * line, torch.arange(3.0)[:, None])


def test_what_is_made_is_an_ordinary_network() -> None:
    X, Y = balls(3, 5, 0.1)
    network = separable(X.float(), Y.float())
    assert all(p.dtype == torch.float32 and p.requires_grad for p in network.parameters())
    twin = copy.deepcopy(network)
    assert twin.report == network.report and torch.equal(twin(X.float()), network(X.float()))
    assert "apertures" in str(network.report)


def test_too_many_classes_are_refused() -> None:
    X, Y = balls(6, 4, 0.01)
    with pytest.raises(InputError, match=r"6 different rows.*at most 5 classes"):
        separable(X, Y)
    with pytest.raises(InputError, match="at most 4 classes"):
        clustered(X, Y)
    with pytest.raises(InputError, match="X holds 3 rows and Y 4"):
        separable(normal(3, 2), normal(4, 1))


# --- shallow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 4])
def test_3_5_the_shallow_minimum_is_that_of_least_squares(n_classes: int) -> None:
    X, Y = balls(n_classes, n_classes, 0.4, samples=15)
    network = shallow(X, Y)
    _, labels, sizes = torch.unique(Y, dim=0, return_inverse=True, return_counts=True)
    weight = 1.0 / sizes[labels].double().sqrt()[:, None]
    solution = torch.linalg.lstsq(weight * X, weight * Y, driver="gelsd").solution
    residual = (weight * (X @ solution - Y)).square().sum()
    assert network.report.minimum == pytest.approx(float(residual), rel=1e-9)
    assert_close(network(X).detach(), X @ solution, 1e-10)


def test_3_5_clusters_without_spread_have_minimum_zero() -> None:
    X, Y = balls(3, 3, 0.0)
    network = shallow(X, Y)
    assert network.report.minimum < 1e-20 and error(network, X, Y) < 1e-10


def test_3_5_what_the_formula_is_not_for_is_refused() -> None:
    X, Y = balls(3, 4, 0.1)
    with pytest.raises(InputError, match="as many classes as columns"):
        shallow(X, Y)
    X = torch.cat([normal(1, 2).expand(4, 2), 2.0 * normal(1, 2).expand(4, 2)])
    with pytest.raises(InputError, match="linearly dependent"):
        shallow(X, torch.arange(2.0, dtype=torch.float64).repeat_interleave(4)[:, None])


# --- wide ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(1, 3), (8, 7), (8, 12), (60, 4), (60, 1)])
def test_3_6_any_targets_of_distinct_inputs_are_fitted(n: int, m: int) -> None:
    X, Y = normal(n, m), normal(n, 3, seed=1)
    network = wide(X, Y)
    assert error(network, X, Y) <= 1e-13 * max(network.report.condition, 10.0)
    assert network[0].out_features == (m if n <= m + 1 else n)


def test_3_6_repeated_inputs_must_repeat_their_targets() -> None:
    X, Y = normal(20, 3), normal(20, 2, seed=1)
    X[7], Y[7] = X[2], Y[2]
    network = wide(X, Y)
    assert error(network, X, Y) <= 1e-10
    Y[7] = Y[2] + 1.0
    with pytest.raises(InputError, match="rows 2 and 7 of X are the same and those of Y are not"):
        wide(X, Y)


# --- classes ---------------------------------------------------------------------------------------------------------


def test_one_hot_classes_keep_their_numbers() -> None:
    targets = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.1], [0.0, 1.0]])
    classes = Classes.of(torch.arange(10.0).view(5, 2), targets)
    assert classes.labels.tolist() == [2, 1, 2, 0, 2] and classes.name(2) == "class 2 (target 0, 1; 3 samples)"
    assert torch.equal(classes.targets[classes.labels], targets.double())
    drawn = torch.tensor([3, 0, 2, 4, 1, 2])
    classes = Classes.of(torch.randn(6, 2), nn.functional.one_hot(drawn).float())
    assert classes.labels.tolist() == drawn.tolist()
    assert classes.name(3) == "class 3 (target of 5 numbers, the largest 1 in column 3; 1 samples)"
    assert Classes.of(torch.randn(4, 2), torch.eye(4)).name(1) == "class 1 (target 0, 1, 0, 0; 1 samples)"
    ties = torch.stack([torch.arange(100.0), -torch.ones(100)], 1)
    assert Classes.of(torch.randn(100, 2), ties).labels.tolist() == list(range(100))


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 1)),
        (torch.zeros(3, 0), torch.zeros(3, 1)),
        (torch.zeros(3, 2), torch.zeros(3, 0)),
        (torch.full((3, 2), float("nan")), torch.zeros(3, 1)),
        (torch.zeros(3, 2), torch.full((3, 1), float("inf"))),
    ],
)
def test_what_is_no_table_is_refused(inputs: Tensor, targets: Tensor) -> None:
    with pytest.raises(InputError):
        Classes.of(inputs, targets)
