"""How a door is called: arguments that it does not know are answered with what takes their place."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import wraps
from typing import ParamSpec, TypeVar

from geodescent._errors import InputError
from geodescent._memory import keep_freed_memory
from geodescent._threads import suited_threads

P = ParamSpec("P")
R = TypeVar("R")

Answers = tuple[tuple[tuple[str, ...], str | None, str], ...]
"""Names that people bring from elsewhere, the argument that takes their place, and a sentence."""

ANSWERS: Answers = (
    (
        ("lr", "learning_rate", "eta", "momentum", "betas", "scheduler", "lr_scheduler", "warmup", "weight_decay"),
        None,
        "there is no learning rate and no schedule: the length of each step follows from the problem. Leave it out.",
    ),
    (
        ("epochs", "n_epochs", "num_epochs", "max_epochs", "iterations", "max_iter", "maxiter", "n_steps", "steps"),
        "max_steps",
        "every step looks at all samples, and max_steps= bounds their number.",
    ),
    (
        ("loss", "loss_fn", "loss_function", "criterion", "objective", "cost"),
        None,
        "the cost is C = ‖x − y‖²/(2N), always. Leave it out; for classes pass "
        "y = torch.nn.functional.one_hot(labels).to(X), and other convex costs are followed by gd.geometry.cost_flow.",
    ),
    (
        ("optimizer", "optim", "solver"),
        "method",
        "the steps are geodescent's own. Leave it out; method=gd.Method(…) exchanges their parts, and in a loop of "
        "your own gd.GeoDescent(model) is the optimizer.",
    ),
    (
        ("batch_size", "batches", "num_batches", "shuffle", "drop_last", "num_workers"),
        "max_steps",
        "every step looks at all samples. Leave it out; where they do not fit into memory pass "
        "torch.utils.data.DataLoader(TensorDataset(X, y), batch_size=…) in the place of X and y.",
    ),
    (
        ("validation_data", "val_data", "validation_set", "val", "valid", "X_val", "eval_set", "test_data"),
        "validation",
        "validation data are passed as validation=(X_val, y_val).",
    ),
    (
        ("patience", "early_stopping", "early_stop"),
        "stop",
        'validation=(X_val, y_val) or stop="validation" keeps the point of least validation cost, with patience.',
    ),
    (("inputs", "data", "x", "train_data", "features"), "X", "the samples are the second argument, X."),
    (("target", "targets", "labels", "Y"), "y", "the targets are the third argument, y."),
    (("sample_weight", "sample_weights", "weight", "sigma"), "weights", "weights of single samples are weights=."),
    (("callbacks", "on_step"), "callback", "one function, called with the record of each step, is callback=."),
    (("timeout", "time_limit", "max_time", "max_minutes"), "max_seconds", "the bound of the time is max_seconds=."),
    (("tol", "ftol", "gtol", "xtol", "rtol", "atol"), "target_cost", "the cost to reach is target_cost=."),
    (("verbosity", "progress", "progress_bar", "silent", "quiet", "log_every"), "verbose", "verbose= is 0, 1 or 2."),
    (("init", "start", "warm_start"), "initialise", "initialise=True suits the start to the data first."),
    (
        ("device", "dtype"),
        None,
        "data follow the model: leave it out, and convert the model, model.double() or model.to(device).",
    ),
    (
        ("seed", "random_state", "generator"),
        None,
        "nothing is drawn that a seed could change. Leave it out; torch.manual_seed(0) goes before making the model.",
    ),
)
"""To those who train a module."""


@dataclass(frozen=True)
class Door:
    """A decorator: raises InputError for arguments that the function does not know; its signature stays what it is.

    The function computes with one thread where several would wait for each other.

    Attributes:
        answers: what is said of names that people bring from elsewhere.
    """

    answers: Answers

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        place = "GeoDescent" if function.__name__ == "__init__" else function.__name__

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            unknown = [name for name in kwargs if name not in signature.parameters]
            if unknown:
                raise InputError(" ".join(_answer(name, place, signature, self.answers) for name in unknown))
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise InputError(f"gd.{place}: {error}. It is called gd.{place}{_short(signature)}.") from None
            keep_freed_memory()
            with suited_threads():
                return function(*args, **kwargs)

        return called


door = Door(ANSWERS)
"""Of the doors that train a module."""


def _answer(name: str, place: str, signature: inspect.Signature, answers: Answers) -> str:
    """What takes the place of an argument at this door."""
    known = [other for other in signature.parameters if other != "self"]
    for names, argument, sentence in answers:
        if name in names and (argument is None or argument in known):
            return f"gd.{place} has no {name}=: {sentence}"
    close = get_close_matches(name, known, n=1)
    meant = f" Did you mean {close[0]}=?" if close else " Leave it out."
    return f"gd.{place} has no {name}=; it takes {', '.join(known)}.{meant}"


def _short(signature: inspect.Signature) -> str:
    """The positional arguments, and that others go by name."""
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return f"({', '.join(name for name in positional if name != 'self')}, …), all others by name"
