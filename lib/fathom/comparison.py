"""What a replicator asks for: retrain, redraw, and set the new beside the committed."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from fathom import claim, law, notebooks, store
from fathom.spec import Refused
from fathom.store import ROOT

RETRAINED = "build/retrained"
PAPERS = {
    "tp6": "Tensor Programs VI",
    "depthwise": "Depthwise transfer",
    "laws": "Effective-depth law",
}
COLOURS = {claim.HOLDS: "green", claim.FAILS: "red", claim.OPEN: "yellow"}


def figures() -> list[str]:
    """The figure notebooks: all that belong to a paper, but for its claims."""
    return [name for name in notebooks.names() if "/" in name and not name.endswith("/claims")]


def redraw(names: list[str]) -> list[str] | None:
    """Draw figures from the tables through their notebooks, two kernels at a time.

    Returns the files under figures/ that then differ from the committed ones; None where git
    knows of none."""
    with ThreadPoolExecutor(2) as pool:
        for name, _ in zip(names, pool.map(_draw, names), strict=True):
            print(f"drawn: {name}", flush=True)
    if _unknown():
        return None
    changed = _git("status", "--porcelain", "--", "figures").stdout
    return [line[3:] for line in changed.splitlines()]


def _draw(name: str) -> None:
    notebooks.run(name, {"root": "figures"}, name, live=False)


def committed(name: str) -> pd.DataFrame | None:
    """A table as the last commit has it; None where that commit has none."""
    done = _git("show", f"HEAD:./artifacts/{name}.csv")
    return store.parse(done.stdout) if done.returncode == 0 else None


def check_history() -> None:
    """Raises Refused where git has no committed tables to compare with."""
    why = _unknown()
    if why:
        raise Refused(why)


def _unknown() -> str:
    """Why git knows no committed tables of this tree, in a sentence; empty where it does."""
    try:
        done = _git("cat-file", "-e", "HEAD:./artifacts")
    except FileNotFoundError:
        return "git: not installed; comparing with the committed tables needs it"
    if done.returncode == 0:
        return ""
    if "dubious ownership" in done.stderr:
        return (
            f"git: {ROOT} belongs to another user, and git does not read it; if you trust it, "
            f"type git config --global --add safe.directory {ROOT}"
        )
    return (
        f"git: no commit holds the tables of {ROOT}, so there is nothing to compare with; work in "
        "a clone of the repository, or commit artifacts/ before it changes"
    )


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    said = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False, env=said
    )


def compared(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Claims of two evaluations side by side, a row per part. Replicated: the same verdict,
    and intervals that overlap (or are both open)."""
    both = old.merge(new, on=["claim", "part"], suffixes=("_old", "_new"), sort=False)
    apart = (both["low_new"] > both["high_old"]) | (both["low_old"] > both["high_new"])
    both["replicated"] = (both["verdict_old"] == both["verdict_new"]) & ~apart
    return both


def shifts(old: pd.DataFrame, new: pd.DataFrame) -> pd.Series:
    """How far each cell's optimum (mean over seeds) moved between two tables of optima, in
    octaves; only seeds whose optimum a claim may use count, and cells with none are left out."""
    cell = [name for name in old.columns if name not in ("seed", "optimum", "log_loss", "flag")]
    usable = [table[~table["flag"].isin(law.UNUSABLE)] for table in (old, new)]
    means = [table.groupby(cell)["optimum"].mean() for table in usable]
    return (means[1] - means[0]).dropna()


def print_comparison() -> None:
    """Print committed against present, claim by claim and optimum by optimum. Raises Refused
    where git has no committed tables."""
    check_history()
    console = Console(width=None if Console().is_terminal else 120)
    for paper, title in PAPERS.items():
        old = committed(f"claims/{paper}")
        if old is None:
            console.print(f"{title}: the last commit has no claims to compare with")
            continue
        sheet = Table(title=f"{title}: committed and new", title_justify="left")
        for name in ("claim", "committed", "new", "verdict", "replicated"):
            sheet.add_column(name)
        for row in compared(old, store.read(f"claims/{paper}")).to_dict("records"):
            was, now = row["verdict_old"], row["verdict_new"]
            sheet.add_row(
                f"{row['claim']} {row['part']}",
                _range(row["value_old"], row["low_old"], row["high_old"]),
                _range(row["value_new"], row["low_new"], row["high_new"]),
                now if was == now else f"{was} -> {now}",
                "[green]yes" if row["replicated"] else "[red]no",
            )
        console.print(sheet)
    _print_shifts(console)


def _print_shifts(console: Console) -> None:
    sheet = Table(title="Shifts of the optima, octaves", title_justify="left")
    for name in ("table", "optima", "median", "largest"):
        sheet.add_column(name)
    for path in sorted((ROOT / "artifacts" / "law").glob("*.csv")):
        old, new = committed(f"law/{path.stem}"), store.read(f"law/{path.stem}")
        if old is not None and "optimum" in old:
            moved = shifts(old, new).abs()
            sheet.add_row(path.stem, str(len(moved)), f"{moved.median():.3f}", f"{moved.max():.3f}")
    console.print(sheet)


def _range(value: float, low: float, high: float) -> str:
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def print_report() -> None:
    """Print what holds and what does not, where the pictures are, and what to type next."""
    console = Console(width=None if Console().is_terminal else 120)
    sheet = Table(title="What holds at laptop size", title_justify="left")
    for name in ("paper", "claim", "", "verdict", "figure"):
        sheet.add_column(name, overflow="fold")
    for paper, title in PAPERS.items():
        for name, said, parts in evaluated(paper):
            (word,) = claim.overall(parts)
            where = f"figures/{said['figure']}.svg"
            sheet.add_row(title, name, said["says"], f"[{COLOURS[word]}]{word}", where)
    console.print(sheet)
    console.print(
        "The figures are the .svg files under figures/ (any browser shows them).\n"
        "Next: make lab (notebooks), make retrain ENTRY=laws_mlp (minutes), "
        "make retrain (everything)."
    )


def evaluated(paper: str) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """A paper's claims that have been evaluated, with their parts, in the order in which
    claims.yaml tells them."""
    parts = store.read(f"claims/{paper}")
    for name, said in store.params("claims.yaml")[paper].items():
        own = parts[parts["claim"] == name].set_index("part", drop=False)
        own = own.loc[[part for part in said["parts"] if part in own.index]]
        if len(own):
            yield name, said, own


def markdown(paper: str) -> str:
    """The README's table of a paper's claims: each claim with its verdict, then its parts."""
    lines = [
        f"**{PAPERS[paper]}**",
        "",
        "| claim | the paper | ours | target | verdict |",
        "|---|---|---|---|---|",
    ]
    for name, said, parts in evaluated(paper):
        (word,) = claim.overall(parts)
        link = f"[{name}](figures/{said['figure']}.svg)"
        lines.append(f"| **{link} {said['says']}** | | | | **{word}** |")
        lines += [_part(row) for row in parts.to_dict("records")]
    return "\n".join(lines)


def _part(row: dict[Any, Any]) -> str:
    ends = (row["target_low"], row["target_high"])
    low, high = ("" if abs(end) == float("inf") else f"{end:g}" for end in ends)
    wanted = f"{low} to {high}" if low and high else f"≥ {low}" if low else f"≤ {high}"
    ours = _range(row["value"], row["low"], row["high"]).replace("inf", "∞")
    ours = ours.replace("nan [-∞, ∞]", "not measurable")
    more = row["seeds_needed"]
    decide = f"; {more:.0f} seeds would decide" if 0 < more < float("inf") else ""
    return f"| {row['says']} | {row['paper']} | {ours} | {wanted} | {row['verdict']}{decide} |"


def manifest() -> pd.DataFrame:
    """Where every figure comes from: figure, notebook, entries, tables with digests, command."""
    rows = []
    for stage in store.params("dvc.yaml")["stages"].values():
        drawn = [out for one in stage.get("outs", []) for out in one if out.endswith(".svg")]
        tables = [
            dep.removeprefix("artifacts/").removesuffix(".csv")
            for dep in stage.get("deps", [])
            if dep.startswith("artifacts/")
        ]
        for figure in drawn:
            rows.append(
                {
                    "figure": figure,
                    "notebook": next(dep for dep in stage["deps"] if dep.endswith(".ipynb")),
                    "entries": " ".join(
                        name.replace("/", ".")
                        for name in tables
                        if name.split("/")[0] in ("sweep", "probe", "limit", "law")
                    ),
                    "tables": " ".join(f"{name}@{store.digest(name)}" for name in tables),
                    "command": stage["cmd"],
                }
            )
    return pd.DataFrame(rows)
