"""Effective depth and path counts against all paths, one by one."""

import random
import time
from collections.abc import Hashable
from typing import Any

import networkx as nx
import pytest
from fathom import depth
from fathom.depth.graph import counted
from test_depth import both, chain, drawn, residual

MERGES = ("addition", "concatenation", "product")
MIDDLE = (*4 * ["layer"], *2 * ["activation"], "identity", *MERGES, *3 * ["addition"])


def random_network(draw: random.Random) -> nx.DiGraph:
    """A random graph of which every node lies between an input and the output."""
    size = draw.randint(2, 9)
    kinds: dict[Any, str] = {0: "input"}
    if draw.random() < 0.2:
        kinds[1] = "input"
    edges: list[tuple[Any, Any]] = []
    for node in range(len(kinds), len(kinds) + size):
        kind = "layer" if len(kinds) == 1 and draw.random() < 0.4 else draw.choice(MIDDLE)
        wanted = draw.randint(2, 3) if kind in MERGES else 1
        near = sorted(kinds)[-4:]
        before = draw.sample(near, min(wanted, len(near)))
        if draw.random() < 0.4:
            before = list({*before[1:], node - 1})
        kinds[node] = kind
        edges += [(one, node) for one in before]
    ends = sorted(set(kinds) - {start for start, _ in edges})
    kinds["m"] = draw.choice(MERGES)
    edges += [(one, "m") for one in ends]
    last: Any = "m"
    if draw.random() < 0.5:
        kinds["V"], last = "layer", "V"
        edges.append(("m", "V"))
    kinds["f"] = "output"
    return drawn(kinds, *edges, (last, "f"))


class Brute:
    """Everything from lists of all paths, as the definitions say it."""

    def __init__(self, graph: nx.DiGraph) -> None:
        self.graph = graph
        self.kind = nx.get_node_attributes(graph, "kind")
        self.inputs = [one for one in graph if self.kind[one] == "input"]
        self.to = {node: self.paths(node) for node in graph}
        self.fork = {node: self.last_common(node) for node in graph}
        self.layers = {n: max(self.count(path) for path in self.to[n]) for n in graph}
        self.residual = {node for node in graph if self.is_residual(node)}
        self.projections = {one for node in self.residual for one in self.alone(node)}
        whole = self.to["f"]
        last = {
            next((n for n in path[-2::-1] if self.kind[n] != "identity"), None) for path in whole
        }
        (end,) = last if len(last) == 1 else (None,)
        self.readout = end if end is not None and self.kind[end] == "layer" else None
        first = {next((n for n in path if self.kind[n] == "layer"), None) for path in whole}
        met = [n for n in graph if self.kind[n] == "concatenation" and self.meets(n)]
        (start,) = first if len(first) == 1 and (self.residual or met) else (None,)
        self.stem = start if start != self.readout else None

    def paths(self, node: Hashable) -> list[list[Hashable]]:
        before = list(self.graph.pred[node])
        return [[*path, node] for one in before for path in self.paths(one)] or [[node]]

    def last_common(self, node: Hashable) -> Hashable:
        common = set.intersection(*(set(path[:-1]) for path in self.to[node]))
        return next((one for one in reversed(self.to[node][0][:-1]) if one in common), None)

    def count(self, path: list[Hashable]) -> int:
        return sum(self.kind[one] == "layer" for one in path)

    def inside(self, node: Hashable) -> list[list[Hashable]]:
        """The ways from a node's fork to it, both excluded."""
        cut = [path[path.index(self.fork[node]) + 1 :] if self.fork[node] in path else path
               for path in self.to[node]]  # fmt: skip
        return [path[:-1] for path in cut]

    def meets(self, node: Hashable) -> bool:
        return self.kind[node] in MERGES and any(self.count(way) for way in self.inside(node))

    def alone(self, node: Hashable) -> set[Hashable]:
        """The projections that bypass, where no way without a layer does."""
        ways = self.inside(node)
        if not all(self.count(way) for way in ways):
            return set()
        straight = [way for way in ways if self.count(way) == 1 and not any(
            self.kind[one] in ("activation", "product") for one in way)]  # fmt: skip
        return {one for way in straight for one in way if self.kind[one] == "layer"}

    def is_residual(self, node: Hashable) -> bool:
        if self.kind[node] != "addition" or not self.meets(node):
            return False
        after = node
        while len(self.graph.succ[after]) == 1:
            (after,) = self.graph.succ[after]
            if self.kind[after] == "addition":
                return False
            if self.kind[after] != "identity":
                break
        return bool(self.alone(node)) or not all(self.count(way) for way in self.inside(node))

    def units(self, path: list[Hashable]) -> int:
        ends = {self.stem, self.readout}
        layers = [one for one in path if self.kind[one] == "layer"]
        counted = [one for one in layers if one not in self.projections and one not in ends]
        return len(counted) + len(self.residual.intersection(path))

    def depth(self) -> int:
        ways = {one: [path for path in self.to["f"] if path[0] == one] for one in self.inputs}
        return max(min(map(self.units, paths)) for paths in ways.values())

    def sequential(self) -> int:
        ends = {self.stem, self.readout}
        return max(self.count([one for one in path if one not in ends]) for path in self.to["f"])

    def lengths(self, node: Hashable) -> list[int]:
        """The length of every path to a node, in layers."""
        before = list(self.graph.pred[node])
        if len(before) > 1 and not self.meets(node) and self.fork[node] is not None:
            before = [self.fork[node]]
        elif self.kind[node] == "product":
            near = {one: min(map(self.units, self.to[one])) for one in before}
            before = [min(before, key=lambda one: near[one])]
        own = self.kind[node] == "layer" and node not in (self.stem, self.readout)
        return [one + own for start in before for one in self.lengths(start)] or [0]


def test_random_graphs_agree_with_all_their_paths_one_by_one() -> None:
    draw, residuals, projected, stems = random.Random(0), 0, 0, 0
    for _ in range(500):
        graph = random_network(draw)
        found, brute = counted(graph), Brute(graph)
        assert found.residual == brute.residual
        assert found.projections == brute.projections
        assert (found.stem, found.readout) == (brute.stem, brute.readout)
        assert both(graph) == (brute.depth(), brute.sequential())
        lengths = brute.lengths("f")
        sums = [sum(one**power for one in lengths) for power in range(4)]
        assert list(depth.path_counts(graph)) == sums
        residuals += len(brute.residual) > 0
        projected += len(brute.projections) > 0
        stems += brute.stem is not None
    assert min(residuals, projected, stems) > 20  # none of it is vacuous


@pytest.mark.parametrize("blocks", [1, 2, 7, 40])
def test_all_paths_of_a_residual_network_have_their_closed_form(blocks: int) -> None:
    found = depth.path_counts(residual(blocks))
    assert found.number == 2**blocks
    assert 8 * found.cubes == blocks**2 * (blocks + 3) * 2**blocks


def test_large_graphs_take_no_time() -> None:
    long, wide = chain(10_000), residual(2_000)
    start = time.process_time()
    assert depth.path_counts(long).cubes == 10_000**3
    assert depth.path_counts(wide).number == 2**2_000
    assert time.process_time() - start < 1
    assert depth.effective_depth(long).value == 10_000
    assert depth.effective_depth(wide).value == 2_000
    assert [one.times for one in depth.fold(wide)] == [2_000, 1]
