"""The lift of an opening: iterations where layers are narrow, one matrix where their factors would cost as much."""

import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent.lift import CheaperLift, KrylovLift, NormalLift


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


LIFT = CheaperLift(KrylovLift(), NormalLift())


def test_rows_that_are_formed_are_solved_with_exactly() -> None:
    rows, velocity = drawn(90, 60), drawn(90, 1)[:, 0]
    prepared = LIFT.prepare(gd.MatrixJacobian(rows))
    assert prepared.exact
    expected = torch.linalg.solve(rows.T @ rows + 0.1 * torch.eye(60, dtype=torch.float64), rows.T @ velocity)
    torch.testing.assert_close(prepared.lift(velocity, damping=0.1).velocity, expected, rtol=1e-10, atol=1e-12)


def test_layers_of_a_network_are_solved_with_by_iterations() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1)).double()
    _, jacobian = gd.SampleMap(network, drawn(400, 3)).linearise()
    assert not LIFT.prepare(jacobian).exact and not LIFT.exact
