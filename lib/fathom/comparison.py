"""What a replicator asks for: retrain, redraw, and set the new beside the committed."""

import os
import subprocess

import pandas as pd
from rich.console import Console
from rich.table import Table

from fathom import law, store
from fathom.report import PAPERS
from fathom.spec import Refused
from fathom.store import ROOT

RETRAINED = "build/retrained"


def changed(folder: str) -> list[str] | None:
    """The files of a folder that differ from the committed ones; None where git knows of none."""
    if _unknown():
        return None
    return [line[3:] for line in _git("status", "--porcelain", "--", folder).stdout.splitlines()]


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
