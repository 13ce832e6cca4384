"""Effective depth, in both conventions, and the sum over all paths."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from fathom.depth.graph import Counted, Graph, counted
from fathom.spec import Refused
from fathom.spec.words import nearest

CONVENTIONS = {
    "shortest": "fewest layers and residual additions from input to output (arXiv 2602.07494, v1)",
    "sequential": "most layers one after another (its published version, as we read it)",
}

Choose = Any  # min or max


class Convention(NamedTuple):
    """How a depth was counted: by a name in CONVENTIONS, with or without the ends. `offset` is how
    many layers of the stem were left out."""

    name: str
    stem: str
    readout: str
    offset: int
    concatenation: str = "counts nothing, and an identity passes it"
    product: str = "counts nothing, and the shorter of its paths passes it"
    embedding: str = "a look-up, counts nothing"


class EffectiveDepth(NamedTuple):
    """A depth, the units counted on the path that decides it, the convention, what the other
    convention finds, and the depth from each input, of which the farthest decides."""

    value: int
    units: tuple[str, ...]
    convention: Convention
    other: int
    starts: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        said, ways = self.convention, dict(zip(CONVENTIONS, (self.value, self.other), strict=True))
        if said.name != "shortest":
            ways = dict(zip(CONVENTIONS, (self.other, self.value), strict=True))
        words = [
            f"effective depth {ways['shortest']} by the shortest path",
            f"{ways['sequential']} by layers one after another",
            f"stem {said.stem}",
            f"read-out {said.readout}",
        ]
        if len(self.starts) > 1:
            words.append("from " + ", ".join(f"{name} {value}" for name, value in self.starts))
        return "; ".join(words)


class Paths(NamedTuple):
    """All paths of a network, exactly: how many, and the sums over them of their number of layers,
    of its square and of its cube."""

    number: int
    layers: int
    squares: int
    cubes: int

    def __add__(self, other: "Paths") -> "Paths":  # type: ignore[override]
        return Paths(*(a + b for a, b in zip(self, other, strict=True)))

    def longer(self) -> "Paths":
        """The paths with one layer more each."""
        number, one, two, three = self
        return Paths(number, one + number, two + 2 * one + number, three + 3 * (two + one) + number)


def effective_depth(
    graph: Graph, *, convention: str = "shortest", stem: bool = False, readout: bool = False
) -> EffectiveDepth:
    """The depth of a graph by a convention, with its stem and its read-out counted or not. Raises
    Refused for a graph that is none of a network."""
    if convention not in CONVENTIONS:
        raise Refused(f"convention {convention!r} {nearest(convention, CONVENTIONS)}")
    found = counted(graph)
    out = _left_out(found, stem, readout)
    worth = {"shortest": _worth(found) | out, "sequential": _layers(found) | out}
    choose = {"shortest": min, "sequential": max}
    ahead = {one: _towards(found, worth[one], choose[one]) for one in CONVENTIONS}
    mine, starts = ahead[convention], found.parts("input")
    first = max(starts, key=lambda one: mine[one])
    (other,) = (one for one in CONVENTIONS if one != convention)
    return EffectiveDepth(
        mine[first],
        tuple(
            found.name(one)
            for one in _along(found, mine, first, choose[convention])
            if worth[convention].get(one)
        ),
        Convention(
            convention,
            _said(found, found.stem, stem),
            _said(found, found.readout, readout),
            int(found.stem is not None and not stem),
        ),
        max(ahead[other][one] for one in starts),
        tuple((found.name(one), mine[one]) for one in starts),
    )


def path_counts(graph: Graph, *, stem: bool = False) -> Paths:
    """The paths of a graph and the moments of their lengths in layers, without the read-out and,
    unless asked for, the stem. Paths that hold no layer between fork and merge are one; a
    product is passed by one of its paths, the shortest (q, k and v are one branch). Source: Chen
    et al. 2024, Eq. 8, whose length is the number of nonlinear layers on a path."""
    found = counted(graph)
    left_out = _left_out(found, stem, False)
    worth = _worth(found) | left_out
    near, paths = dict[Hashable, int](), dict[Hashable, Paths]()
    for node in found.order:
        before = list(found.graph.pred[node])
        if found.kind(node) == "input":
            near[node], paths[node] = 0, Paths(1, 0, 0, 0)
            continue
        closest = min(before, key=lambda one: near[one])
        near[node] = near[closest] + worth.get(node, 0)
        if len(before) > 1 and not found.merges(node) and found.fork[node] is not None:
            before = [found.fork[node]]
        elif found.kind(node) == "product":
            before = [closest]
        met = sum((paths[one] for one in before), Paths(0, 0, 0, 0))
        counts = found.kind(node) == "layer" and node not in left_out
        paths[node] = met.longer() if counts else met
    return paths[found.output]


def shortest_path(found: Counted) -> list[Hashable]:
    """The nodes of the path that decides the effective depth, from an input to the output."""
    ahead = _towards(found, _worth(found) | _left_out(found, False, False), min)
    start = max(found.parts("input"), key=lambda one: ahead[one])
    return _along(found, ahead, start, min)


def _left_out(found: Counted, stem: bool, readout: bool) -> dict[Hashable, int]:
    """The ends that do not count, as what they are worth."""
    ends = {found.stem: stem, found.readout: readout}
    return {node: 0 for node, counts in ends.items() if node is not None and not counts}


def _worth(found: Counted) -> dict[Hashable, int]:
    """What nodes add to the shortest path; those that are not named add nothing."""
    layers = {one: int(one not in found.projections) for one in found.parts("layer")}
    return layers | dict.fromkeys(found.residual, 1)


def _layers(found: Counted) -> dict[Hashable, int]:
    """What nodes add to the chain of layers one after another."""
    return dict.fromkeys(found.parts("layer"), 1)


def _towards(found: Counted, worth: dict[Hashable, int], choose: Choose) -> dict[Hashable, int]:
    """The fewest (or most) units from each node to the output, itself included."""
    ahead = dict[Hashable, int]()
    for node in reversed(found.order):
        after = [ahead[one] for one in found.graph.succ[node]]
        ahead[node] = choose(after, default=0) + worth.get(node, 0)
    return ahead


def _along(
    found: Counted, ahead: dict[Hashable, int], start: Hashable, choose: Choose
) -> list[Hashable]:
    """The path from a node to the output that has what `ahead` promises."""
    nodes = [start]
    while nodes[-1] != found.output:
        nodes.append(choose(found.graph.succ[nodes[-1]], key=lambda one: ahead[one]))
    return nodes


def _said(found: Counted, end: Hashable, counts: bool) -> str:
    """An end of a network in words."""
    return "none" if end is None else f"{found.name(end)}, {'' if counts else 'not '}counted"
