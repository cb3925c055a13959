"""Questions that cannot be asked of the Python face: one sentence each, and what it tells the reader to do works.

Each row of inputs.txt is the wrong call, what its sentence must say, and the call as the sentence would have it; where
these two are the same code it stands once.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geodescent as gd

F64 = torch.float64


class Linear(nn.Linear):
    """A linear model whose outputs are wrapped."""

    def __init__(self, wrap: Any = lambda y: y) -> None:
        super().__init__(3, 2, dtype=F64)
        self.wrap = wrap

    def forward(self, x: Any) -> Any:
        return self.wrap(super().forward(x))


def names() -> dict[str, Any]:
    """What the rows may use."""
    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(10, n, generator=generator, dtype=F64) for n in (3, 2))
    torch.manual_seed(0)
    model = Linear()
    outputs = gd.SampleMap(model, X)
    block = gd.RowBlock("data", outputs, y)
    problem = gd.Problem((block,))
    formula = gd.FunctionMap(lambda p: p["a"] * torch.arange(3.0, dtype=F64), {"a": torch.ones(1, dtype=F64)})
    return {
        "dataset": TensorDataset(X, y),
        "gd": gd, "torch": torch, "np": np, "nn": nn, "F64": F64, "math": math, "Linear": Linear,
        "X": X, "y": y, "model": model, "outputs": outputs, "block": block, "problem": problem, "formula": formula,
        "loader": DataLoader(TensorDataset(X, y), 5), "one": torch.ones(1, dtype=F64), "w": torch.ones(10, dtype=F64),
    }  # fmt: skip


CASES = [row.split(" | ") for row in Path(__file__).with_name("inputs.txt").read_text().splitlines()]


@pytest.mark.parametrize("row", CASES, ids=[row[0][:60] for row in CASES])
def test_a_wrong_question_has_one_sentence_and_its_way_out_works(row: list[str]) -> None:
    wrong, says, mended = row[0], row[1], row[-1]
    with pytest.raises(gd.InputError) as refused:
        eval(wrong, names())
    sentence = str(refused.value)
    assert says in sentence, sentence
    assert len(sentence) < 500 and sentence[-1] in ".)", sentence
    eval(mended, names())


def test_there_are_a_hundred() -> None:
    assert len({row[0] for row in CASES}) >= 100
