"""A recorded call of a model, kept in the place of D.

Products with D are passes through autograd's graph of it, and the columns of D are made where something asks for them.
"""

from geodescent.outputs.recorded._convolutions import WantedDerivatives, convolving
from geodescent.outputs.recorded._product_calls import ProductLayer, product_layers, row_layouts
from geodescent.outputs.recorded._recorded_call import RecordedCall, Twice

__all__ = ["ProductLayer", "RecordedCall", "Twice", "WantedDerivatives", "convolving", "product_layers", "row_layouts"]
