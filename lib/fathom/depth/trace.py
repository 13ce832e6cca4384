"""The effective depth of a torch module: run on an example, made a graph, counted."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fathom.depth.build import graph_of
from fathom.depth.capture import Chosen, Run, evaluating, exported
from fathom.depth.effective import EffectiveDepth, Paths, effective_depth, path_counts
from fathom.depth.graph import Graph, counted
from fathom.depth.kind import kind_of
from fathom.depth.watch import watched
from fathom.spec import Refused

OUTPUTS = ("logits", "last_hidden_state", "prediction", "sample")


class Trace(NamedTuple):
    """A module's graph and its depth by the shortest path, which also names what the published
    convention finds; its layers and residual additions; all its paths; how it was captured; which
    kind of network it is."""

    graph: Graph
    depth: EffectiveDepth
    layers: int
    additions: int
    paths: Paths
    how: str
    kind: str

    def __str__(self) -> str:
        return f"{self.depth}; {self.layers} layers and {self.additions} additions in all"

    __repr__ = __str__


def trace(module: nn.Module, *example: Any, stem: bool = False) -> Trace:
    """The effective depth of a module on an example: its inputs in order, or one mapping of them
    by name. torch.export runs it without computing, else it runs on the example itself; either
    way in evaluation mode, without gradients, and it is left as it was. `stem` counts the layer
    before the first block. Raises Refused where no depth is defined, with the reason."""
    args, kwargs = _checked(module, example)
    run = _run(module, args, kwargs)
    graph = graph_of(run)
    found = counted(graph)
    return Trace(
        graph,
        effective_depth(graph, stem=stem),
        len(found.parts("layer")),
        len(found.residual),
        path_counts(graph, stem=stem),
        run.how,
        kind_of(found),
    )


def _checked(module: Any, example: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example's positional and named inputs; raises Refused for what has no depth to trace."""
    if not isinstance(module, nn.Module):
        raise Refused(f"found {type(module).__name__}; trace a torch.nn.Module")
    name = type(module).__name__
    if not any(True for _ in module.parameters()):
        raise Refused(
            f"{name} has no parameters: effective depth counts layers with weights and additions "
            "around them; trace a module that has weights"
        )
    for path, part in module.named_modules():
        if isinstance(part, (nn.RNNBase, nn.RNNCellBase)):
            raise Refused(
                f"{path or name}: {type(part).__name__} is a recurrence, the same weights at every "
                "step of time, so that depth grows with the length of the sequence and is not "
                "defined; trace what stands before and behind it"
            )
        rate = getattr(part, "drop_prob", getattr(part, "p", None))
        if type(part).__name__.endswith(("DropPath", "StochasticDepth")) and rate:
            raise Refused(
                f"{path or name}: stochastic depth leaves out blocks at a rate of {rate:g}, so "
                "that depth differs from step to step and is not defined; build it with a "
                "rate of 0 to count all blocks"
            )
    kwargs = dict[str, Any]()
    if len(example) == 1 and isinstance(example[0], Mapping):
        taken = inspect.signature(module.forward).parameters.values()
        names, most = {one.name for one in taken}, {one.kind for one in taken}
        if inspect.Parameter.VAR_KEYWORD in most or names.issuperset(example[0]):
            example, kwargs = (), {str(key): value for key, value in example[0].items()}
    if not any(isinstance(one, Tensor) for one in tree_leaves((example, kwargs))):
        raise Refused(f"{name}: the example holds no tensor; give trace(module, x) an input x")
    return example, kwargs


def _run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    """One run by torch.export, else by watching it; raises Refused where the module refuses."""
    chosen = Chosen(module, one_output)
    with evaluating(module):
        try:
            return exported(chosen, args, kwargs)
        except Refused:
            raise
        except Exception:  # whatever export cannot follow is watched instead
            pass
        try:
            return watched(chosen, args, kwargs)
        except Refused:
            raise
        except Exception as error:
            shapes = [tuple(x.shape) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Refused(
                f"{type(module).__name__} does not run on an example of shape "
                f"{', '.join(map(str, shapes))} ({said}); give an example that it takes"
            ) from None


def one_output(result: Any) -> Tensor:
    """The output of which the depth is asked: the only tensor, or the one that transformers call
    logits or last_hidden_state; raises Refused where it is not clear."""
    if isinstance(result, Tensor):
        return result
    for name in OUTPUTS:
        one = result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)
        if isinstance(one, Tensor):
            return one
    tensors = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    named = ", ".join(map(str, result)) if isinstance(result, Mapping) else type(result).__name__
    raise Refused(
        f"the module returns {len(tensors)} tensors ({named}), and depth is that of one output: "
        "wrap it in a module that returns the one you mean"
    )
