"""Steps along one preconditioned gradient of a batch each: for networks on which products with D cost many gradients.

Their length is set in the space of the outputs: a step changes them by a tenth of the residual.
"""

from geodescent.descent.first_order._gradient_steps import LEAST_ROUNDS, GradientsEnd, gradient_steps, gradients_stage
from geodescent.descent.first_order._soap import Soap, SoapState

__all__ = ["LEAST_ROUNDS", "GradientsEnd", "Soap", "SoapState", "gradient_steps", "gradients_stage"]
