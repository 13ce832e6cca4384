"""Executing a notebook in this process, without a kernel of its own: a papermill engine.

A notebook that only reads tables takes a second; starting a kernel and importing in it takes
four. In Jupyter and under nbval the same notebooks run in kernels.
"""

import ast
import contextlib
import io
from typing import Any

from IPython.core.formatters import DisplayFormatter
from nbformat import NotebookNode, v4
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

NAME = "in_process"


class InProcess(Engine):
    """Run each code cell as Python: the last expression is its result, what it prints its stream.

    An error in a cell is raised as it is; nothing of IPython's (magics, display) is known."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **kwargs: Any
    ) -> None:
        variables: dict[str, Any] = {"__name__": "__main__"}
        for index, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type != "code":
                continue
            nb_man.cell_start(cell, index)
            try:
                cell.outputs = run_cell(cell.source, variables)
            except BaseException as error:
                nb_man.cell_exception(cell, index, exception=error)
                raise
            shown = "".join(one.text for one in cell.outputs if one.output_type == "stream")
            print(shown, end="", file=kwargs["stdout_file"] or io.StringIO(), flush=True)
            nb_man.cell_complete(cell, index)


def run_cell(source: str, variables: dict[str, Any]) -> list[NotebookNode]:
    """Execute a cell's source in a namespace; returns its outputs in the notebook format."""
    parsed, printed = ast.parse(source), io.StringIO()
    last = parsed.body.pop() if parsed.body and isinstance(parsed.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(parsed, "<cell>", "exec"), variables)
        result = last and eval(
            compile(ast.Expression(last.value), "<cell>", "eval"),  # pyright: ignore
            variables,
        )
    outputs = []
    if printed.getvalue():
        outputs.append(v4.new_output("stream", name="stdout", text=printed.getvalue()))
    if result is not None:
        data, metadata = DisplayFormatter().format(result)
        outputs.append(v4.new_output("execute_result", data=data, metadata=metadata))
    return outputs


papermill_engines.register(NAME, InProcess)
