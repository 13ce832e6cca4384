"""What a person sees at the end: how many claims hold, the most telling of them, what to type."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from fathom import claim, store

PAPERS = {
    "tp6": "Tensor Programs VI",
    "depthwise": "Depthwise transfer",
    "laws": "Effective-depth law",
}
COLOURS = {claim.HOLDS: "green", claim.FAILS: "red", claim.OPEN: "yellow", claim.OUT: "blue"}


def evaluated(paper: str) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """A paper's claims that have been evaluated, with their parts, in the order in which
    claims.yaml lists them."""
    parts = store.read(f"claims/{paper}")
    for name, said in store.params("claims.yaml")[paper].items():
        own = parts[parts["claim"] == name].set_index("part", drop=False)
        own = own.loc[[part for part in said["parts"] if part in own.index]]
        if len(own):
            yield name, said, own


def counts() -> dict[str, dict[str, dict[str, int]]]:
    """How many claims, and how many parts of claims, have each verdict: by paper, then
    "claims" or "parts", then verdict."""
    found = {}
    for paper in PAPERS:
        parts = store.read(f"claims/{paper}")
        both = {"claims": claim.overall(parts), "parts": parts["verdict"]}
        found[paper] = {
            kind: {word: int((verdicts == word).sum()) for word in COLOURS}
            for kind, verdicts in both.items()
        }
    return found


def headlines() -> Iterator[tuple[str, str, dict[str, Any], pd.DataFrame]]:
    """The claims with a headline in claims.yaml: paper, claim, what claims.yaml says, its parts."""
    for paper in PAPERS:
        for name, said, parts in evaluated(paper):
            if "headline" in said:
                yield paper, name, said, parts


def print_report() -> None:
    """Print counts by paper and verdict, the headline claims, and what to type next."""
    console = Console(width=None if Console().is_terminal else 120)
    sheet = Table(title="Claims at laptop size", title_justify="left")
    for name in ("paper", *COLOURS):
        sheet.add_column(name)
    for paper, said in counts().items():
        numbers = [f"[{COLOURS[word]}]{count}" for word, count in said["claims"].items()]
        sheet.add_row(PAPERS[paper], *numbers)
    console.print(sheet)
    lines = Table.grid(padding=(0, 2))
    for paper, name, said, parts in headlines():
        word = claim.overall(parts).iloc[0]
        lines.add_row(f"[{COLOURS[word]}]{word}", f"{paper} {name}", said["headline"])
    console.print(lines)
    console.print(
        "\nAll claims: CLAIMS.md. All pictures: figures/README.md.\n"
        "Next: make lab (notebooks), make retrain ENTRY=laws_mlp (minutes), make retrain\n"
        "(everything), make compare (what you retrained beside what is committed)."
    )
