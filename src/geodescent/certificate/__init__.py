"""The certificate: what is known at a point, what was seen on the way, and what stands in the way, in sentences.

`certificate_of` takes the spectrum of D at the level that its size allows, the margin of the condition at the start,
the floors, the causes of lost rank that a person can act on, and the kind of point.
"""

from geodescent.certificate._cause import Cause
from geodescent.certificate._causes import causes_of
from geodescent.certificate._certificate import Certificate
from geodescent.certificate._certify import certificate_of
from geodescent.certificate._equation_words import NO_SOLUTION, OTHER_START, judging
from geodescent.certificate._forecast import forecast_floor
from geodescent.certificate._identifiable import Identifiability
from geodescent.certificate._idle_units import idle_units
from geodescent.certificate._margin import estimated_lipschitz
from geodescent.certificate._noise import Noise, has_samples_to_leave_out, noise_at, noise_learnt
from geodescent.certificate._plain_words import JUDGED, PlainWords
from geodescent.certificate._point import AT_ZERO, CRITICAL, Point
from geodescent.certificate._spectrum import Spectrum, spectrum_of
from geodescent.certificate._unknown import unknown_certificate

__all__ = [
    "AT_ZERO",
    "CRITICAL",
    "JUDGED",
    "NO_SOLUTION",
    "OTHER_START",
    "Cause",
    "Certificate",
    "Identifiability",
    "Noise",
    "PlainWords",
    "Point",
    "Spectrum",
    "causes_of",
    "certificate_of",
    "estimated_lipschitz",
    "forecast_floor",
    "has_samples_to_leave_out",
    "idle_units",
    "judging",
    "noise_at",
    "noise_learnt",
    "spectrum_of",
    "unknown_certificate",
]
