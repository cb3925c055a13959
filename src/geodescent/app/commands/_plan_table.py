"""`geodescent plan`: what an exact fit of a table would do, before any work."""

import time
from dataclasses import dataclass
from typing import Literal

from geodescent import doors
from geodescent._memory import MB, highest_bytes
from geodescent.app._entries import Entries
from geodescent.app.commands._job import DataOptions, NetworkAsked, ScaledTable
from geodescent.app.commands._opening import opened_table
from geodescent.app.report import Answer, in_options


@dataclass(frozen=True)
class PlanOptions:
    """Which fit is planned.

    Attributes:
        network: that was asked for.
        stop: "cost" or "validation".
        max_seconds: of the fit; None for as long as it takes.
    """

    network: NetworkAsked
    stop: Literal["cost", "validation"] = "cost"
    max_seconds: float | None = None


def plan_table(asked: DataOptions, options: PlanOptions, answer: Answer) -> Entries:
    """`geodescent plan` of data: the answer, a mapping for JSON."""
    started = time.perf_counter()
    table = opened_table(asked, answer)
    choice = options.network.choice(table)
    data = ScaledTable.of(table, choice)
    model = choice.network(data.X.shape[1], data.y.shape[1], asked.seed).to(choice.device)
    planned = doors.plan(model, data.X, data.y, stop=options.stop, max_seconds=options.max_seconds)
    widths = "-".join(map(str, (data.X.shape[1], *choice.hidden, data.y.shape[1])))
    fit = f"geodescent fit {asked.data} --mode exact --stop {options.stop}"
    answer.say(f"\n{fit} would fit a network {widths}, {choice.activation}.\n\n{in_options(str(planned))}")
    return {
        "plan": planned.as_dict(),
        "seconds": time.perf_counter() - started,
        "peak_mb": highest_bytes() / MB,
        "data": asked.data,
    }
