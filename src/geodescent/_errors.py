"""The errors of the library. Each message says what is wrong, the numbers, and what to do."""


class InputError(ValueError):
    """A question that cannot be asked: shapes, dtypes, devices, non-finite data."""


class JacobianError(ValueError):
    """The Jacobian by layers disagrees with autograd, or the outputs are no function of one sample alone."""


class MemoryPlanError(ValueError):
    """An object asked for by name would not fit into memory."""
