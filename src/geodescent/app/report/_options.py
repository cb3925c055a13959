"""Sentences of the library in the words of the command: what Python calls an argument is an option there."""

import re

SAID_INSTEAD = {
    "gd.initialise(model, X, y), or gd.fit(…, initialise=True), suits the start to the data": (
        "--start data suits the start to the data"
    ),
    "at another start: make the model anew, then gd.initialise": "at another start, with another --seed",
    "Move every parameter by a little, such as p.add_(0.01 * torch.randn_like(p)), and call gd.fit again": (
        "Begin at another start, with another --seed"
    ),
    "Begin with other parameters, or bring X and y to order 1; gd.initialise(model, X, y) does so": (
        "Begin with another --seed"
    ),
    "pass validation=(X, y), or another gd.Problem over the same parameters": (
        "leave --stop validation out, or choose a smaller --test-size"
    ),
    "convert model and data to float64": "take --dtype float64",
    "larger tol, use smooth activations, or use gd.fit": (
        "larger --tol, use a smooth --activation, or use geodescent fit"
    ),
    "gd.certify without max_seconds": "geodescent certify",
    "and call gd.fit again": "and fit again",
    " (initialise=False keeps the start as it was)": "",
    "Pass more, or call pde.refine(system, solution)": "A file of your own can ask for more",
}
"""What the library says → what the command says."""

ARGUMENTS = ("target_cost", "max_seconds", "max_steps", "test_size", "until", "tol", "seed", "dtype", "stop", "verbose")
WITH_VALUE = re.compile(rf"(?<![\w'/.-])({'|'.join(ARGUMENTS)})(?: = |=)")
"""An argument beside its value; in quotation marks, and in paths, a name is somebody else's."""
WITHOUT_VALUE = re.compile(r"(?<![\w'/.-])(target_cost|max_seconds|max_steps|test_size)\b")
CALLED_DOOR = re.compile(r"(?<![\w'/.-])gd\.(fit|flow|certify)\b")


def in_options(text: str) -> str:
    """The sentence with options in the place of arguments: `target_cost = −1` becomes `--target-cost −1`."""
    for said, instead in SAID_INSTEAD.items():
        text = text.replace(said, instead)
    text = re.sub(r"Leave \S+ at a fixed value, or add data", "Add data", text)
    text = WITH_VALUE.sub(lambda found: f"--{_option(found[1])} ", text)
    text = WITHOUT_VALUE.sub(lambda found: f"--{_option(found[1])}", text)
    text = re.sub(r"(--stop )'(\w+)'", r"\1\2", text)
    return CALLED_DOOR.sub(r"geodescent \1", text).replace("torch.float", "float")


def _option(name: str) -> str:
    return name.replace("_", "-")
