"""Certificate."""

from geodescent.certificate._causes import Cause, causes_of
from geodescent.certificate._certificate import Certificate, certificate_of
from geodescent.certificate._forecast import forecast_floor
from geodescent.certificate._idle_units import units_of
from geodescent.certificate._point import AT_ZERO, CRITICAL, HESSIAN_ORDER
from geodescent.certificate._spectrum import Spectrum, spectrum_of

__all__ = [
    "AT_ZERO",
    "CRITICAL",
    "HESSIAN_ORDER",
    "Cause",
    "Certificate",
    "Spectrum",
    "causes_of",
    "certificate_of",
    "forecast_floor",
    "spectrum_of",
    "units_of",
]
