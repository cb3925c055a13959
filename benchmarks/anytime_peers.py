"""Who runs in the any-time benchmark, with which settings, and for how long."""

from functools import partial

import torch
from cases import Task
from peers import PEERS, Peer, Setting, each
from peers_first_order import cost
from recorder import Recorder

import geodescent as gd

PLAIN, SUITED = "gd.fit", "gd.initialise, gd.fit"


def at_any_time(task: Task, recorder: Recorder, *, initialise: bool) -> None:
    """The call as people write it, with the seconds as its only argument; after `gd.initialise` where asked for."""
    if initialise:
        recorder.extra["initialised"] = str(gd.initialise(task.model, task.inputs, task.targets))
        recorder.extra["initialise_seconds"] = now = recorder.elapsed()
        with recorder.aside(), torch.no_grad():
            begun_at = cost(task.model, task.inputs, task.targets).item()
        recorder.note_at(now, begun_at)

    def noted(record: gd.StepRecord) -> None:
        now = recorder.elapsed()
        recorder.extra.setdefault("first_step_seconds", now)
        recorder.extra.setdefault("unrecorded_seconds", now - record.seconds)
        recorder.note_at(now, record.cost)

    bounds = {"max_seconds": recorder.budget - recorder.elapsed()} if recorder.budget else {"max_steps": 2}  # warm-up
    solution = gd.fit(task.model, task.inputs, task.targets, callback=noted, **bounds)
    recorder.result = solution.result.name
    recorder.extra["stats"] = {key: str(value) for key, value in solution.stats.items()}


OURS_AT_ANY_TIME: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(PLAIN, partial(at_any_time, initialise=False), ours=True),
        Peer(SUITED, partial(at_any_time, initialise=True), ours=True),
    )
}

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
IN_BATCHES = "Adam, batches of 128"
SETTINGS: dict[str, tuple[Setting, ...]] = {
    PLAIN: ({},),
    "Adam": each("lr", *RATES),
    IN_BATCHES: each("lr", *RATES, batch=128),
    "SOAP": PEERS["SOAP"].settings,
    "Muon": PEERS["Muon"].settings,
    "L-BFGS": PEERS["L-BFGS"].settings,
    "kfac-jax": PEERS["kfac-jax"].settings,
    "torch-levenberg-marquardt": PEERS["torch-levenberg-marquardt"].settings,
    SUITED: ({},),
}
"""In the order in which they run."""
FULL_BATCH = tuple(name for name in SETTINGS if name not in (PLAIN, SUITED, IN_BATCHES))

FIRST = 30  # Gradients: the curves are compared from here on.
LAST = {
    "mlp1000": 480,
    "wide-deep": 60,
    "cnn1000": 960,
    "friedman-5000": 960,
    "digits-conv": 480,
    "autoencoder": 1920,
    "china": 960,
    "modular": 1920,
}
"""Gradients: where the curves end. On two idle cores none lasts much longer than a minute."""
SHORTER = (60, 240)
"""Gradients. By a cosine the rate ends at zero with the budget, which favours the end of a run: these runs besides."""
BY_A_COSINE = ("Adam", IN_BATCHES, "SOAP", "Muon")


def spans(case: str, name: str) -> tuple[int, ...]:
    """Budgets of the runs of a peer on a case, in gradients."""
    shorter = SHORTER if name in BY_A_COSINE else ()
    return (*(span for span in shorter if span < LAST[case]), LAST[case])


def moments(case: str) -> list[int]:
    """30 gradients and every doubling."""
    found = [FIRST]
    while 2 * found[-1] <= LAST[case]:
        found.append(2 * found[-1])
    return found
