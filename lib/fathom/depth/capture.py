"""One run of a module as a list of operations, by torch.export."""

import inspect
import io
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

from fathom.depth.operations import VIEWS

INNER = "inner"  # what Chosen calls the module it wraps
LONG = 60  # characters of a line of Python in a message


@dataclass(frozen=True)
class Ref:
    """A tensor of a run, by number."""

    number: int


class Operation(NamedTuple):
    """One of torch's operations: its flat operands (a Ref, or a constant), its results by number,
    in which module and at which line of Python."""

    name: str
    operands: tuple[Any, ...]
    results: tuple[int, ...]
    module: str
    line: str


class Run(NamedTuple):
    """All operations of one run, the numbers of its trained parameters, of its inputs and of its
    output, and how it was captured."""

    operations: list[Operation]
    parameters: dict[int, str]
    inputs: dict[int, str]
    output: int
    how: str


class Chosen(nn.Module):
    """A module of which one output is taken."""

    def __init__(self, inner: nn.Module, choose: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.inner, self.choose = inner, choose

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.choose(self.inner(*args, **kwargs))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep to itself what torch.export prints before it gives up."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluate a module without gradients, quietly; leave it in the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    quiet, fused = logging.root.manager.disable, torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole layer
    try:
        with warnings.catch_warnings(), torch.no_grad(), _silent():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(quiet)
        torch.backends.mha.set_fastpath_enabled(fused)
        for part, mode in modes.items():
            part.training = mode


def exported(module: Chosen, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run:
    """The run that torch.export sees."""
    program = torch.export.export(module, args, dict(kwargs), strict=False)
    if any(_writes_into_a_view(node) for node in program.graph.nodes):
        program = program.run_decompositions({})
    known, numbers = dict[Node, int](), count()
    run = Run([], {}, {}, -1, "torch.export")
    names = iter(input_names(module.inner, args, kwargs))
    holders = [node for node in program.graph.nodes if node.op == "placeholder"]
    for node, said in zip(holders, program.graph_signature.input_specs, strict=True):
        known[node] = next(numbers)
        if said.kind == InputKind.PARAMETER:
            run.parameters[known[node]] = str(said.target).removeprefix(f"{INNER}.")
        if said.kind == InputKind.USER_INPUT:
            run.inputs[known[node]] = next(names)
    outputs = _walk(program.graph_module, known, numbers, run.operations)
    kinds = [said.kind for said in program.graph_signature.output_specs]
    output = outputs[kinds.index(OutputKind.USER_OUTPUT)]  # others: what it writes into weights
    return run._replace(output=output.number)


def _walk(
    graph: GraphModule, known: dict[Node, int], numbers: Iterator[int], into: list[Operation]
) -> list[Any]:
    """Append a graph's operations, those of regions inside it in their place; its results."""
    for node in graph.graph.nodes:
        if node.op == "output":
            return [_referred(one, known) for one in tree_leaves(node.args[0])]
        if node.op == "get_attr":
            known[node] = next(numbers)
        if node.op != "call_function":
            continue
        name, leaves = name_of(node.target), tree_leaves((node.args, node.kwargs))
        inner = [getattr(graph, str(one.target)) for one in leaves if _region(one, graph)]
        if name.startswith("wrap_") and len(inner) == 1:  # with torch.no_grad(): and the like
            holders = [one for one in inner[0].graph.nodes if one.op == "placeholder"]
            given = [one for one in leaves if isinstance(one, Node) and not _region(one, graph)]
            known |= {
                to: known[one]
                for to, one in zip(holders, given[len(given) - len(holders) :], strict=True)
            }
            results = _walk(inner[0], known, numbers, into)
            known[node] = next(numbers)
            into.append(Operation("tuple", tuple(results), (known[node],), "", ""))
            continue
        known[node] = next(numbers)
        operands = tuple(_referred(one, known) for one in leaves)
        into.append(Operation(name, operands, (known[node],), _module(node), _line(node)))
    return []


def _region(one: Any, graph: GraphModule) -> bool:
    return (
        isinstance(one, Node)
        and one.op == "get_attr"
        and isinstance(getattr(graph, str(one.target), None), GraphModule)
    )


def _referred(leaf: Any, known: dict[Node, int]) -> Any:
    return Ref(known[leaf]) if isinstance(leaf, Node) else leaf


def name_of(target: Any) -> str:
    """The name of an operation, without namespace, overload and the underscore of in-place."""
    if target is operator.getitem:
        return "getitem"
    said = getattr(target, "_schema", None)
    name = said.name if said else getattr(target, "__name__", str(target))
    name = name.removeprefix("aten::").removeprefix("prims::")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def _writes_into_a_view(node: Node) -> bool:
    """Whether an operation changes its first operand, a view, and so the tensor under it."""
    said = getattr(node.target, "_schema", None)
    if said is None or not said.is_mutable or not node.args or not isinstance(node.args[0], Node):
        return False
    return node.args[0].op == "call_function" and name_of(node.args[0].target) in VIEWS


def _module(node: Node) -> str:
    """The path of the innermost module that an operation belongs to."""
    around = list((node.meta.get("nn_module_stack") or {}).values())
    return str(around[-1][0]).removeprefix(INNER).removeprefix(".") if around else ""


def _line(node: Node) -> str:
    """The last line of Python outside of torch that led to an operation."""
    frames = str(node.meta.get("stack_trace") or "").strip().split("File ")
    own = [frame for frame in frames if frame.strip() and "/torch/" not in frame]
    if not own:
        return ""
    place, _, code = own[-1].partition("\n")
    file, _, rest = place.partition(", line ")
    line, _, _ = rest.partition(",")
    return line_of(file.strip('"'), int(line), code)


def line_of(file: str, line: int, code: str) -> str:
    """A line of Python, cut where it is long."""
    short = code.strip() if len(code.strip()) <= LONG else f"{code.strip()[:LONG]} ..."
    return f"{file.rsplit('/', 1)[-1]}, line {line} ({short})"


def input_names(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """A name for every leaf of an example: the parameter of `forward` that takes it."""
    said = [
        name
        for name, one in inspect.signature(module.forward).parameters.items()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    given = [
        *zip([*said, *(f"input {i}" for i in range(len(said), len(args)))], args, strict=False)
    ]
    names = []
    for name, value in [*given, *kwargs.items()]:
        leaves = tree_leaves(value)
        names += [name] if len(leaves) == 1 else [f"{name}[{i}]" for i in range(len(leaves))]
    return names
