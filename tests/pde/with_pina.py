"""The bridge from PINA against the installed package: `make pina`, in an environment of its own."""

import inspect

import pina.problem.zoo as zoo
import pytest
import torch
from pina import LabelTensor
from torch import Tensor

import geodescent as gd
from geodescent import pde

NAMES = [name for name, kind in vars(zoo).items() if inspect.isclass(kind) and name != "SupervisedProblem"]
ARGUMENTS = {"BurgersProblem": {"nu": 0.01}, "InversePoisson2DSquareProblem": {"load": False}}


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_of_the_zoo_becomes_a_system(name: str) -> None:
    problem = getattr(zoo, name)(**ARGUMENTS.get(name, {}))
    system = pde.from_pina(problem, pde.mlp(len(problem.input_variables), [8, 8], 1), points=100)
    assert [term.name for term in system.terms] == list(problem.conditions)
    solution = gd.fit(system, max_steps=5, initialise=False)
    assert solution.cost < solution.history["cost"][0]
    assert set(solution.unknowns) == set(getattr(problem, "unknown_parameters", {}))


def test_the_rows_of_burgers_are_those_of_the_system() -> None:
    net = pde.mlp(2, [8, 8], 1)
    problem = zoo.BurgersProblem(nu=0.01)
    ours = pde.from_pina(problem, net, points=100)
    points = {term.name: block.map.points[0] for term, block in zip(ours.terms, ours.problem().blocks, strict=True)}
    theirs = pde.System(
        net,
        [
            pde.Term("boundary", lambda u: u, points["boundary"]),
            pde.Term("t0", lambda u, x: u + torch.sin(torch.pi * x), points["t0"]),
            pde.Term("D", lambda u: u.t + u * u.x - 0.01 * u.xx, points["D"]),
        ],
        coordinates=ours.coordinates,
    )
    for own, other in zip(ours.problem().blocks, theirs.problem().blocks, strict=True):
        theta = other.map.theta
        v = torch.ones_like(theta)
        pairs = [
            (own.map.linearise(theta)[0], other.map.linearise(theta)[0]),
            (own.map.linearise(theta)[1].dense(), other.map.linearise(theta)[1].dense()),
            (own.map.second_derivative(theta, v), other.map.second_derivative(theta, v)),
        ]
        for found, right in pairs:
            assert float((found - right).norm()) <= 1e-12 * float(right.norm()), own.name


def test_poisson_is_solved() -> None:
    problem = zoo.Poisson2DSquareProblem()
    system = pde.from_pina(problem, pde.mlp(2, [20, 20], 1), points=900)
    gd.fit(system, max_seconds=10)
    points = LabelTensor(torch.rand(500, 2, dtype=torch.float64), ["x", "y"])
    exact = problem.solution(points).as_subclass(Tensor)
    assert float((system(points.as_subclass(Tensor)) - exact).square().mean().sqrt()) < 1e-7


def test_points_of_a_discretised_problem_are_kept() -> None:
    problem = zoo.HelmholtzProblem()
    problem.discretise_domain(n=7, mode="grid", domains=["D"])
    system = pde.from_pina(problem, points=50)
    sizes = {
        term.name: block.map.points.shape[1] for term, block in zip(system.terms, system.problem().blocks, strict=True)
    }
    assert sizes["D"] == 49
