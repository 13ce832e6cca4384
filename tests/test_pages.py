"""Pages that are written from tables say what the tables say, and links lead somewhere."""

import re

import pandas as pd
import pytest
from fathom import pages, store
from fathom.store import ROOT


def test_pages_are_those_that_the_tables_give() -> None:
    readme = (ROOT / "README.md").read_text()
    assert pages.between(readme, pages.HEADLINES, pages.headline_table()) == readme
    assert pages.between(readme, pages.ADVICE, pages.rule_table()) == readme
    account = (ROOT / pages.ACCOUNT).read_text()
    assert pages.with_values(account) == account
    costs = (ROOT / pages.COSTS_PAGE).read_text()
    lines = pages.cost_table(store.read("bench/costs"))
    assert pages.between(costs, pages.COSTS, lines) == costs
    assert (ROOT / "CLAIMS.md").read_text() == pages.claims_page()
    assert (ROOT / "figures" / "README.md").read_text() == pages.gallery()
    assert len(readme.splitlines()) <= 200


def test_the_table_of_rules_tells_ties_divergence_and_rates_that_were_not_trained() -> None:
    rows = {tuple(line.split(" | ")[:2]): line for line in pages.rule_table()}
    chain, post = rows["| chain", "SGD"], rows["| ViT, norm after", "SGD"]
    assert "| formula (FD), or divide it by the ratio of depths |" in chain
    assert chain.endswith("| keep the rate: diverges |")
    assert post.endswith("| keep the rate: 0.34 |")


def test_the_table_of_costs_sums_the_entries_of_a_paper() -> None:
    table = pd.DataFrame(
        {
            "entry": ["sweep.tp6_lm", "probe.laws_arms", "probe.tp6_lm"],
            "runs": [3, 7, 4],
            "core_minutes": [12.4, 0.25, 0.3],
        }
    )
    said = pages.cost_table(table)
    assert "| `sweep.tp6_lm` | 3 | 12 |" in said and "| `probe.tp6_lm` | 4 | 0.3 |" in said
    assert "| **all of tp6** | 7 | 13 |" in said


def test_every_claim_is_on_the_page_of_claims_and_every_part_has_its_verdict() -> None:
    page = (ROOT / "CLAIMS.md").read_text()
    for paper, claims in store.params("claims.yaml").items():
        verdicts = store.read(f"claims/{paper}").set_index(["claim", "part"])["verdict"]
        for name, one in claims.items():
            assert f">{name}</a> {one['says']}: <b>" in page
            for part, said in one["parts"].items():
                (row,) = [line for line in page.splitlines() if f"| {said['says']} |" in line][:1]
                assert verdicts[name, part] in row or page.count(f"| {said['says']} |") > 1


def test_an_account_that_names_a_part_which_is_not_there_is_refused() -> None:
    with pytest.raises(LookupError, match=r"tp6 C10 has no part none; see claims\.yaml"):
        pages.with_values("<!-- tp6 C10: none --><!-- / -->")


WRITTEN = ["README.md", "CLAIMS.md", "ARCHITECTURE.md", "figures/README.md"]
WRITTEN += [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", WRITTEN)
def test_links_lead_somewhere(page: str) -> None:
    text, place = (ROOT / page).read_text(), (ROOT / page).parent
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'href="([^"]+)"', text)
    inside = [link.split("#")[0] for link in links if not link.startswith("http")]
    assert [link for link in inside if link and not (place / link).exists()] == []
