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


BALLS = [(make, *sizes) for make in (separable, clustered) for sizes in [(1, 3), (2, 2), (4, 6), (10, 20)]]
BALLS.append((separable, 5, 4))  # clustered classes are at most as many as there are features


@pytest.mark.parametrize(("make", "n_classes", "width"), BALLS)
def test_3_3_classes_in_balls_are_fitted_exactly(make, n_classes: int, width: int) -> None:
    X, Y = balls(n_classes, width, 0.05)
    network = make(X, Y)
    assert error(network, X, Y) <= allowed(network)
    assert network.report.error == error(network, X, Y) and sorted(network.report.order) == list(range(n_classes))
    assert [type(layer) for layer in network] == [nn.Linear, nn.ReLU] * n_classes + [nn.Linear]


@pytest.mark.slow
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
    """`W⁻¹(relu(Wz + b) − b)` of the first layer, then of the second, where W is that of both layers together."""
    X, _ = balls(3, 5, 0.1)
    labels = torch.arange(3).repeat_interleave(40)
    network = separable(X, torch.eye(3, dtype=torch.float64)[labels])  # one-hot, so that classes keep their numbers
    first, second = network[0], network[2]
    one, two, last = (labels == j for j in network.report.order)
    weight, bias = first.weight.detach(), first.bias.detach()
    base = torch.linalg.solve(weight, -bias)
    truncated = torch.linalg.solve(weight, (torch.relu(X @ weight.T + bias) - bias).T).T
    assert_close(truncated[~one], X[~one], 1e-12)
    assert_close(truncated[one], base.expand(40, 5), 1e-12)
    both = second.weight.detach() @ weight
    base2 = base - torch.linalg.solve(both, second.bias.detach())  # b₂ = W(p₁ − p₂)
    bias2 = -both @ base2
    again = torch.linalg.solve(both, (torch.relu(truncated @ both.T + bias2) - bias2).T).T
    assert_close(again[~two], truncated[~two], 1e-11)
    assert_close(again[two], base2.expand(40, 5), 1e-11)
    assert bool(last.any())
    for matrix, aperture in zip((weight, both), network.report.apertures, strict=False):
        assert float(torch.linalg.cond(matrix)) == pytest.approx(1.0 / aperture, rel=1e-9)
        assert float((matrix.T @ diagonal(5)).norm()) == pytest.approx(1.0, rel=1e-12)  # the plane's normal


def diagonal(n: int) -> Tensor:
    """`(1, …, 1)/√n`: the axis of the cone that ReLU keeps."""
    return torch.full((n,), 1.0 / math.sqrt(n), dtype=torch.float64)


def test_the_widest_gap_is_that_of_a_support_vector_machine() -> None:
    """The first layer's cone stands on a plane in the middle between two classes."""
    X, _ = balls(2, 4, 0.3)
    half = len(X) // 2
    network = separable(X, torch.eye(2, dtype=torch.float64).repeat_interleave(half, 0))
    weight, bias = network[0].weight.detach(), network[0].bias.detach()
    heights = (X - torch.linalg.solve(weight, -bias)) @ (weight.T @ diagonal(4))
    inside = torch.arange(len(X)) < half
    inside = inside if network.report.order[0] == 0 else ~inside
    machine = SVC(kernel="linear", C=1e8, tol=1e-8).fit(X.numpy(), [0] * half + [1] * half)
    gap = float(heights[~inside].min())
    assert gap == pytest.approx(1.0 / float((machine.coef_**2).sum()) ** 0.5, rel=1e-4)
    assert float(heights[inside].max()) == pytest.approx(-gap)


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


def classes_of(targets: Tensor) -> list[str]:
    """The names of the classes, from the refusal of inputs that are all one point."""
    with pytest.raises(InputError, match="stage 1 of") as refusal:
        separable(torch.zeros(len(targets), len(targets)), targets)
    return str(refusal.value).split("Left are ")[1].removesuffix(".").split("; class ")


def test_classes_are_named_by_number_target_and_size() -> None:
    """Numbered by the column of the largest target, so that one-hot classes keep their numbers; ties by their order."""
    targets = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.1], [0.0, 1.0]])
    names = ["class 0 (target 0.2, 0.1; 1 samples)", "1 (target 1, 0; 1 samples)", "2 (target 0, 1; 3 samples)"]
    assert classes_of(targets) == names
    drawn = nn.functional.one_hot(torch.tensor([3, 0, 2, 4, 1, 2])).float()
    sizes = [1, 1, 2, 1, 1]
    expected = [
        f"{j} (target of 5 numbers, the largest 1 in column {j}; {size} samples)" for j, size in enumerate(sizes)
    ]
    assert classes_of(drawn) == [f"class {expected[0]}", *expected[1:]]
    assert classes_of(torch.eye(4))[1] == "1 (target 0, 1, 0, 0; 1 samples)"
    ties = torch.stack([torch.arange(100.0), -torch.ones(100)], 1)
    assert [name.split("target ")[1] for name in classes_of(ties)] == [f"{i}, -1; 1 samples)" for i in range(100)]


def test_the_order_of_the_stages_is_in_the_numbers_of_one_hot_targets() -> None:
    """The class furthest from all others has the widest gap and comes first, whatever its number."""
    centres = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [9.0, 9.0, 9.0]], dtype=torch.float64)
    labels = torch.arange(4).repeat_interleave(6)
    for turned in range(4):
        numbers = (labels + turned) % 4
        network = separable(centres[labels] + 0.01 * normal(24, 3), nn.functional.one_hot(numbers).double())
        assert network.report.order[0] == (3 + turned) % 4


@pytest.mark.parametrize(
    ("inputs", "targets", "sentence"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 1), r"X has shape \(0, 2\)"),
        (torch.zeros(3, 0), torch.zeros(3, 1), r"X has shape \(3, 0\)"),
        (torch.zeros(3, 2), torch.zeros(3, 0), r"Y has shape \(3, 0\): at least one column"),
        (torch.full((3, 2), float("nan")), torch.zeros(3, 1), "X holds 6 NaN or infinite values"),
        (torch.zeros(3, 2), torch.full((3, 1), float("inf")), "Y holds 3 NaN or infinite values"),
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), "Y must be a table of floating-point numbers"),
    ],
)
@pytest.mark.parametrize("make", [separable, clustered, shallow, wide])
def test_what_is_no_table_is_refused(make, inputs: Tensor, targets: Tensor, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make(inputs, targets)
