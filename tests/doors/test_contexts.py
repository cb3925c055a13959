"""Fits in surroundings of every kind: default device and dtype, threads, other processes."""

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import normal
from torch import nn

import geodescent as gd
from geodescent._types import Theta

TESTS = str(Path(__file__).parents[1])
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.sin(X)


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def fitted(model: nn.Module) -> gd.Solution:
    return gd.fit(model, X, Y, max_steps=8)


DOORS: dict[str, Callable[[nn.Module], object]] = {
    "fit": fitted,
    "flow": lambda model: gd.flow(model, X[:6], Y[:6], until=0.2),
    "certify": lambda model: str(gd.certify(model, X, Y)),
    "plan": lambda model: str(gd.plan(model, X, Y)),
    "initialise": lambda model: str(gd.initialise(model, X, Y)),
    "krylov": lambda model: gd.fit(model, X, Y, max_steps=2, method=gd.Method(lift=gd.KrylovLift())),
    "validation": lambda model: gd.fit(model, X, Y, max_steps=2, stop="validation"),
    "optimizer": lambda model: gd.GeoDescent(model).step(X, Y),
}


@contextmanager
def default(kind: str | torch.dtype) -> Iterator[None]:
    """Another default; meta stands for any device that the model is not on."""
    before = torch.get_default_dtype()
    try:
        if isinstance(kind, str):
            torch.set_default_device(kind)
        else:
            torch.set_default_dtype(kind)
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(before)


@pytest.mark.parametrize("kind", ["meta", torch.float16, torch.float64])
@pytest.mark.parametrize("name", DOORS)
def test_defaults_change_nothing(name: str, kind: str | torch.dtype) -> None:
    first, second = net(), net()
    DOORS[name](first)
    with default(kind):
        DOORS[name](second)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def in_threads(work: list[Callable[[], Any]]) -> list[Any]:
    found: list[Any] = [None] * len(work)

    def put(k: int) -> None:
        try:
            found[k] = work[k]()
        except Exception as error:
            found[k] = error

    threads = [threading.Thread(target=put, args=(k,)) for k in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_one_model_in_several_threads() -> None:
    """Each map computes at its own θ, whatever the others do with the module meanwhile."""
    model, alone = net(), gd.SampleMap(net(), X)
    outputs = gd.SampleMap(model, X)
    points: list[Theta] = [outputs.theta + 0.1 * k * normal(outputs.n_params) for k in range(4)]

    def many(theta: Theta) -> Callable[[], list[Any]]:
        return lambda: [(*outputs.linearise(theta), outputs.second_derivative(theta, theta)) for _ in range(10)]

    for theta, found in zip(points, in_threads([many(theta) for theta in points]), strict=True):
        x, jacobian = alone.linearise(theta)
        for x_k, jacobian_k, curvature in found:
            assert torch.equal(x_k, x) and torch.equal(jacobian_k.dense(), jacobian.dense())
            assert torch.equal(curvature, alone.second_derivative(theta, theta))
    assert all(type(p) is nn.Parameter for p in model.parameters())


def test_fits_in_several_threads() -> None:
    """Of one model, of models that share a layer, of others: all end; and attention keeps its setting."""
    expected, one, shared = fitted(net()).cost, net(), nn.Linear(3, 3).double()
    others = [net(), nn.Sequential(shared, nn.Tanh(), nn.Linear(3, 3).double()), nn.Sequential(shared, nn.Tanh())]
    setting = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()
    found = in_threads([lambda m=m: fitted(m) for m in (*others, one, one)])  # type: ignore[misc]
    assert all(isinstance(solution, gd.Solution) for solution in found), found
    assert found[0].cost == expected and found[4].cost <= found[4].cost0
    assert setting == (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled())


def test_another_thread_that_draws_is_not_the_model() -> None:
    done = threading.Event()

    def draw() -> None:
        while not done.is_set():
            torch.rand(3)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(5):
            gd.SampleMap(net(), X)
        with pytest.raises(gd.JacobianError, match="draws random numbers"):
            gd.SampleMap(nn.Sequential(nn.Linear(3, 3), nn.RReLU()).double(), X)
    finally:
        done.set()
        thread.join()


def _in_child(queue: Any) -> None:
    torch.set_num_threads(1)
    queue.put(fitted(net()).cost)


SPAWNED = """
import multiprocessing, sys
sys.path.insert(0, {tests!r})
from doors.test_contexts import _in_child, fitted, net
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    queue = context.Queue()
    here = fitted(net()).cost
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    print(queue.get(timeout=60) == here)
    child.join()
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_fit_in_another_process(method: str, tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(SPAWNED.format(tests=TESTS, method=method))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "True", done.stderr
