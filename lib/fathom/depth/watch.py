"""One run of a module as a list of operations, by watching what torch computes: for modules that
torch.export cannot follow."""

import linecache
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from fathom.depth.capture import Chosen, Operation, Ref, Run, input_names, line_of, name_of


def watched(module: Chosen, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Run:
    """The run that torch makes of the example, operation by operation."""
    names = input_names(module.inner, args, kwargs)
    watch = _Watch()
    run = Run(watch.operations, {}, {}, -1, "one run")
    for name, weight in module.inner.named_parameters(remove_duplicate=False):
        run.parameters.setdefault(watch.number(weight), name)
    for name, leaf in zip(names, tree_leaves((args, kwargs)), strict=True):
        if isinstance(leaf, Tensor):
            run.inputs[watch.number(leaf)] = name
    hooks = list[Any]()
    for path, part in module.inner.named_modules():
        hooks.append(part.register_forward_pre_hook(partial(_enter, watch.inside, path)))
        hooks.append(part.register_forward_hook(partial(_leave, watch.inside), always_call=True))
    try:
        with torch.random.fork_rng(devices=[]), watch:
            output = module(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return run._replace(output=watch.number(output))


def _enter(inside: list[str], path: str, *_: Any) -> None:
    inside.append(path)


def _leave(inside: list[str], *_: Any) -> None:
    inside.pop()


class _Watch(TorchDispatchMode):
    """Writes down every operation that torch dispatches, and keeps its tensors alive."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.inside = list[Operation](), list[str]()
        self.numbers, self.next = dict[int, int](), count()
        self.kept = list[Tensor]()
        self.stored = dict[int, list[Tensor]]()

    def number(self, tensor: Tensor, anew: bool = False) -> int:
        """The number of a tensor; a new one where it has just been written to."""
        if id(tensor) not in self.numbers:
            self.kept.append(tensor)
            if tensor.layout == torch.strided:
                self.stored.setdefault(tensor.untyped_storage()._cdata, []).append(tensor)
        if anew or id(tensor) not in self.numbers:
            self.numbers[id(tensor)] = next(self.next)
        return self.numbers[id(tensor)]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        operands = tree_map_only(Tensor, lambda one: Ref(self.number(one)), (args, kwargs))
        leaves = tuple(tree_leaves(operands))
        result = func(*args, **kwargs)
        written = func._schema.is_mutable
        made = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        results = tuple(self.number(one, anew=written) for one in made)
        module, line = self.inside[-1] if self.inside else "", _here()
        self.operations.append(Operation(name_of(func), leaves, results, module, line))
        for one in made if written else []:
            self._spread(one, module, line)
        return result

    def _spread(self, written: Tensor, module: str, line: str) -> None:
        """What shares its memory with a tensor that was written to holds part of it now."""
        for other in self.stored.get(written.untyped_storage()._cdata, []):
            if other is not written:
                parts = Ref(self.number(other)), Ref(self.number(written))
                result = (self.number(other, anew=True),)
                self.operations.append(Operation("copy_into", parts, result, module, line))


def _here() -> str:
    """The line of Python outside of torch and of this file that torch was called from."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if "/torch/" not in file and file != __file__ and "contextlib" not in file:
            return line_of(file, frame.f_lineno, linecache.getline(file, frame.f_lineno))
        frame = frame.f_back
    return ""
