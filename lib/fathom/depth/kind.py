"""Which kind of network a traced graph is, in the words of law.NETWORKS without the optimizer."""

from collections.abc import Hashable
from itertools import dropwhile

from fathom.depth.effective import shortest_path
from fathom.depth.graph import Counted
from fathom.depth.operations import ATTENTION, SOFTMAX

BEFORE = "norm before"


def kind_of(found: Counted) -> str:
    """The kind of a network: ViT or language model where it attends, convolutions, residual, or
    chain; a kind that law.NETWORKS does not have where its norms are not those of ours."""
    if any(_attends(found, node) for node in found.order):
        placement = _placement(found)
        if not found.parts("embedding"):
            return f"ViT, {placement}"
        return "language model" if placement == BEFORE else f"language model, {placement}"
    kind = "residual" if found.residual else "chain"
    if _convolves(found):
        kind = f"convolutions, {kind}"
    return f"{kind}, with norms" if _norms(found) else kind


def _operation(found: Counted, node: Hashable) -> str:
    return str(found.graph.nodes[node].get("operation", ""))


def _norms(found: Counted) -> set[Hashable]:
    return {node for node in found.order if _operation(found, node) == "norm"}


def _attends(found: Counted, node: Hashable) -> bool:
    """Whether a node is attention: one operation, or a softmax that is contracted with values."""
    if _operation(found, node) != "contraction":
        return _operation(found, node) in ATTENTION
    return any(_operation(found, one) in SOFTMAX for one in found.graph.pred[node])


def _convolves(found: Counted) -> bool:
    """Whether layers are convolutions, apart from those that only read the input."""
    ends = (found.stem, found.readout)
    layers = [node for node in found.parts("layer") if node not in ends]
    return any(_operation(found, node) == "convolution" for node in layers[1:] or layers)


def _placement(found: Counted) -> str:
    """Where the norms of a transformer are: before, where branches begin with one; after, where
    the stream passes one behind every addition."""
    if not found.residual:
        return "no additions"
    path, norms = shortest_path(found), _norms(found)
    if any(not found.graph.pred[node].keys().isdisjoint(path) for node in norms - set(path)):
        return BEFORE
    additions = found.residual.intersection(path)
    behind = dropwhile(lambda node: node not in additions, path)
    after = 0 < len(additions) <= len(norms.intersection(behind))
    return "norm after" if after else "norm neither before nor after"
