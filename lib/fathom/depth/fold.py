"""A graph as a short row of parts: what its shortest path passes, with repeated blocks folded."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from fathom.depth.effective import shortest_path
from fathom.depth.graph import Counted, Graph, counted
from fathom.depth.operations import ATTENTION

LONGEST = 16  # parts in one repeated block


class Part(NamedTuple):
    """What the shortest path passes: a layer, or a merge with the branches that meet it there,
    each as (layers one after another, what it is). `role` is stem, read-out or counted; nothing
    for what does not count. `bypass` says how the path passes a block: by identity or by
    projection."""

    kind: str
    role: str
    branches: tuple[tuple[int, str], ...] = ()
    bypass: str = ""


class Stretch(NamedTuple):
    """Parts that come so many times, one after another."""

    parts: tuple[Part, ...]
    times: int


def fold(graph: Graph) -> tuple[Stretch, ...]:
    """The shortest path of a graph, folded: GPT-2 is one stretch of two additions, x 12."""
    found = counted(graph)
    path = shortest_path(found)
    way = set(path)
    parts = [_part(found, node, way) for node in path if _shown(found, node)]
    return tuple(folded(parts))


def folded(parts: Sequence[Part]) -> list[Stretch]:
    """Parts as the stretches that show fewest of them; among these, the shortest blocks."""
    names = {part: i for i, part in enumerate(dict.fromkeys(parts))}
    row = [names[part] for part in parts]
    runs = {size: _runs(row, size) for size in range(1, LONGEST + 1)}
    best: list[tuple[int, int, int]] = [(0, 0, 0)] * (len(row) + 1)  # shown, in blocks, block
    for at in reversed(range(len(row))):
        shown, inside, _ = best[at + 1]
        best[at] = (shown + 1, inside, 0)
        for size, run in runs.items():
            if at < len(run) and run[at] > 1:
                shown, inside, _ = best[at + size * run[at]]
                best[at] = min(best[at], (shown + size, inside + size, size))
    stretches, at = list[Stretch](), 0
    while at < len(row):
        size = best[at][2]
        if size:
            stretches.append(Stretch(tuple(parts[at : at + size]), runs[size][at]))
            at += size * runs[size][at]
            continue
        before = stretches.pop().parts if stretches and stretches[-1].times == 1 else ()
        stretches.append(Stretch((*before, parts[at]), 1))
        at += 1
    return stretches


def _runs(row: list[int], size: int) -> list[int]:
    """How often the block of this size that begins at each place is repeated from there."""
    runs = [1] * max(len(row) - size + 1, 0)
    for at in reversed(range(len(row) - 2 * size + 1)):
        if row[at : at + size] == row[at + size : at + 2 * size]:
            runs[at] = runs[at + size] + 1
    return runs


def _shown(found: Counted, node: Hashable) -> bool:
    """Whether a node of the path is a part: not a projection, nor where nothing with layers meets,
    nor a sum inside another."""
    kind = found.kind(node)
    if kind == "addition":
        return node in found.residual
    return (kind == "layer" and node not in found.projections) or found.merges(node)


def _part(found: Counted, node: Hashable, way: set[Hashable]) -> Part:
    """A node of the path as a part."""
    kind = found.kind(node)
    if kind == "layer":
        ends = {found.stem: "stem", found.readout: "read-out"}
        return Part(
            str(found.graph.nodes[node].get("operation") or kind), ends.get(node, "counted")
        )
    branches = tuple(
        (found.far[one] - found.far.get(found.fork[node], 0), _what(found, one, found.fork[node]))
        for one in _operands(found, node)
        if one not in way
    )
    if node not in found.residual:
        return Part(kind, "", branches)
    straight = found.projections.isdisjoint(_between(found, node, found.fork[node]) & way)
    return Part(kind, "counted", branches, "identity" if straight else "projection")


def _operands(found: Counted, node: Hashable) -> list[Hashable]:
    """What meets at a merge, through the sums that are part of it."""
    ahead, operands = list(found.graph.pred[node]), list[Hashable]()
    while ahead:
        one = ahead.pop(0)
        part = found.kind(one) == "addition" and one not in found.residual and found.merges(one)
        inside = part and found.kind(node) == "addition" and one != found.fork[node]
        if inside:
            ahead = [*found.graph.pred[one], *ahead]
        else:
            operands.append(one)
    return operands


def _between(found: Counted, node: Hashable, fork: Hashable) -> set[Hashable]:
    """The nodes on the ways from a fork to a node, the node included."""
    ahead, seen = [node], {node}
    while ahead:
        for one in found.graph.pred[ahead.pop()]:
            if one != fork and one not in seen:
                seen.add(one)
                ahead.append(one)
    return seen


def _what(found: Counted, end: Hashable, fork: Hashable) -> str:
    """What a branch is: attention where activations are contracted with activations."""
    if end == fork:
        return "identity"
    operations = {found.graph.nodes[one].get("operation") for one in _between(found, end, fork)}
    return "attention" if operations & (ATTENTION | {"contraction"}) else ""
