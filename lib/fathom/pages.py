"""The pages that a stage writes: all claims, all figures, where each figure comes from, counts."""

import json
from typing import Any

import pandas as pd

from fathom import claim, notebooks, store
from fathom.report import PAPERS, counts, evaluated, headlines
from fathom.store import ROOT

INTRODUCTION = """\
A claim is a sentence of a paper, cut into parts that can be measured. A part **holds** where the
95 % interval over seeds lies inside the target. It **does not hold** where the interval lies
wholly outside and two steps towards the paper's setting, named beforehand, find the same. It is
**out of reach** where a control shows that the setting cannot show the effect, and
**inconclusive** otherwise. A claim holds only where all its parts do. Targets, controls and steps
are in [claims.yaml](claims.yaml); [evidence](docs/evidence.md) tells how verdicts are made. A
claim's name leads to its figure; the triangle unfolds its parts. A stage writes this page."""
BEGIN, END = "<!-- headlines -->", "<!-- /headlines -->"


def write() -> None:
    """Write CLAIMS.md, figures/README.md, figures/manifest.csv, the counts of verdicts in
    artifacts/claims, a file for each paper, and the table of headlines in README.md."""
    store.save_text(claims_page(), "CLAIMS.md")
    store.save_text(gallery(), "figures/README.md")
    store.write(manifest(), "manifest", "figures")
    for paper, said in counts().items():
        store.save_text(json.dumps(said, indent=1) + "\n", f"artifacts/claims/{paper}.json")
    store.save_text(with_headlines((ROOT / "README.md").read_text()), "README.md")


def with_headlines(page: str) -> str:
    """A page with the table of headlines between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = ["", "| result | paper | verdict |", "|---|---|---|"]
    for paper, name, said, parts in headlines():
        link = f"[{said['headline']}](figures/{said['figure']}.svg)"
        word, held = claim.overall(parts).iloc[0], int((parts["verdict"] == claim.HOLDS).sum())
        count = "" if word == claim.HOLDS else f" ({held} of {len(parts)} parts hold)"
        lines.append(f"| {link} | {PAPERS[paper]}, {name} | **{word}**{count} |")
    return f"{before}{BEGIN}" + "\n".join(lines) + f"\n{END}{after}"


def claims_page() -> str:
    """All claims of all papers: a line for each, its parts folded below it."""
    lines = [
        "# Every claim, and whether it holds",
        "",
        *INTRODUCTION.splitlines(),
        "",
    ]
    for paper, said in counts().items():
        both = [
            ", ".join(f"{word} {count}" for word, count in said[kind].items())
            for kind in ("claims", "parts")
        ]
        lines += [f"## {PAPERS[paper]}", "", f"Claims: {both[0]}. Parts: {both[1]}.", ""]
        for name, one, parts in evaluated(paper):
            lines += _claim(name, one, parts)
    return "\n".join(lines)


def _claim(name: str, said: dict[str, Any], parts: pd.DataFrame) -> list[str]:
    word = claim.overall(parts).iloc[0]
    return [
        f'<details><summary><a href="figures/{said["figure"]}.svg">{name}</a> '
        f"{said['says']}: <b>{word}</b></summary>",
        "",
        "| part | the paper | ours | target | verdict | table |",
        "|---|---|---|---|---|---|",
        *(_part(row, said["parts"][row["part"]]["table"]) for row in parts.to_dict("records")),
        "",
        "</details>",
        "",
    ]


def _part(row: dict[Any, Any], table: str) -> str:
    ends = (row["target_low"], row["target_high"])
    low, high = ("" if abs(end) == float("inf") else f"{end:g}" for end in ends)
    wanted = f"{low} to {high}" if low and high else f"≥ {low}" if low else f"≤ {high}"
    ours = f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}]".replace("inf", "∞")
    ours = ours.replace("nan [-∞, ∞]", "not measurable")
    reason = row["reason"] if isinstance(row["reason"], str) and row["reason"] else ""
    more = f" ({reason})" if reason else ""
    cells = (row["says"], row["paper"], ours, wanted, f"**{row['verdict']}**{more}")
    return f"| {' | '.join(cells)} | [{table}](artifacts/{table}.csv) |"


def figures() -> list[dict[str, Any]]:
    """Every figure: its file, its stage's command, its notebook, the tables it is drawn from."""
    found = []
    for stage in store.params("dvc.yaml")["stages"].values():
        notebook = stage.get("cmd", "").split()[-1:]
        tables = [
            dep.removeprefix("artifacts/").removesuffix(".csv")
            for dep in stage.get("deps", [])
            if dep.endswith(".csv")
        ]
        for out in (name for one in stage.get("outs", []) for name in one if name.endswith(".svg")):
            about = {"command": stage["cmd"], "notebook": f"notebooks/{notebook[0]}.ipynb"}
            found.append({"figure": out, **about, "tables": tables})
    return found


def manifest() -> pd.DataFrame:
    """Where every figure comes from: figure, notebook, entries, tables with digests, command."""
    rows = []
    for one in figures():
        entries = [name for name in one["tables"] if not name.startswith(("paper/", "claims/"))]
        rows.append(
            {
                "figure": one["figure"],
                "notebook": one["notebook"],
                "entries": " ".join(name.replace("/", ".") for name in entries),
                "tables": " ".join(f"{name}@{store.digest(name)}" for name in one["tables"]),
                "command": one["command"],
            }
        )
    return pd.DataFrame(rows)


def gallery() -> str:
    """Every figure as a picture, under the finding that is its notebook's title."""
    lines = ["# All figures", "", "This page is written by a stage.", ""]
    for paper, title in PAPERS.items():
        lines += [f"## {title}", ""]
        for one in (one for one in figures() if one["figure"].startswith(f"figures/{paper}/")):
            place = one["figure"].removeprefix("figures/")
            alt = (
                (ROOT / one["figure"].replace(".svg", ".txt")).read_text().strip().replace("]", ")")
            )
            tables = ", ".join(f"[{name}](../artifacts/{name}.csv)" for name in one["tables"])
            lines += [
                f"### {notebooks.title(one['notebook'])}",
                "",
                f"![{alt.replace('[', '(')}]({place})",
                "",
                f"[Notebook](../{one['notebook']}). Tables: {tables}.",
                "",
            ]
    return "\n".join(lines)
