import inspect
import itertools
import math
from typing import Any

import pandas as pd
import pytest
from fathom import claim, law, store
from fathom.claim import FAILS, HOLDS, OPEN, OUT
from fathom.law import Interval
from fathom.spec import COLUMNS, LATER, MEASURED, Limit
from fathom.spec.limits import SOLVED_BY
from fathom.theory.cases import COLUMNS as SOLVER_COLUMNS

CLAIMS = store.params("claims.yaml")
PARAMS = store.params()
PARTS = {
    f"{paper}-{name}-{part}": said
    for paper, claims in CLAIMS.items()
    for name, one in claims.items()
    for part, said in one["parts"].items()
}


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.2, 0.8, HOLDS),
        (0.0, 1.0, HOLDS),
        (1.1, 1.9, FAILS),
        (-1.9, -0.1, FAILS),
        (0.5, 1.5, OPEN),
        (-0.5, 0.5, OPEN),
        (-1.0, 2.0, OPEN),
    ],
)
def test_the_verdict_follows_from_where_the_interval_lies(
    low: float, high: float, word: str
) -> None:
    assert claim.verdict(Interval((low + high) / 2, low, high, 5), 0.0, 1.0) == word


def test_an_unknown_value_decides_nothing() -> None:
    found = law.interval([1.0, math.nan])
    assert claim.verdict(found, -math.inf, math.inf) == OPEN
    assert math.isnan(claim.seeds_needed(found, {"target": [0, 1]}))


def test_null_is_an_open_end() -> None:
    low, high = claim.target({"target": [None, -0.5]})
    assert claim.verdict(Interval(-9.0, -90.0, -0.6, 5), low, high) == HOLDS
    assert claim.verdict(Interval(9.0, -0.4, 90.0, 5), low, high) == FAILS
    assert claim.target({"target": [0, None]}) == (0.0, math.inf)


def test_an_interval_without_end_is_no_holding_of_a_target_that_ends() -> None:
    diverged = law.interval([0.3, 0.4, math.inf])
    assert claim.verdict(diverged, 0.0, 1.0) == OPEN
    assert claim.verdict(diverged, 0.1, math.inf) == HOLDS
    assert claim.verdict(law.interval([math.inf, math.inf]), 0.0, 1.0) == FAILS


def test_seeds_are_asked_for_by_the_target_and_never_by_the_value() -> None:
    half = {"target": [0, 4]}  # a quarter of its width: 1
    assert claim.half_width(half) == 1
    for value in (0.1, 2.0, 3.9):
        assert claim.seeds_needed(Interval(value, value - 2, value + 2, 5), half) == 20
    assert math.isnan(claim.seeds_needed(Interval(0.1, -0.9, 1.1, 5), half))  # narrow enough: bias
    assert claim.half_width({"target": [None, -0.37]}) == pytest.approx(0.185)
    assert math.isnan(claim.half_width({"target": [None, 0]}))
    assert claim.half_width({"target": [None, 0], "half_width": 0.01}) == 0.01


def parts(*found: tuple[str, str]) -> pd.DataFrame:
    rows = [
        {"claim": name, "part": f"part {i}", "verdict": word, "figure": f"fig {name}"}
        for i, (name, word) in enumerate(found)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ([HOLDS], HOLDS),
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, OPEN], OPEN),
        ([HOLDS, FAILS, OPEN], FAILS),
        ([OPEN], OPEN),
        ([HOLDS, OUT], OUT),
        ([OUT, OPEN], OPEN),
        ([OUT, FAILS], FAILS),
    ],
)
def test_a_claim_holds_only_if_all_its_parts_do(words: list[str], whole: str) -> None:
    assert claim.overall(parts(*(("C1", word) for word in words)))["C1"] == whole


def test_claims_are_judged_apart_and_keep_their_order() -> None:
    found = claim.overall(parts(("C9", HOLDS), ("C10", FAILS), ("C9", HOLDS)))
    assert list(found.items()) == [("C9", HOLDS), ("C10", FAILS)]


def test_words_are_claims_and_the_parts_of_those_that_have_several() -> None:
    table = parts(("C9", HOLDS), ("C10", OPEN), ("C9", FAILS))
    said = f"C9: {FAILS}\n  part 0: {HOLDS}\n  part 2: {FAILS}\nC10: {OPEN}"
    assert claim.words(table) == said
    assert claim.words(table, figure="fig C10") == f"C10: {OPEN}"


def test_a_part_is_measured_on_its_table_and_set_against_its_target() -> None:
    table = pd.DataFrame({"seed": [1, 2, 3], "regret": [0.1, 0.2, 0.3], "rules": "mup"})
    part = {"says": "s", "paper": "p", "source": "q", "measure": "mean_regret", "table": "law/a"}
    part |= {"with": {"given": {"rules": "mup"}}, "target": [None, 0.15]}
    claims = {"C1": {"figure": "f", "parts": {"a": part}}}
    row = claim.evaluate(claims, {"law/a": table}).iloc[0]
    assert claim.tables_of(claims) == ["law/a"]
    assert row["value"] == pytest.approx(0.2)
    assert (row["claim"], row["verdict"], row["figure"]) == ("C1", OPEN, "f")
    assert (row["target_low"], row["target_high"]) == (-math.inf, 0.15)
    assert row["seeds_needed"] > 3
    assert row["reason"] == f"needs {row['seeds_needed']:.0f} seeds"


def test_only_an_inconclusive_part_needs_seeds() -> None:
    table = pd.DataFrame({"seed": [1, 2, 3], "regret": [0.1, 0.2, 0.3]})
    part: dict[str, Any] = {"says": "", "paper": "", "source": "", "measure": "mean_regret"}
    part |= {"table": "law/a", "with": {"given": {}}, "target": [None, 9.0]}
    found = claim.evaluate({"C1": {"figure": "f", "parts": {"a": part}}}, {"law/a": table})
    assert found["seeds_needed"].isna().all()


def test_regret_is_averaged_over_cells_and_unknown_where_a_cell_is() -> None:
    table = pd.DataFrame({"seed": [1, 2, 1, 2], "regret": [0.1, 0.3, 0.3, 0.5]})
    assert law.mean_regret(table, given={}).value == pytest.approx(0.3)
    lost = pd.DataFrame({"seed": [1, 2], "regret": math.nan})
    assert math.isnan(law.mean_regret(pd.concat([table, lost]), given={}).value)


def test_a_gap_of_regrets_is_of_their_medians_seed_by_seed() -> None:
    table = pd.DataFrame({"seed": [1, 2] * 4, "prediction": ["a"] * 6 + ["b"] * 2})
    table["regret"] = [0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 0.5, 0.7]
    found = law.regret_gap(table, first="a", second="b", given={})
    assert found.value == pytest.approx(((0.3 - 0.5) + (0.4 - 0.7)) / 2)


def test_the_worst_gap_is_at_the_depth_where_the_first_is_least_better() -> None:
    table = pd.DataFrame({"depth": [4, 4, 8, 8] * 2, "seed": [1, 2] * 4})
    table["phi"] = ["abs"] * 4 + ["relu"] * 4
    table["flag"] = ""
    table["log_loss"] = [-2, -2.2, -1.1, -1.3, -1, -1, -1, -1]
    found = law.worst_gap(table, first={"phi": "abs"}, second={"phi": "relu"}, given={})
    assert found.value == pytest.approx(-0.2)


def test_the_worst_gap_is_unknown_where_both_sides_diverged_at_a_depth() -> None:
    table = pd.DataFrame({"depth": [4, 4, 8, 8] * 2, "seed": [1, 2] * 4})
    table["phi"] = ["abs"] * 4 + ["relu"] * 4
    table["flag"] = ""
    table["log_loss"] = [-2, -2.2, math.inf, math.inf, -1, -1, math.inf, math.inf]
    found = law.worst_gap(table, first={"phi": "abs"}, second={"phi": "relu"}, given={})
    assert math.isnan(found.value)


@pytest.mark.parametrize("flag", ["edge", "lost", "failed"])
def test_a_gap_does_not_rest_on_optima_a_claim_may_not_use(flag: str) -> None:
    table = pd.DataFrame({"depth": 4, "seed": [1, 2] * 2, "phi": ["abs"] * 2 + ["relu"] * 2})
    table = table.assign(log_loss=[-2, -2.2, 9, 9], flag=["", "", "", flag])
    found = law.worst_gap(table, first={"phi": "abs"}, second={"phi": "relu"}, given={})
    assert math.isnan(found.value)


def test_a_measure_that_does_not_exist_is_named_in_a_sentence() -> None:
    part = {"measure": "slop", "target": [None, 1], "table": "law/a", "with": {}}
    with pytest.raises(LookupError, match="C1 a: slop is not one of slope"):
        claim.evaluate({"C1": {"figure": "f", "parts": {"a": part}}}, {})


def test_the_worst_ratio_is_at_the_depth_farthest_from_the_formula() -> None:
    table = pd.DataFrame({"depth": [4, 4, 8, 8], "seed": [1, 2] * 2})
    table["optimum"] = [math.log2(law.finite_depth(depth)) for depth in table["depth"]]
    exact = law.worst_ratio(table, kappa=2, constant=1, given={})
    assert exact[:4] == pytest.approx((1, 1, 1, 2))
    table["optimum"] -= [0.0, 0.1, 0.3, 0.1]
    off = law.worst_ratio(table, kappa=2, constant=1, given={})
    assert off.value == pytest.approx(2**-0.2)
    assert off.low < off.value < off.high


ALL = {
    f"{name}-{i}": one
    for name, part in PARTS.items()
    for i, one in enumerate(claim.everything(part))
}


@pytest.mark.parametrize("name", ALL)
def test_what_is_measured_in_claims_yaml_names_a_measure_that_takes_its_settings(name: str) -> None:
    part = ALL[name]
    read = [pd.DataFrame() for _ in claim.read_by(part)]
    inspect.signature(law.MEASURES[part["measure"]]).bind(*read, **part["with"])


@pytest.mark.parametrize("name", PARTS)
def test_a_part_in_claims_yaml_says_what_where_and_why(name: str) -> None:
    part = PARTS[name]
    words = {"says", "paper", "source", "why"}
    may = {"against", "provided", "towards", "half_width", "first_stage", "wants"}
    assert set(part) - may == words | {"measure", "table", "with", "target"}
    assert all(isinstance(part[word], str) and part[word] for word in words)
    for control in part.get("provided", {}).values():
        wanted = {"says", "measure", "table", "with", "target", "reach"}
        assert set(control) - {"against"} == wanted
    for change in part.get("towards", {}).values():
        assert set(change) <= {"table", "against", "with", "given"}
    assert len(part.get("towards", {})) in (0, claim.STEPS)
    if "wants" in part:
        assert part["wants"].split(":")[0] in claim.NEEDS


@pytest.mark.parametrize("name", ALL)
def test_what_is_measured_in_claims_yaml_has_a_target_that_can_be_missed(name: str) -> None:
    low, high = claim.target(ALL[name])
    assert low <= high
    assert (low, high) != (-math.inf, math.inf)


@pytest.mark.parametrize("name", ALL)
def test_what_is_measured_in_claims_yaml_is_measured_on_an_entry(name: str) -> None:
    engine, _, entry = ALL[name]["table"].partition("/")
    assert engine in ("law", "limit", "probe", "sweep")
    assert entry in PARAMS[engine]


def columns(table: str) -> set[str]:
    """What a part may choose by in a table."""
    engine, _, key = table.partition("/")
    entry = PARAMS[engine][key]
    if engine == "law":
        transfer = ["prediction", "missed"] if entry["derive"] == "transfer" else ["optimum"]
        return {*entry["by"], "seed", "log_loss", *transfer}
    if engine == "limit" and "solve" in entry:
        solver = SOLVED_BY[entry["solve"]]
        return {*solver.model_fields, *SOLVER_COLUMNS[solver.__name__]}
    measure = {"probe": entry.get("measure"), "limit": "layer_sizes"}.get(engine, "train")
    return {*COLUMNS, *LATER, *MEASURED[measure]}


@pytest.mark.parametrize("name", ALL)
def test_what_is_measured_chooses_by_columns_that_its_table_has(name: str) -> None:
    said, table = dict(ALL[name]["with"]), ALL[name]["table"]
    assert said.pop("limits", {}).keys() <= Limit.model_fields.keys()
    takes = inspect.signature(law.MEASURES[ALL[name]["measure"]]).parameters
    along = said.get("along", takes["along"].default if "along" in takes else "seed")
    of = said.get("of", "seed")
    used = {along, *([of] if isinstance(of, str) else of)}
    for key, chosen in said.items():
        other = ALL[name].get("against", table) if key == "second" else table
        assert not isinstance(chosen, dict) or chosen.keys() <= columns(other)
    assert used <= columns(table)


def test_every_claim_says_something_and_names_its_figure() -> None:
    for claims in CLAIMS.values():
        for one in claims.values():
            assert set(one) - {"headline"} == {"says", "figure", "parts"}
            assert one["parts"]


def test_a_gap_counts_seeds_that_both_sides_were_trained_with() -> None:
    table = pd.DataFrame({"depth": 4, "seed": [1, 2, 3, 1, 2], "flag": ""})
    table["phi"] = ["abs"] * 3 + ["relu"] * 2
    table["log_loss"] = [-2, -2.2, 9, -1, -1]
    sides = {"first": {"phi": "abs"}, "second": {"phi": "relu"}, "given": {}}
    for found in (
        law.worst_gap(table, **sides),
        law.MEASURES["level_gap"](table, of="log_loss", **sides),
    ):
        assert found.value == pytest.approx(-1.1)
        assert found.seeds == 2


def test_what_is_added_has_exponent_0_where_a_share_is_faster_by_the_root_of_depth() -> None:
    rows = []
    for seed, depth in itertools.product((1, 2), (16, 64, 256)):
        plain = 0.2 + 0.1 * seed
        fast = plain + 0.3 * plain * (math.sqrt(depth / 4) - 1)
        rows += [{"seed": seed, "depth": depth, "rules": "plain", "x": plain}]
        rows += [{"seed": seed, "depth": depth, "rules": "fast", "x": fast}]
    table, sides = pd.DataFrame(rows), {"first": {"rules": "fast"}, "second": {"rules": "plain"}}
    measure = law.MEASURES["added_growth"]
    assert measure(table, of="x", **sides, given={}, base=4).value == pytest.approx(0)
    assert measure(table, of="x", **sides, given={}, base=8).value != pytest.approx(0, abs=0.02)
    swapped = {"first": sides["second"], "second": sides["first"]}
    assert math.isinf(measure(table, of="x", **swapped, given={}, base=4).value)
