"""The memory that matrices are planned with, and the budget that another may be put in its place."""

import pytest
import torch

from geodescent._budget import FRACTION, Budget, allowed_bytes, available_bytes, budget, fits, require, spending
from geodescent._errors import MemoryPlanError

CPU = torch.device("cpu")


def test_memory_is_what_the_machine_has() -> None:
    free = available_bytes(CPU)
    assert 2**20 < free < 2**50
    assert fits(0.5 * FRACTION * free, CPU)
    assert not fits(1e18, CPU)


def test_a_budget_holds_inside_its_block_alone() -> None:
    before = budget()
    with spending(Budget(free_bytes=1000)):
        with spending(Budget(free_bytes=10, tile_rows=3)):
            assert available_bytes(CPU) == 10 and budget().tile_rows == 3
        assert available_bytes(CPU) == 1000 and budget().tile_rows == before.tile_rows
        with pytest.raises(ZeroDivisionError), spending(Budget(free_bytes=10)):
            raise ZeroDivisionError
        assert available_bytes(CPU) == 1000
    assert budget() == before


def test_six_tenths_of_the_free_memory_may_be_taken() -> None:
    with spending(Budget(free_bytes=10**10)):
        assert allowed_bytes(CPU) == pytest.approx(6e9)
        assert fits(6e9, CPU) and not fits(6.001e9, CPU)
        require(6e9, CPU, what="D", instead="")
        sentence = r"the rows needs 7\.00 GB, and 60% of the 10\.00 GB free are allowed\. Take fewer\."
        with pytest.raises(MemoryPlanError, match=sentence):
            require(7e9, CPU, what="the rows", instead="Take fewer.")
