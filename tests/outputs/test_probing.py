"""What is asked of a model by calls on two and on three samples, where its outputs are not finite."""

import pytest
import torch
from torch import Tensor, nn

import geodescent as gd
from geodescent._errors import JacobianError

BAD = {"all NaN": (torch.nan, slice(None)), "one NaN": (torch.nan, slice(0, 1)), "infinite": (torch.inf, slice(0, 1))}


class Spoilt(nn.Module):
    """A linear layer, some of whose outputs are replaced by a number that is not finite; it may mix samples."""

    def __init__(self, number: float, where: slice, mixes: float) -> None:
        super().__init__()
        self.layer, self.number, self.where, self.mixes = nn.Linear(3, 2), number, where, mixes

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y = y + self.mixes * y.mean(0)
        spoilt = torch.zeros(2, dtype=torch.bool)
        spoilt[self.where] = True
        return torch.where(spoilt, self.number, y)


@pytest.mark.parametrize("name", BAD)
def test_outputs_that_are_not_finite_are_no_randomness_and_no_mixing(name: str) -> None:
    outputs = gd.SampleMap(Spoilt(*BAD[name], 0.0).double(), torch.eye(4, 3).double())
    assert outputs.shape == (4, 2) and not torch.isfinite(outputs(outputs.theta)).all()


@pytest.mark.parametrize("name", ["one NaN", "infinite"])
def test_finite_outputs_beside_them_are_still_compared(name: str) -> None:
    with pytest.raises(JacobianError, match=r"change by [\d.e-]+ when another sample joins .* mixes samples"):
        gd.SampleMap(Spoilt(*BAD[name], 0.5).double(), torch.eye(4, 3).double())
