"""Whether options can be used together: what cannot is a usage error of the shell."""

import typer


def widths(hidden: str | None) -> tuple[int, ...] | None:
    """Of the hidden layers; None where nobody chose. Raises a usage error for what is no list of numbers."""
    if hidden is None:
        return None
    try:
        return tuple(int(width) for width in hidden.split(",") if width.strip())
    except ValueError as error:
        raise typer.BadParameter(f"--hidden takes widths such as 64,64: got {hidden!r}.") from error


def require_no_options(context: typer.Context, why: str) -> None:
    """Raises a usage error for options of the command that would be ignored."""
    options = {str(option.name): option.opts[0] for option in context.command.params if option.opts[0].startswith("-")}
    sources = {option: context.get_parameter_source(name) for name, option in options.items()}
    given = [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if ignored := [option for option in given if option != "--json"]:
        raise typer.BadParameter(f"{why}, so that {', '.join(ignored)} would change nothing: leave it out.")


def require_mode(mode: str, exact_only: tuple[str, ...], *, out: str | None, resume: bool) -> None:
    """Raises a usage error for options that do not go together."""
    if mode == "posterior" and exact_only:
        raise typer.BadParameter(
            f"{', '.join(exact_only)} cannot be used with --mode posterior, which fits no network step by step: leave "
            "it out, or choose --mode exact."
        )
    if resume and out is None:
        raise typer.BadParameter("--resume needs --out DIR, the folder of the run that goes on.")
