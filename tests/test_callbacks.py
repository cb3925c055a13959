"""Callbacks that are ready to use."""

import sys
from typing import Any

import pytest
from support.diabetes import diabetes
from support.writers import KeptScalars, tensorboard

import geodescent as gd


def fitted(callback: Any) -> gd.Solution:
    model, x, y = diabetes(16)
    return gd.fit(model, x[:12], y[:12], validation=(x[12:], y[12:]), max_steps=3, callback=callback)


def test_every_number_of_a_step_that_is_known_becomes_a_point() -> None:
    writer = KeptScalars()
    history = fitted(gd.callbacks.TensorBoard(writer, prefix="mine")).history
    for name in ("cost", "predicted", "validation_cost", "damping", "gain_ratio"):
        assert [p[1:] for p in writer.points if p[0] == f"mine/{name}"] == list(
            zip(history[name][1:], (1, 2, 3), strict=True)
        )
    assert [p[1] for p in writer.points if p[0] == "mine/block_rms/data"] == list(history["block_rms"]["data"][1:])
    assert not [p for p in writer.points if p[0] == "mine/rank"] and writer.flushed == 3


def test_a_folder_is_written_by_torchs_own_writer(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard())
    board = gd.callbacks.TensorBoard(tmp_path / "run")
    fitted(board)
    assert (
        isinstance(board.writer, KeptScalars) and board.writer.folder == str(tmp_path / "run") and board.writer.points
    )


def test_where_tensorboard_is_missing_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"which is missing: pip install tensorboard, or pass a writer"):
        gd.callbacks.TensorBoard("runs/x")
