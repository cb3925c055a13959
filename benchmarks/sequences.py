"""A recurrent, an attending and a convolutional network in the time of 20 steps of Adam on all samples.

`python benchmarks/sequences.py`; names of networks may follow; one thread. A line each: the milliseconds of a step of
Adam, the least cost of Adam after 20 steps over three rates, and the least cost of `gd.fit` in the same time, from the
call on; the medians over three seeds. The clock is the processor's.
"""

import contextlib
import copy
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

import geodescent as gd

N, STEPS, SEEDS = 500, 20, 3
RATES = (1e-3, 3e-3, 1e-2)
LONG = 1_000.0  # Times the seconds that are looked at: the deadline of a fit, which then does not hurry its steps.


class Last(nn.Module):
    """What a recurrent layer returns at the last of ten times, read by a linear layer."""

    def __init__(self, memory: nn.RNNBase) -> None:
        super().__init__()
        self.memory, self.out = memory, nn.Linear(memory.hidden_size, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 10, 3) → (N, 4)."""
        return self.out(self.memory(x)[0][:, -1])


class Mean(nn.Module):
    """The mean over ten times of what a transformer's encoder returns, read by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        self.into, self.encoder, self.out = nn.Linear(3, 16), nn.TransformerEncoder(layer, 2), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 10, 3) → (N, 4)."""
        return self.out(self.encoder(self.into(x)).mean(1))


def conv() -> nn.Module:
    """Two convolutions over ten times, and a linear layer."""
    into, between = nn.Conv1d(3, 16, 3, padding=1), nn.Conv1d(16, 16, 3, padding=1)
    return nn.Sequential(into, nn.Tanh(), between, nn.Tanh(), nn.Flatten(), nn.Linear(160, 4))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Last(nn.LSTM(3, 32, batch_first=True)),
    "GRU": lambda: Last(nn.GRU(3, 32, batch_first=True)),
    "encoder": Mean,
    "conv": conv,
}


def main() -> None:
    """A line for each network."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or NETWORKS:
        steps, theirs, ours = zip(*[compared(name, seed) for seed in range(SEEDS)], strict=True)
        print(
            f"{name:8} a step of Adam {1e3 * median(steps):.1f} ms; after {STEPS} of them Adam {median(theirs):.4f}, "
            f"fit {median(ours):.4f}",
            flush=True,
        )


def compared(name: str, seed: int) -> tuple[float, float, float]:
    """Seconds of a step of Adam, and the least costs of Adam and of `gd.fit` in the time of `STEPS` of these."""
    torch.manual_seed(seed)
    model, x = NETWORKS[name](), torch.randn(N, 10, 3)
    weights = torch.randn(10, 3, 4) / 30.0**0.5
    y = torch.sin(2.0 * torch.einsum("ntd,tdq->nq", x, weights))
    x = x.mT if name == "conv" else x
    runs = [by_adam(copy.deepcopy(model), x, y, rate) for rate in RATES]
    seconds = median(seconds for seconds, _ in runs)
    by_fit(copy.deepcopy(model), x[:50], y[:50], seconds)  # what torch loads at first calls
    return seconds, min(cost for _, cost in runs), by_fit(copy.deepcopy(model), x, y, STEPS * seconds)


def by_adam(model: nn.Module, x: Tensor, y: Tensor, rate: float) -> tuple[float, float]:
    """Seconds of a step, and the cost after all."""
    optimizer, begin = torch.optim.Adam(model.parameters(), lr=rate), time.process_time()
    for _ in range(STEPS):
        optimizer.zero_grad()
        cost_of(model, x, y).backward()
        optimizer.step()
    seconds = (time.process_time() - begin) / STEPS
    return seconds, cost_of(model, x, y).item()


def by_fit(model: nn.Module, x: Tensor, y: Tensor, seconds: float) -> float:
    """The least cost of the steps that end in so many seconds."""
    costs, begin = [cost_of(model, x, y).item()], time.process_time()

    def note(record: gd.StepRecord) -> None:
        if time.process_time() - begin > seconds:
            raise KeyboardInterrupt
        costs.append(record.cost)

    with contextlib.suppress(KeyboardInterrupt):
        gd.fit(model, x, y, max_seconds=LONG * seconds, callback=note)
    return min(costs)


def cost_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """C = ‖x − y‖²/(2N)."""
    return (model(x) - y).square().sum() / (2.0 * len(x))


if __name__ == "__main__":
    main()
