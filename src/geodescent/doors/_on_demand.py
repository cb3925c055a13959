"""The certificate of a finished run: computed when it is first wanted, at the solution, whatever has happened since."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from geodescent._deadline import within
from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.certificate import (
    Certificate,
    certificate_of,
    noise_at,
    noise_learnt,
    unknown_certificate,
)
from geodescent.metric import Metric
from geodescent.outputs import ModuleSnapshot, OfModule, Parametrised
from geodescent.problem import Problem, draws_points, rounding_floor, same_cost

LEAST_SECONDS = 1.0  # Seconds: a certificate that is made for printing a result may take this long.
SHARE_OF_RUN = 0.1  # Share of the run's seconds: it may take this long, if that is more.
UNMADE = (
    "This result was pickled before its certificate was made: call gd.certify with the model and its data, or with the "
    "problem, or read solution.certificate before pickling."
)
CHANGED = (
    "Nothing was computed: since the run the module, or the data, have been changed so that the cost at the solution "
    "is {now:.4g} and was {then:.4g}. Read solution.certificate before such a change, or call gd.certify."
)
GONE = (
    "Nothing was computed: since the run the module, or the data, have been changed so that there are no outputs at "
    "the solution ({error}). Read solution.certificate before such a change, or call gd.certify."
)
AGAIN = "Call gd.certify with the model and its data, or gd.fit to go on."
FAILED = "Nothing was computed: {error}"


@dataclass(frozen=True)
class Words:
    """What a printed result says of a certificate.

    Attributes:
        known: what it means.
        following: what to do next.
        causes: sentences of those that somebody has to look at.
        is_known: whether there is a certificate.
    """

    known: str
    following: str
    causes: tuple[str, ...] = ()
    is_known: bool = False


class OnDemand:
    """A certificate that is computed on first use, and kept; it is pickled only if it was computed before.

    Args:
        problem, theta: what is certified. Modes, buffers, fixed parameters and dtypes of the problem's modules are
            restored for it; where the cost at θ is another all the same, the certificate says so and holds nothing.
        make: the certificate of a problem at θ.
        remark: a sentence for the printed result, made when that is printed; empty where there is none.
    """

    are_equations, draws_points = False, True  # Of solutions that were pickled before these were kept.

    def __init__(
        self,
        problem: Problem,
        theta: Theta,
        make: Callable[[Problem, Theta], Certificate],
        remark: Callable[[Problem, Theta], str] | None = None,
    ) -> None:
        self._remark, self._said = remark, ""
        self._made: Certificate | None = None
        self._in_part: Certificate | None = None
        self._problem: Problem | None = problem
        self._theta, self._make, self._cost = theta, make, math.nan
        self.are_equations, self.draws_points = problem.has_equations, draws_points(problem)
        self._modules: list[ModuleSnapshot] = []
        try:
            self._cost = problem.cost(theta)
            maps = [block.map for block in problem.blocks if isinstance(block.map, OfModule)]
            self._modules = [_snapshot(problem, outputs) for outputs in maps]
        except Exception as error:  # whatever a module raises, as below
            self._made = unknown_certificate(problem, self._cost, _failed(error))

    def get(self, max_seconds: float | None = None) -> Certificate:
        """The certificate, or what there is time for. Raises InputError where it was not made before pickling."""
        if self._made is not None:
            return self._made
        if max_seconds is not None and self._in_part is not None:
            return self._in_part
        if self._problem is None:
            raise InputError(UNMADE)
        with within(max_seconds) as deadline:
            made = self._restored(self._problem)
        if deadline.left_out:
            self._in_part = made
        else:
            self._made = made
        return made

    def at_solution(self) -> tuple[Problem, Theta]:
        """The problem and the best point. Raises InputError after pickling."""
        if self._problem is None:
            raise InputError("this result was pickled, and its problem was left behind: ask before pickling.")
        return self._problem, self._theta

    def in_words(self, seconds: float, words: Callable[[Certificate], Words]) -> Words:
        """What is known and what to do, by what fits into a tenth of the run's seconds, or one second.

        Args:
            words: of a certificate.
        """
        if self._made is None and self._problem is None:
            return Words("Not computed before the result was pickled.", UNMADE)
        try:
            begin, allowed = time.perf_counter(), max(LEAST_SECONDS, SHARE_OF_RUN * seconds)
            known = self.get(allowed)
            if known.level == "not computed" and known.reason:
                return Words(f"{known.reason[0].upper()}{known.reason[1:]}", AGAIN)
            missing = self._in_part is not None and self._made is None and known.reason
            found = words(known)
            said = [
                found.known,
                f"(Not all of this could be computed. {known.reason})" if missing else "",
                self._remarked(allowed + begin - time.perf_counter()),
            ]
            return replace(found, known=" ".join(part for part in said if part))
        except Exception as error:  # whatever it is: the run is over, and its result must not be lost
            return Words(f"What is known could not be told ({type(error).__name__}: {error}).", AGAIN)

    def _remarked(self, seconds: float) -> str:
        """The remark, made once, where there are seconds left for it; empty where there is none."""
        if self._remark is not None and self._problem is not None and seconds > 0.5 * LEAST_SECONDS:
            with within(seconds), ExitStack() as stack:
                for snapshot in self._modules:
                    stack.enter_context(snapshot.restored())
                if _is_same(self._problem, self._theta, self._problem.cost(self._theta), self._cost):
                    self._said, self._remark = self._remark(self._problem, self._theta), None
        return self._said

    def _restored(self, problem: Problem) -> Certificate:
        """The certificate of the modules as they were, or why there is none."""
        reason = GONE
        try:
            with ExitStack() as stack:
                for snapshot in self._modules:
                    stack.enter_context(snapshot.restored())
                now = problem.cost(self._theta)
                if not _is_same(problem, self._theta, now, self._cost):
                    return unknown_certificate(problem, self._cost, CHANGED.format(now=now, then=self._cost))
                reason = FAILED
                return self._make(problem, self._theta)
        except Exception as error:  # whatever a module raises: the run is over, and its result must not be lost
            return unknown_certificate(problem, self._cost, _failed(error, reason))

    def __deepcopy__(self, memo: dict[int, object]) -> "OnDemand":
        """Itself: it belongs to the run, of which a copied result tells too."""
        return self

    def __getstate__(self) -> dict[str, object]:
        kept: dict[str, object] = {"_made": self._made, "_said": self._said, "_modules": []}
        kept |= {"are_equations": self.are_equations, "draws_points": self.draws_points}
        return kept | dict.fromkeys(("_in_part", "_problem", "_theta", "_make", "_remark", "_cost"))


def on_demand(
    problem: Problem,
    theta: Theta,
    *,
    target_cost: float | None,
    metric: Metric | None = None,
    full_rank_so_far: bool | None = None,
    start: Theta | None = None,
    judged: bool = False,
) -> OnDemand:
    """The certificate of a finished run; `metric` as in `certificate_of`.

    Args:
        start: θ₀ of a fit; None where it is not known.
        judged: by validation data: the certificate says what part of the cost is noise. Of other fits the printed
            result has a sentence where the data look noisy.
    """

    def make(problem: Problem, theta: Theta) -> Certificate:
        certificate = certificate_of(
            problem,
            theta=theta,
            target_cost=target_cost,
            metric=metric,
            full_rank_so_far=full_rank_so_far,
            describe_point=True,
        )
        noise = noise_at(problem, theta, start) if judged and start is not None else None
        return certificate if noise is None else replace(certificate, noise=noise)

    if judged or start is None:
        return OnDemand(problem, theta, make)
    return OnDemand(problem, theta, make, lambda problem, theta: noise_learnt(problem, theta, start))


def _failed(error: Exception, reason: str = FAILED) -> str:
    """Why there is no certificate."""
    return reason.format(error=f"{type(error).__name__}: {error}")


def _snapshot(problem: Problem, outputs: OfModule) -> ModuleSnapshot:
    names = set(outputs.parameters()) if isinstance(outputs, Parametrised) else set[str]()
    return ModuleSnapshot.of(outputs.model, names, problem.device)


def _is_same(problem: Problem, theta: Theta, now: float, then: float) -> bool:
    """Whether two costs are of the same outputs, to rounding."""
    if not (math.isfinite(now) and math.isfinite(then)):
        return math.isnan(now) == math.isnan(then) and math.isinf(now) == math.isinf(then)
    return same_cost(now, then, 0.0) or same_cost(now, then, rounding_floor(problem, theta))
