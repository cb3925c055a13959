"""The peers of the benchmark and their sweeps: what a user would pick instead, at most four settings each.

A peer is a function of a task, a recorder and one setting. Peers in JAX live in an environment of their own and are
reached through `in_jax`; an absent peer has its reason and no function.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peers_first_order as first
import peers_second_order as second
import torch
from cases import Sine, Task
from recorder import Recorder
from torch import nn

HERE = Path(__file__).parent
JAX_PYTHON = HERE.parent / ".venv-jax" / "bin" / "python"
Setting = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """One peer.

    Attributes:
        name: unique, as the tables show it.
        run: task, recorder, and a setting as keywords.
        settings: the sweep; the first two are those of the quick set.
        packages: distributions whose versions belong in a line.
        ours: no sweep, its own start, five seeds always.
        in_jax: compiled and warmed in its own process.
        absent: why there is no such run, if there is none.
    """

    name: str
    run: Callable[..., None] | None
    settings: tuple[Setting, ...] = ({},)
    packages: tuple[str, ...] = ()
    ours: bool = False
    in_jax: bool = False
    absent: str = ""


def jax_peer(task: Task, recorder: Recorder, *, method: str, **setting: Any) -> None:
    """Runs a JAX peer on the same data and the same starting parameters, and brings its parameters back."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npz")
        parameters = [p.detach().numpy() for p in task.model.parameters()]
        np.savez(given, *parameters, inputs=task.inputs.numpy(), targets=task.targets.numpy())
        job = {"method": method, "layers": layers(task.model), "setting": setting}
        job |= {"budget": recorder.budget, "targets": recorder.targets, "thinning": recorder.thinning}
        job |= {"given": str(given), "found": str(found)}
        done = subprocess.run(
            [JAX_PYTHON, HERE / "peers_jax.py", json.dumps(job)], capture_output=True, text=True, env=jax_environment()
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
        recorder.extra |= json.loads(done.stdout.splitlines()[-1])
        stored = np.load(found)
    with torch.no_grad():
        for index, parameter in enumerate(task.model.parameters()):
            parameter.copy_(torch.as_tensor(stored[f"arr_{index}"]))


def jax_environment() -> dict[str, str]:
    """This environment with the same number of threads for XLA and one compilation cache for all runs."""
    threads = torch.get_num_threads()
    flags = "--xla_cpu_multi_thread_eigen=" + ("false" if threads == 1 else "true")
    cache = str(HERE.parent / ".venv-jax" / "compiled")
    return os.environ | {"XLA_FLAGS": flags, "OMP_NUM_THREADS": str(threads), "JAX_COMPILATION_CACHE_DIR": cache}


IN_JAX = ("linear", "tanh", "relu", "gelu", "sine", "unflatten", "conv2d", "avgpool2d", "flatten")


def layers(model: nn.Module) -> list[tuple[str, float]]:
    """The network as JAX rebuilds it: layers, activations with their frequency, images by their side.

    Images have one channel, convolutions keep their size, pools halve it.
    """
    found = list[tuple[str, float]]()
    for part in model:
        name = type(part).__name__.lower()
        if name not in IN_JAX:
            raise NotImplementedError(f"not built in JAX: {type(part).__name__}")
        side = part.unflattened_size[-1] if isinstance(part, nn.Unflatten) else 1.0
        found.append((name, part.frequency if isinstance(part, Sine) else side))
    return found


def each(key: str, *values: Any, **common: Any) -> tuple[Setting, ...]:
    """One setting for each value."""
    return tuple({key: value} | common for value in values)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("geodescent", partial(second.ours, initialise=True), ours=True),
        Peer("geodescent, torch's start", partial(second.ours, initialise=False), ours=True),
        Peer(
            "torch-levenberg-marquardt",
            second.torch_lm,
            (
                {"solve_method": "cholesky", "damping": 1e-3},
                {"solve_method": "qr", "damping": 1e-3},
                {"solve_method": "solve", "damping": 1.0},
            ),
            packages=("torch-levenberg-marquardt",),
        ),
        Peer(
            "optimistix",
            jax_peer,
            each("method", "LevenbergMarquardt", "Dogleg", "GaussNewton"),
            in_jax=True,
        ),
        Peer("scipy least_squares", second.scipy_least_squares, each("tr_solver", "exact", "lsmr")),
        Peer("pypose LM", second.pypose_lm, each("strategy", "TrustRegion", "Adaptive"), packages=("pypose",)),
        Peer("L-BFGS", second.lbfgs, ({"history": 100, "inner": 20}, {"history": 50, "inner": 100})),
        Peer(
            "kfac-jax",
            jax_peer,
            each("damping", 1e-3, 1.0, method="kfac", adaptive=True)
            + each("damping", 1e-4, method="kfac", adaptive=False),
            in_jax=True,
        ),
        Peer("Adam", first.adam, (*each("lr", 3e-3, 1e-2, 3e-2), {"lr": 3e-3, "decay": 1e-2})),
        Peer(
            "Adam, batches of 128",
            first.adam,
            (*each("lr", 1e-3, 5e-3, batch=128), {"lr": 3e-3, "decay": 1e-2, "batch": 128}),
        ),
        Peer("Muon", first.muon, each("lr", 1e-2, 3e-2)),
        Peer(
            "SOAP",
            first.soap,
            ({"lr": 1e-2, "frequency": 10}, {"lr": 3e-2, "frequency": 10}),
            packages=("pytorch_optimizer",),
        ),
        Peer(
            "Shampoo",
            first.shampoo,
            ({"lr": 3e-3, "graft": "RMSPROP"}, {"lr": 1.0, "graft": "SGD"}),
            packages=("pytorch_optimizer",),
        ),
        Peer("ELRA", first.elra, each("variant", "p2min", "c2min")),
    )
}
