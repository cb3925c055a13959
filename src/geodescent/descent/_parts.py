"""Whether what a stage, a method or a flow is given is a part of the kind that it needs."""

from geodescent._errors import InputError


def require_part(part: object, protocol: type, name: str, example: str) -> None:
    """Raises InputError unless the part has all members of the protocol, and is an object, not a class.

    Args:
        name: of the argument.
        example: a part of this kind, as it is written.
    """
    if isinstance(part, type):
        raise InputError(f"{name} = {part.__name__} is a class: pass an object, for example {name}={example}.")
    if not isinstance(part, protocol):
        raise InputError(f"{name} is a {type(part).__name__}, which it cannot be: pass for example {name}={example}.")
