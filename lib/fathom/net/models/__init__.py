"""Architectures: one file per family, each a builder (net, inputs, outputs) -> Model."""

from fathom.net.layers import Model
from fathom.net.models.linearised import linearised
from fathom.net.models.lm import lm
from fathom.net.models.mlp import mlp
from fathom.net.models.resmlp import resmlp
from fathom.spec import Net

FAMILIES = {"mlp": mlp, "resmlp": resmlp, "linearised": linearised, "lm": lm}


def build(net: Net, inputs: int | None, outputs: int) -> Model:
    """The model of a net; `inputs` None means as many inputs as the net is wide."""
    return FAMILIES[net.family](net, inputs, outputs)
