"""The measured tables as markdown."""

import math
import os
from pathlib import Path

import pandas as pd
import torch
from fathom.pages import cost_table
from fathom.training.kernels.blas import kernels

LOOP = {32: 5.0, 64: 3.0, 128: 2.0, 256: 1.4}  # aims: times faster than the loop, by width
OTHER = 1.5  # of any other family, at laptop sizes
JAX, TWO_WORKERS, GIB = 1.3, 1.8, 4.0
KIND = ["family", "form", "phi", "kind", "width", "depth", "batch"]
STEPS = ["network, batch", "loop, ms", "JAX, ms", "Fathom, ms", "loop / Fathom", "aim"]
STEPS += ["Fathom / JAX", "aim", "GF/s", "of the rate", "JAX compiles"]


def machine() -> str:
    """What was measured on; for the eye, never for a table in artifacts/."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    return (
        f"Measured on {name}, {os.cpu_count()} cores, torch {torch.__version__}, OpenBLAS with "
        f"kernels {kernels()}. A GPU is measured apart (gpu.csv)."
    )


def steps(table: pd.DataFrame) -> str:
    """The table of steps, a line for every kind of run."""
    lines = []
    for _, group in table.groupby(KIND, sort=False):
        own, loop = (group[group["peer"] == name].iloc[0] for name in ("fathom", "loop"))
        issue = list(own[["family", "phi", "depth", "batch"]]) == ["resmlp", "relu", 16, 64]
        text = own["family"] not in ("mlp", "resmlp")
        line = [_network(own), _spread(loop, "ms"), "not written" if text else "not installed"]
        line += [_spread(own, "ms")]
        aim = _aim(loop["of_fathom"], least=LOOP[own["width"]]) if issue else ""
        aim = _aim(loop["of_fathom"], least=OTHER) if text else aim
        line += [_spread(loop, "of_fathom"), aim, "", ""]
        line += [_short(own["gflops"]), f"{100 * own['share']:.0f} %", ""]
        for _, best in group[group["peer"] == "jax"].sort_values("ms").head(1).iterrows():
            runs = f", {best['runs']:.0f} runs" if best["runs"] > 1 else ", 1 run"
            line[2] = _spread(best, "ms") + runs
            low, high = 1 / best["of_fathom_high"], 1 / best["of_fathom_low"]
            line[6] = f"{_short(1 / best['of_fathom'])} ({_short(low)}-{_short(high)})"
            smooth = own["phi"] in ("tanh", "gelu")
            line[7] = (
                _aim(1 / best["of_fathom"], most=1.0 if smooth else JAX) if issue or smooth else ""
            )
            line[10] = f"{best['compile_s']:.1f} s"
        lines.append(line)
    rates = [table[table["peer"] == name]["gflops"].median() for name in ("openblas", "torch.mm")]
    told = (
        "One core. Milliseconds per run and step: median (least-most) over the rounds; ratios are "
        "taken inside a round. JAX: the better of 1 run and 16 side by side. The rate is that of a "
        f"product of two 2048 x 2048 matrices, {_short(rates[0])} GF/s by OpenBLAS and "
        f"{_short(rates[1])} by torch, the higher one."
    )
    missing = (
        "" if (table["peer"] == "jax").any() else " JAX: not installed (pip install .[bench])."
    )
    return f"{_table(STEPS, lines)}\n\n{told}{missing}"


def sweeps(table: pd.DataFrame) -> str:
    """The table of the whole sweep and of a share of it."""
    rows = {(row["peer"], row["part"], row["workers"]): row for _, row in table.iterrows()}
    own, loop = rows["fathom", "whole", 2], rows["loop", "whole", 2]
    one, two = rows["fathom", "share", 1], rows["fathom", "share", 2]
    gain = one["seconds"] / two["seconds"]
    lines = [
        [f"Fathom, {own['entry']}, {own['runs']} runs", _span(own["seconds"]), ""],
        ["loop, the same runs (extrapolated)", _span(loop["seconds"]), ""],
        ["loop / Fathom", _short(loop["seconds"] / own["seconds"]), ""],
        [f"one worker, {one['runs']} runs", f"{_spread(one, 'seconds')} s", ""],
        [f"two workers, {two['runs']} runs", f"{_spread(two, 'seconds')} s", ""],
        ["one / two workers", _short(gain), _aim(gain, least=TWO_WORKERS)],
        ["memory", f"{_short(own['peak_gib'])} GiB", _aim(own["peak_gib"], most=GIB)],
    ]
    told = (
        "Two cores. Fathom: a fresh process that knows nothing and has nothing compiled, from its "
        "start to its end. Loop: one run of every size was timed and multiplied by how many there "
        "are of it, divided by two cores as if sharing were free; its start-up is left out. "
        "Workers: the seconds of the sweep with their start, nothing to compile. Memory: the most "
        "that each process of the whole sweep held, summed."
    )
    return f"{_table(['', 'measured', 'aim'], lines)}\n\n{told}"


def costs(table: pd.DataFrame) -> str:
    """The table of what entries take, a line for each and one for every paper."""
    return "\n".join(cost_table(table))


def _network(row: pd.Series) -> str:
    names = {"resmlp": "blocks", "mlp": "matrices", "lm": "transformer layers"}
    names |= {"cnn": "convolutions", "resconv": "branches of convolutions", "vit": "vision layers"}
    names |= {"linearised": "linearised blocks"}
    layers = f"{row['depth']} {names[row['family']]}{', ' * bool(row['form'])}{row['form']}"
    kind = "Adam" if row["kind"] == "adam" else "SGD"
    return f"width {row['width']}, {layers}, {row['phi']}, {kind}, {row['batch']}"


def _spread(row: pd.Series, name: str) -> str:
    return f"{_short(row[name])} ({_short(row[f'{name}_low'])}-{_short(row[f'{name}_high'])})"


def _aim(value: float, least: float = -math.inf, most: float = math.inf) -> str:
    wanted = f"at least {least:g}" if math.isinf(most) else f"at most {most:g}"
    return f"{wanted}: {'met' if least <= value <= most else 'missed'}"


def _span(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds > 90 else f"{seconds:.1f} seconds"


def _short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
