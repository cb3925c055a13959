"""Peers that walk along gradients: Adam and AdamW, Muon, SOAP, Shampoo, each by a cosine over its budget; and ELRA."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import pytorch_optimizer
import torch
from cases import Task
from pytorch_optimizer.optimizer.shampoo import LayerWiseGrafting
from recorder import Recorder
from torch import Tensor, nn
from torch.optim import Optimizer

from geodescent.optim import ELRA

GRAIN = 1.03  # the whole cost of a run in batches is read, off the clock, after each 3 % more of its time


def cost(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """`C = ‖x − y‖²/(2N)`."""
    return (model(inputs) - targets).square().sum() / (2 * len(inputs))


def adam(task: Task, recorder: Recorder, *, lr: float, decay: float = 0.0, batch: int | None = None) -> None:
    """torch.optim.Adam, or AdamW where there is weight decay; fused, the fastest of its forms."""
    parameters = task.model.parameters()
    if decay:
        descend(task, recorder, [torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)], batch)
    else:
        descend(task, recorder, [torch.optim.Adam(parameters, lr=lr, fused=True)], batch)


def muon(task: Task, recorder: Recorder, *, lr: float, bias_lr: float = 3e-3) -> None:
    """torch.optim.Muon on matrices, in the scale of Adam's rates; Adam on everything else; no weight decay."""
    matrices = [p for p in task.model.parameters() if p.ndim == 2]
    others = [p for p in task.model.parameters() if p.ndim != 2]
    first = torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    descend(task, recorder, [first, torch.optim.Adam(others, lr=bias_lr, fused=True)])


def soap(task: Task, recorder: Recorder, *, lr: float, frequency: int) -> None:
    """SOAP of pytorch_optimizer, without weight decay."""
    optimizer = pytorch_optimizer.SOAP(
        task.model.parameters(), lr=lr, weight_decay=0.0, precondition_frequency=frequency
    )
    descend(task, recorder, [optimizer])


def shampoo(task: Task, recorder: Recorder, *, lr: float, graft: str, frequency: int = 10) -> None:
    """Shampoo of pytorch_optimizer in its form for large models, with an averaged momentum; no weight decay."""
    optimizer = pytorch_optimizer.ScalableShampoo(
        task.model.parameters(),
        lr=lr,
        moving_average_for_momentum=True,
        preconditioning_compute_steps=frequency,
        graft_type=LayerWiseGrafting[graft],
    )
    descend(task, recorder, [optimizer])


def elra(task: Task, recorder: Recorder, *, variant: Literal["p2min", "c2min"]) -> None:
    """ELRA, our own implementation; its rate has a control of its own. The model is left where its last step began."""
    optimizer, last = ELRA(task.model.parameters(), variant), math.inf
    while True:
        loss = cost(task.model, task.inputs, task.targets)
        last = loss.item() if math.isfinite(loss.item()) else last  # one that is not is taken back
        if recorder.note(last):
            break
        task.model.zero_grad()
        loss.backward()
        optimizer.step(lambda found=loss: found)
    with torch.no_grad():
        for parameter, kept in optimizer.state.items():
            parameter.copy_(kept["point"])


def descend(task: Task, recorder: Recorder, optimizers: list[Optimizer], batch: int | None = None) -> None:
    """Steps until the recorder says that the run is over."""
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    over = whole(task, recorder) if batch is None else in_batches(task, recorder)
    for inputs, targets in batches(task, batch):
        loss = cost(task.model, inputs, targets)
        if over(loss):
            return
        task.model.zero_grad()
        loss.backward()
        share = min(recorder.elapsed() / max(recorder.budget, 1e-9), 1.0)
        for optimizer, bases in zip(optimizers, rates, strict=True):
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = base * (1e-6 + 0.5 * (1 + math.cos(math.pi * share)))
            optimizer.step()


def batches(task: Task, size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples again and again, or the samples in a new order each time, in parts of this size."""
    while size is None:
        yield task.inputs, task.targets
    while True:
        for rows in torch.randperm(len(task.inputs)).split(size):
            yield task.inputs[rows], task.targets[rows]


def whole(task: Task, recorder: Recorder) -> Callable[[Tensor], bool]:
    """The loss of a full-batch step is the cost."""
    return lambda loss: recorder.note(loss.item())


def in_batches(task: Task, recorder: Recorder) -> Callable[[Tensor], bool]:
    """The cost on all samples, read off the clock at moments that lie 3 % apart."""
    due = 0.0

    def over(loss: Tensor) -> bool:
        nonlocal due
        now = recorder.elapsed()
        recorder.steps += now < due
        if now < due:
            return False
        with recorder.aside(), torch.no_grad():
            value = cost(task.model, task.inputs, task.targets).item()
        due = GRAIN * now + 1e-3
        return recorder.note_at(now, value)

    return over
