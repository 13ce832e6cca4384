"""Architectures: one file per family, each a builder (net, inputs, outputs) -> Model."""

from fathom.networks.families.cnn import cnn
from fathom.networks.families.linearised import linearised
from fathom.networks.families.lm import lm
from fathom.networks.families.mlp import mlp
from fathom.networks.families.resconv import resconv
from fathom.networks.families.resmlp import resmlp
from fathom.networks.families.vit import vit
from fathom.networks.layers import Model
from fathom.spec import Net

FAMILIES = {"mlp": mlp, "resmlp": resmlp, "linearised": linearised, "lm": lm}
FAMILIES |= {"cnn": cnn, "resconv": resconv, "vit": vit}


def build(net: Net, inputs: int | None, outputs: int) -> Model:
    """The model of a net; `inputs` None means as many inputs as the net is wide."""
    return FAMILIES[net.family](net, inputs, outputs)
