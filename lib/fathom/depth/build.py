"""From the operations of a run to the graph of its network, or the reason why it has no depth."""

from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx

from fathom.depth import operations as known
from fathom.depth.capture import Operation, Ref, Run
from fathom.depth.graph import Graph
from fathom.spec import Refused

Pieces = frozenset[tuple[Hashable, Any]]
NOTHING: Pieces = frozenset()


class Value(NamedTuple):
    """What is known of a tensor: the node of the graph that it is, unless it does not depend on
    the input; the name of the weights it is made of and an identity for what was done to them;
    which `pieces` of which tensors it is made of; the pieces that went into it before, while they
    were added up (`state`), and whether it was multiplied since; whether it is a statistic of
    its node, which a norm divides it by."""

    node: str | None = None
    label: str = ""
    weights: Hashable = None
    pieces: Pieces = NOTHING
    state: Pieces = NOTHING
    multiplied: bool = False
    statistic: bool = False


def graph_of(run: Run) -> Graph:
    """The graph of a run, from the inputs that carry the signal to its output.

    An input that meets other data before it meets a layer or an embedding (a mask, positions) is a
    condition and no start, unless all are. Raises Refused where depth is not defined."""
    whole = _Builder(run, set(run.inputs))
    ends = {one: whole.values[one].node for one in run.inputs}
    signals = {
        one for one, node in ends.items() if node in whole.graph and _signal(whole.graph, node)
    }
    if not signals or signals == set(ends):
        return whole.finished()
    return _Builder(run, signals).finished()


def _signal(graph: Graph, start: Hashable) -> bool:
    """Whether an input reaches a layer or an embedding by itself."""
    ahead, seen = [start], {start}
    while ahead:
        for node in graph.succ[ahead.pop()]:
            kind = graph.nodes[node]["kind"]
            if kind in ("layer", "embedding"):
                return True
            alone = len(graph.pred[node]) == 1 or set(graph.pred[node]) <= seen
            if kind != "output" and alone and node not in seen:
                seen.add(node)
                ahead.append(node)
    return False


class _Builder:
    """A graph as it grows, operation by operation."""

    def __init__(self, run: Run, inputs: set[int]) -> None:
        self.run, self.graph, self.refused = run, nx.DiGraph(), list[str]()
        self.layers = dict[Hashable, list[str]]()
        self.values = {
            number: Value(label=_short(name), weights=name)
            for number, name in run.parameters.items()
        }
        for number, name in run.inputs.items():
            node = self.node("input", name, [], "") if number in inputs else None
            self.values[number] = Value(node)
        for one in run.operations:
            value = self.value(one)
            for place, number in enumerate(one.results):
                piece = frozenset({(one.results[0], place)}) if len(one.results) > 1 else NOTHING
                self.values[number] = value._replace(pieces=value.pieces | piece)

    def finished(self) -> Graph:
        """The part of the graph that leads to the output; raises Refused."""
        if self.refused:
            raise Refused(self.refused[0])
        end = self.values.get(self.run.output, Value()).node
        if end is None:
            raise Refused(
                "the output does not depend on the input: no operation leads from one to the "
                "other; give the input that the network computes with"
            )
        output = self.node("output", "output", [end], "")
        kept = nx.ancestors(self.graph, output) | {output}
        self.graph.remove_nodes_from([one for one in self.graph if one not in kept])
        for nodes in self.layers.values():
            there = [one for one in nodes if one in self.graph]
            for first, second in pairwise(there):
                if nx.has_path(self.graph, first, second):
                    raise Refused(
                        f"{first}: its weights act {len(there)} times, one after another (a "
                        "recurrence), so that depth in layers is not defined; give every layer "
                        "weights of its own, or trace one step"
                    )
        node = end
        while self.graph.nodes[node].get("link"):
            self.graph.nodes[node]["kind"] = "identity"
            (node,) = self.graph.pred[node]
        return self.graph

    def node(self, kind: str, name: str, before: Iterable[str], operation: str) -> str:
        """A new node behind others; its own key is its name, numbered from the second on."""
        key, again = name, 2
        while key in self.graph:
            key, again = f"{name} ({again})", again + 1
        link = operation in known.LINKS
        self.graph.add_node(key, kind=kind, name=key, operation=operation, link=link)
        self.graph.add_edges_from((one, key) for one in before)
        return key

    def value(self, one: Operation) -> Value:
        """What an operation makes of its operands."""
        operands = [self.seen(leaf) for leaf in one.operands]
        active = [value for value in operands if value.node is not None]
        if not active or one.name in known.SHAPES:
            return self.constant(one, operands)
        self.refuse(one, operands)
        matrices = known.MATRICES.get(one.name)
        if matrices:
            return self.contraction(
                one, operands, [operands[i] for i in matrices if i < len(operands)]
            )
        if one.name == "copy" and len(operands) > 1:
            return operands[1] if operands[1].node else self.constant(one, operands)
        if self.looks_up(one, operands):
            table = next(value for value in operands if value.weights is not None)
            node = self.node("embedding", _owner(one, table), _nodes(active), one.name)
            return Value(node)
        if len(active) > 1:
            return self.merge(one, active)
        nodes, came = _nodes(active), active[0]
        if one.name in known.PIECES:
            index = tuple(leaf for leaf in one.operands[1:] if not isinstance(leaf, Ref))
            origin = one.operands[0]
            return came._replace(pieces=came.pieces | {(origin, index)})
        if one.name in known.STATISTICS:
            return came._replace(statistic=True)
        if one.name in known.NORMS:
            node = self.node("identity", f"{one.module} norm".strip(), nodes, "norm")
            return came._replace(node=node, statistic=False)
        if one.name in known.ACTIVATIONS:
            name = f"{one.module} {one.name}".strip()
            node = self.node("activation", name, nodes, one.name)
            return came._replace(node=node, statistic=False)
        return came

    def seen(self, leaf: Any) -> Value:
        return self.values.get(leaf.number, Value()) if isinstance(leaf, Ref) else Value()

    def constant(self, one: Operation, operands: list[Value]) -> Value:
        """A value that does not depend on the input; of weights where an operand is."""
        made = [value for value in operands if value.weights is not None]
        if not made or one.name in known.SHAPES:
            return Value()
        if len(operands) == 1:  # another shape, the same weights
            return made[0]._replace(weights=(one.name, made[0].weights))
        said = [repr(leaf) for leaf in one.operands if not isinstance(leaf, Ref)]
        key = (one.name, *(value.weights for value in made), *said)
        return Value(label=made[0].label, weights=hash(key))

    def looks_up(self, one: Operation, operands: list[Value]) -> bool:
        """Whether weights are looked up by an index that comes from the input."""
        if one.name not in known.LOOK_UPS and one.name not in known.EMBEDDINGS:
            return False
        first = next((value for value in operands if value != Value()), Value())
        return first.weights is not None and first.node is None

    def contraction(self, one: Operation, operands: list[Value], parts: list[Value]) -> Value:
        """A matrix or a convolution: a layer where weights act, a product of two activations; with
        what it adds."""
        active = [value for value in parts if value.node is not None]
        weights = [value for value in parts if value.weights is not None]
        added = known.ADDED.get(one.name)
        bias = operands[added] if added is not None and added < len(operands) else Value()
        if not active:
            return bias
        nodes = _nodes(active)
        if weights:
            node = self.node("layer", _owner(one, weights[0]), nodes, _kind_of_layer(one.name))
            self.layers.setdefault(weights[0].weights, []).append(node)
            value = Value(node)
        elif len(active) > 1:
            value = self.merge(one._replace(name="contraction"), active)
        else:
            value = active[0]
        return value if bias.node is None else self.merge(one._replace(name="add"), [bias, value])

    def merge(self, one: Operation, active: list[Value]) -> Value:
        """Where paths meet. A path that meets itself goes on (x + x), bent where it is multiplied
        with itself (attention of q, k and v that are pieces of one layer), but where it is
        divided by a statistic of itself, a norm written out."""
        kind, nodes = "product", _nodes(active)
        if one.name in known.ADDITIONS:
            kind = "addition"
        elif one.name in known.CONCATENATIONS:
            kind = "concatenation"
        if len(nodes) == 1 and kind != "product":
            return active[0]
        if kind == "product" and one.name != "contraction" and self.normed(active):
            kind, one = "identity", one._replace(name="norm")
            nodes = _nodes(value for value in active if not value.statistic)
        elif len(nodes) == 1:
            kind = "activation"
        mark = {"addition": "+", "concatenation": "concatenation"}.get(kind, one.name)
        node = self.node(kind, f"{one.module} {mark}".strip(), nodes, one.name)
        pieces = frozenset[Any]().union(*(value.pieces for value in active))
        state = frozenset[Any]().union(*(value.state for value in active))
        if kind != "addition":
            return Value(node, "", None, pieces, state, multiplied=kind != "concatenation")
        before = {origin for value in active if value.multiplied for origin, _ in value.state}
        if any(origin in before and (origin, at) not in state for origin, at in pieces):
            self.refused.append(
                f"{_where(one)}: a state is multiplied and added to at every step of time (a "
                "recurrence), so that depth grows with the length of the sequence and is not "
                "defined; Mamba and its kin are outside of the law"
            )
        return Value(node, state=pieces | state)

    def normed(self, active: list[Value]) -> bool:
        """Whether one node meets a statistic of itself or of its activation (its square)."""
        whole = _nodes(value for value in active if not value.statistic)
        made = _nodes(value for value in active if value.statistic)
        return len(whole) == 1 == len(made) and (
            made == whole or list(self.graph.pred[made[0]]) == whole
        )

    def refuse(self, one: Operation, operands: list[Value]) -> None:
        """Note why a network with this operation has no depth."""
        where, refused = _where(one), self.refused
        if one.name in known.RECURRENT:
            refused.append(
                f"{where}: {one.name} is a recurrence, the same weights at every step of time, so "
                "that depth grows with the length of the sequence and is not defined; trace what "
                "stands before and behind it"
            )
        if one.name in known.ROUTING and self.behind_a_layer(one):
            refused.append(
                f"{where}: {one.name} chooses by the data which paths are taken (a mixture of "
                "experts), so that depth differs from token to token and is not defined; trace one "
                "expert by itself"
            )
        if one.name in known.RUNNING and self.behind_a_layer(one):
            refused.append(
                f"{where}: {one.name} sums up what layers made at every step before (a recurrence, "
                "written side by side), so that depth in layers is not defined; Mamba and its kin "
                "are outside of the law"
            )
        if "::" in one.name and any(value.weights is not None for value in operands):
            refused.append(
                f"{where}: {one.name} is an operation of its own kind that weights go into, and "
                "what it does with them cannot be seen; trace the module without it"
            )
        if one.name in known.CONTROL:
            refused.append(
                f"{where}: a number computed from the data decides what is computed next "
                "(data-dependent control flow), so that depth differs from input to input and is "
                "not defined; trace each branch by itself"
            )

    def behind_a_layer(self, one: Operation) -> bool:
        nodes = {node for leaf in one.operands if (node := self.seen(leaf).node) is not None}
        behind = nodes.union(*(nx.ancestors(self.graph, node) for node in nodes))
        return any(self.graph.nodes[node]["kind"] == "layer" for node in behind)


def _nodes(values: Iterable[Value]) -> list[str]:
    return list(dict.fromkeys(value.node for value in values if value.node is not None))


def _short(name: str) -> str:
    """The layer that a parameter belongs to: h.0.attn.c_attn.weight is of h.0.attn.c_attn."""
    before, _, last = name.partition(".parametrizations.")[0].rpartition(".")
    return before if before and last in ("weight", "bias", "weight_v", "weight_g") else name


def _owner(one: Operation, weights: Value) -> str:
    """The name of the layer that weights are used in; weights tied to those of another layer bear
    that layer's name, so that the module where they act is the better one."""
    own = not one.module or weights.label.startswith(f"{one.module}.")
    return weights.label if own else one.module


def _kind_of_layer(name: str) -> str:
    return "convolution" if "conv" in name else "matrix"


def _where(one: Operation) -> str:
    """The place of an operation in the network and in Python."""
    return ", ".join(part for part in (one.module, one.line) if part) or "the network"
