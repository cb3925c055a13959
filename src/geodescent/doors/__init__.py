"""Room doors."""

from geodescent.doors._fit import DEFAULT_FALL, certify, fit, flow

__all__ = ["DEFAULT_FALL", "certify", "fit", "flow"]
