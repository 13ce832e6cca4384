"""Graphs of networks, and which of their nodes count.

A graph is a networkx DiGraph whose nodes have a `kind`, one of KINDS, and may have a `name`. Edges
carry activations. A layer has trained weights that act on all of what it reads; an embedding looks
its weights up; an addition, a concatenation and a product merge paths (a product is an activation
times another: attention, gates); activations are nonlinear, identities all the rest: norms,
pooling, scales, biases. A graph that was traced also has the `operation` of a node: matrix,
convolution, norm, or torch's own name.

What counts (arXiv 2602.07494, as read in its reviews): a layer, and an addition, which is
residual if one of its paths bypasses the layers of another. A bypass holds no layer, or one layer
and no nonlinearity (a projection, as where a ResNet changes its width), which then does not count.
Additions whose paths hold no layer (gelu or rotary embeddings written out) count nothing, and
a sum of three is one addition.
"""

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import networkx as nx

from fathom.spec import Refused
from fathom.spec.words import nearest

KINDS = (
    "input",
    "layer",
    "embedding",
    "activation",
    "identity",
    "addition",
    "concatenation",
    "product",
    "output",
)
MERGES = ("addition", "concatenation", "product")
Graph = Any  # networkx's DiGraph; its stubs make every attribute of a node a puzzle


class Counted(NamedTuple):
    """A graph with what its nodes are worth.

    `order` is topological; `fork` is the last node that every path to a node has passed (None:
    the inputs themselves); `far` the most layers on a path to a node, itself included; `residual`
    the additions that count, `projections` the layers that do not. The `readout` is a layer behind
    which nothing comes but identities; the `stem` is the first layer of every path, in a network
    that has a residual addition or concatenates layers."""

    graph: Graph
    order: list[Hashable]
    output: Hashable
    fork: dict[Hashable, Hashable]
    far: dict[Hashable, int]
    residual: frozenset[Hashable]
    projections: frozenset[Hashable]
    readout: Hashable
    stem: Hashable

    def kind(self, node: Hashable) -> str:
        return self.graph.nodes[node]["kind"]

    def name(self, node: Hashable) -> str:
        return str(self.graph.nodes[node].get("name", node))

    def parts(self, *kinds: str) -> list[Hashable]:
        """The nodes of these kinds, in order."""
        return [node for node in self.order if self.kind(node) in kinds]

    def merges(self, node: Hashable) -> bool:
        """Whether paths meet at a node that hold a layer each or in part."""
        before = max((self.far[one] for one in self.graph.pred[node]), default=0)
        return self.kind(node) in MERGES and before > self.far.get(self.fork[node], 0)


def counted(graph: Graph) -> Counted:
    """What the nodes of a graph are worth; raises Refused where the graph is none of a network.
    Linear in edges, but for additions whose paths meet far behind them."""
    order = _checked(graph)
    apart = _apart(graph)
    if apart:
        graph = graph.copy()
        graph.remove_nodes_from(apart)
        order = [node for node in order if node in graph]
    kind = nx.get_node_attributes(graph, "kind")
    fork, far = _forks(graph, order), dict[Hashable, int]()
    for node in order:
        before = max((far[one] for one in graph.pred[node]), default=0)
        far[node] = before + (kind[node] == "layer")
    (output,) = (one for one in order if kind[one] == "output")
    found = Counted(graph, order, output, fork, far, frozenset(), frozenset(), None, None)
    residual, projections = set[Hashable](), set[Hashable]()
    for node in order:
        if kind[node] == "addition" and found.merges(node) and not _summed(graph, node):
            bypass = _bypass(graph, fork[node], node)
            if bypass is not None:
                residual.add(node)
                projections |= bypass
    found = found._replace(residual=frozenset(residual), projections=frozenset(projections))
    found = found._replace(readout=_readout(found))
    return found._replace(stem=_stem(found))


def _checked(graph: Graph) -> list[Hashable]:
    """The nodes in topological order, or Refused with what is wrong with the graph."""
    if not isinstance(graph, nx.DiGraph):
        raise Refused(f"a graph has to be a networkx DiGraph; found {type(graph).__name__}")
    for node, data in graph.nodes(data=True):
        if data.get("kind") not in KINDS:
            raise Refused(
                f"node {node}: kind {data.get('kind')!r} {nearest(data.get('kind'), KINDS)}"
            )
    try:
        order = list(nx.topological_sort(graph))
    except nx.NetworkXUnfeasible:
        around = [str(start) for start, *_ in nx.find_cycle(graph)]
        raise Refused(
            f"the graph has a cycle ({' -> '.join([*around, around[0]])}): effective depth is "
            "defined for networks without recurrence; unroll it or take it out"
        ) from None
    ends = [node for node in order if graph.nodes[node]["kind"] == "output"]
    if len(ends) != 1:
        raise Refused(f"the graph has {len(ends)} nodes of kind output; give it one")
    if len(graph.pred[ends[0]]) > 1:
        raise Refused(
            f"two outputs: {len(graph.pred[ends[0]])} edges lead to {ends[0]}; keep the one that "
            "is meant, or merge them in a node of kind addition or concatenation"
        )
    starts = [node for node in order if graph.nodes[node]["kind"] == "input"]
    if not starts:
        raise Refused("the graph has no node of kind input; give it at least one")
    if not nx.ancestors(graph, ends[0]).intersection(starts):
        raise Refused(
            "the output does not depend on the input: no path leads from one to the other; check "
            "the edges"
        )
    return order


def _apart(graph: Graph) -> set[Hashable]:
    """The nodes that are not on the way from an input to the output."""
    kind = nx.get_node_attributes(graph, "kind")
    starts = [node for node in graph if kind[node] == "input"]
    (output,) = (node for node in graph if kind[node] == "output")
    behind = set(nx.multi_source_dijkstra_path_length(graph, set(starts), weight=None))
    return set(graph) - (behind & (nx.ancestors(graph, output) | {output}))


def _forks(graph: Graph, order: Iterable[Hashable]) -> dict[Hashable, Hashable]:
    """The immediate dominator of every node, None standing before all inputs."""
    above: dict[Hashable, Hashable] = {None: None}
    level: dict[Hashable, int] = {None: 0}
    for node in order:
        meet, *others = list(graph.pred[node]) or [None]
        for other in others:
            while meet != other:
                if level[meet] < level[other]:
                    other = above[other]
                else:
                    meet = above[meet]
        above[node], level[node] = meet, level[meet] + 1
    return above


def _summed(graph: Graph, node: Hashable) -> bool:
    """Whether a sum goes into another sum and nowhere else: x + f(x) + g(x) is one addition."""
    while len(graph.succ[node]) == 1:
        (node,) = graph.succ[node]
        if graph.nodes[node]["kind"] != "identity":
            return graph.nodes[node]["kind"] == "addition"
    return False


def _bypass(graph: Graph, fork: Hashable, addition: Hashable) -> set[Hashable] | None:
    """The projections on the ways from a fork to an addition that bypass its branches: an empty
    set where a way holds no layer, None where none bypasses anything."""
    start = [(one, None, False) for one in graph.pred[addition]]
    ahead, seen, projections = start, set(start), set[Hashable]()
    while ahead:
        node, layer, curved = ahead.pop()
        if node == fork:
            if layer is None:
                return set()
            projections.add(layer)
            continue
        kind = graph.nodes[node]["kind"]
        if kind == "layer":
            if layer is not None or curved:
                continue
            layer = node
        curved = curved or kind in ("activation", "product")
        if curved and layer is not None:
            continue
        for before in graph.pred[node] or [None]:
            state = (before, layer, curved)
            if before is None and fork is not None:
                continue
            if state not in seen:
                seen.add(state)
                ahead.append(state)
    return projections or None


def _readout(found: Counted) -> Hashable:
    """The layer that the output shows with nothing but identities between; None without such."""
    node = found.output
    while found.kind(node) in ("identity", "output"):
        before = list(found.graph.pred[node])
        if len(before) != 1:
            return None
        (node,) = before
    return node if found.kind(node) == "layer" else None


def _stem(found: Counted) -> Hashable:
    """The first layer, where every path passes it and blocks come after it; None elsewhere."""
    if not found.residual and not any(found.merges(one) for one in found.parts("concatenation")):
        return None
    node = found.fork[found.output]
    while node is not None:
        if found.kind(node) == "layer" and found.far[node] == 1 and node != found.readout:
            return node
        node = found.fork[node]
    return None
