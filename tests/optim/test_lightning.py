"""In Lightning: the path of `fit`, across a checkpoint."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.steps import EXACT, STEPS, path_of_fit, problem, theta_of
from torch import Tensor, nn

import geodescent as gd
from geodescent.optim import GeoDescent


@pytest.fixture(scope="module")
def lightning() -> Iterator[Any]:
    """Its own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_lightning

        yield pytorch_lightning


def lit(lightning: Any, net: nn.Module, path: list[Tensor], *, automatic: bool = False) -> Any:
    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.automatic_optimization = automatic

        def training_step(self, batch: list[Tensor], index: int) -> Any:
            x, y = batch
            if automatic:
                return (self.net(x) - y).square().mean()
            cost = self.optimizers().step(lambda: (self.net(x), y))
            self.log("cost", cost)
            path.append(theta_of(self.net))
            return None

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return GeoDescent(self)

    return Lit()


def train(lightning: Any, module: Any, x: Tensor, y: Tensor, epochs: int, ckpt: Any = None) -> Any:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **quiet)
        trainer.fit(module, loader, ckpt_path=ckpt)
    return trainer


@pytest.mark.slow
def test_lightning_walks_the_path_of_fit_also_across_a_checkpoint(lightning: Any, tmp_path: Any) -> None:
    model, x, y = problem(200)
    expected, path = path_of_fit(model, x, y), list[Tensor]()
    trainer = train(lightning, lit(lightning, copy.deepcopy(model), path), x, y, 5)
    assert float(trainer.callback_metrics["cost"]) > 0.0
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    train(lightning, lit(lightning, problem()[0], path), x, y, STEPS, tmp_path / "half.ckpt")
    assert len(path) == STEPS
    assert max(float((a - b).abs().max()) for a, b in zip(path, expected, strict=True)) <= EXACT


def test_lightnings_automatic_optimisation_is_refused_with_the_way_out(lightning: Any) -> None:
    model, x, y = problem()
    with pytest.raises(gd.InputError, match=r"single number, a loss.*automatic_optimization = False"):
        train(lightning, lit(lightning, model, [], automatic=True), x, y, 1)
