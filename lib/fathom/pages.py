"""The pages that a stage writes: all claims, all figures, where each figure comes from, counts."""

import json
import re
from typing import Any

import pandas as pd

from fathom import claim, law, notebooks, store
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
HEADLINES, ADVICE, COSTS = "headlines", "rules", "costs"
ACCOUNT, COSTS_PAGE = "docs/one-account.md", "docs/costs.md"
VALUE = re.compile(r"<!-- (\w+) (C\d+): ([^>]+?) -->.*?<!-- / -->", re.DOTALL)
RULE_NAMES = {
    "constant": "keep the rate",
    "inverse": "divide it by the ratio of depths",
    "three_halves": "divide it by that ratio to the 3/2",
    "finite_depth": "formula (FD)",
    "all_paths": "sum over all paths",
}


def write() -> None:
    """Write CLAIMS.md, figures/README.md, figures/manifest.csv, the counts of verdicts in
    artifacts/claims, a file for each paper, the tables of headlines and of rules in README.md, the
    measured values in docs/one-account.md and the table in docs/costs.md."""
    store.save_text(claims_page(), "CLAIMS.md")
    store.save_text(gallery(), "figures/README.md")
    store.write(manifest(), "manifest", "figures")
    for paper, said in counts().items():
        store.save_text(json.dumps(said, indent=1) + "\n", f"artifacts/claims/{paper}.json")
    readme = between((ROOT / "README.md").read_text(), HEADLINES, headline_table())
    store.save_text(between(readme, ADVICE, rule_table()), "README.md")
    store.save_text(with_values((ROOT / ACCOUNT).read_text()), ACCOUNT)
    costs = between((ROOT / COSTS_PAGE).read_text(), COSTS, cost_table(store.read("bench/costs")))
    store.save_text(costs, COSTS_PAGE)


def between(page: str, mark: str, lines: list[str]) -> str:
    """A page with lines between the two comments that are called `mark`."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}" + "\n".join(["", *lines]) + f"\n{end}{rest.partition(end)[2]}"


def with_values(page: str) -> str:
    """A page in which every <!-- paper C1: part --> is followed by that part's value, interval and
    verdict, up to <!-- / -->. Raises LookupError for a part that claims.yaml does not have."""
    parts: dict[tuple[str, ...], dict[Any, Any]] = {}
    for paper in PAPERS:
        rows = store.read(f"claims/{paper}").to_dict("records")
        parts |= {(paper, row["claim"], row["part"]): row for row in rows}

    def value(found: re.Match[str]) -> str:
        paper, name, part = found.groups()
        row = parts.get((paper, name, part))
        if row is None:
            raise LookupError(f"{ACCOUNT}: {paper} {name} has no part {part}; see claims.yaml")
        said = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]".replace("-", "−")
        link = f"[{name}](../CLAIMS.md#{paper}-{name})"
        return f"<!-- {paper} {name}: {part} -->{said}, {link} {row['verdict']}<!-- / -->"

    return VALUE.sub(value, page)


def rule_table() -> list[str]:
    """The rule that costs least on each kind of network with those not told apart from it, and the
    one that costs most; behind it those whose rate lies outside of the rates that were trained."""
    lines = ["| network | optimizer | carried to | best rule | it costs | worst rule |"]
    lines.append("|---|---|---|---|---|---|")
    for one in law.advice(store.read).to_dict("records"):
        best = ", or ".join(RULE_NAMES[name] for name in (one["rule"], *one["alike"]))
        cells = (one["network"], one["optimizer"], one["depths"], best)
        costs = f"{one['regret']:.3f} [{one['low']:.3f}, {one['high']:.3f}]".replace("-", "−")
        dear = []
        if one["worst"]:
            worst = one["worst_regret"]
            lost = f"{worst:.2f}" if worst < float("inf") else "diverges"
            dear.append(f"{RULE_NAMES[one['worst']]}: {lost}")
        if one["untrained"]:
            names = ", ".join(RULE_NAMES[name] for name in one["untrained"])
            dear.append(f"outside of the trained rates: {names}")
        lines.append(f"| {' | '.join(cells)} | {costs} | {'; '.join(dear)} |")
    return lines


def headline_table() -> list[str]:
    """The claims with a headline, and their verdicts."""
    lines = ["| result | paper | verdict |", "|---|---|---|"]
    for paper, name, said, parts in headlines():
        link = f"[{said['headline']}](figures/{said['figure']}.svg)"
        word, held = claim.overall(parts).iloc[0], int((parts["verdict"] == claim.HOLDS).sum())
        count = "" if word == claim.HOLDS else f" ({held} of {len(parts)} parts hold)"
        lines.append(f"| {link} | {PAPERS[paper]}, {name} | **{word}**{count} |")
    return lines


def cost_table(table: pd.DataFrame) -> list[str]:
    """The runs and the minutes of one core of every entry, as `python bench --costs` measures them
    (columns entry, runs, core_minutes), and of all entries of a paper together."""
    lines = ["| entry | runs | minutes of one core |", "|---|---|---|"]
    paper = table["entry"].str.extract(r"\.([a-z0-9]+)_")[0]
    for name, part in table.groupby(paper, sort=False):
        for one in part.to_dict("records"):
            minutes = one["core_minutes"]
            shown = f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"
            lines.append(f"| `{one['entry']}` | {one['runs']} | {shown} |")
        if name in PAPERS:
            whole = f"{part['runs'].sum()} | {part['core_minutes'].sum():.0f}"
            lines.append(f"| **all of {name}** | {whole} |")
    return lines


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
            lines += _claim(paper, name, one, parts)
    return "\n".join(lines)


def _claim(paper: str, name: str, said: dict[str, Any], parts: pd.DataFrame) -> list[str]:
    word = claim.overall(parts).iloc[0]
    return [
        f'<details><summary><a id="{paper}-{name}" href="figures/{said["figure"]}.svg">{name}</a> '
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
