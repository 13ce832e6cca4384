import math
from typing import Any

import pytest
from conftest import MakeRuns
from fathom import law, measurement, phi, spec
from fathom.networks.families import FAMILIES
from fathom.networks.parametrization import PARAMETRIZATIONS
from fathom.spec import MEASURED, UNTRAINED, Law, Net, Part, Probe, Refused, Run, grid, settings
from fathom.spec.grid import PARTS
from fathom.sweeps.sweep import sweep
from fathom.training import train
from pydantic import create_model

PLACE = "params.yaml sweep.some"
LAW = {"reads": "sweep/some", "derive": "optima", "by": ["depth"], "metric": "loss_mean"}
MISSING = object()


def entry(path: str = "", value: Any = None, **net: Any) -> dict[str, Any]:
    """A small entry; with a path such as net.width, that key set to a value or taken out."""
    said: dict[str, Any] = {
        "net": {"family": "resmlp", "width": 16, "depth": 2, **net},
        "rules": "mup",
        "base": {"width": 16, "depth": 2},
        "optim": {"kind": "sgd", "log2_lr": -4, "batch": 16, "steps": 4},
        "task": "digits",
        "seed": 1,
    }
    *groups, last = path.split(".")
    inner = said[groups[0]] if groups else said
    if value is MISSING:
        del inner[last]
    elif path:
        inner[last] = value
    return said


def refusal(said: object) -> str:
    """The sentence that refuses an entry, checked to be one sentence about the place."""
    with pytest.raises(Refused) as caught:
        grid(said, PLACE)
    return one_sentence(str(caught.value))


def one_sentence(message: str) -> str:
    assert message.startswith(PLACE)
    assert "\n" not in message and ". " not in message and not message.endswith(".")
    assert not any(word in message.lower() for word in ("pydantic", "input should", "validation"))
    return message


def test_a_grid_is_the_product_of_its_lists_with_the_last_key_turning_fastest() -> None:
    said = entry("net.width", [16, 32]) | {"seed": [1, 2, 3]}
    found = [(run.net.width, run.seed) for run in grid(said)]
    assert found == [(16, 1), (16, 2), (16, 3), (32, 1), (32, 2), (32, 3)]


def test_a_scalar_is_fixed() -> None:
    assert [run.net.width for run in grid(entry("net.width", 48))] == [48]


@pytest.mark.parametrize(
    ("ends", "rates"),
    [
        ([-2, -1, 0.5], [-2, -1.5, -1]),
        ([-3, -1], [-3, -2, -1]),
        ([-4, 4, 4], [-4, 0, 4]),
        ([7, 7], [7]),
    ],
)
def test_a_range_includes_both_ends(ends: list[float], rates: list[float]) -> None:
    runs = grid(entry("optim.log2_lr", {"range": ends}))
    assert [run.optim.log2_lr for run in runs] == rates


def test_a_range_of_whole_numbers_stays_whole() -> None:
    assert [type(run.seed) for run in grid(entry("seed", {"range": [1, 3]}))] == [int] * 3


def test_a_list_of_grids_is_their_union() -> None:
    both = [entry("seed", [1, 2]), entry("net.width", 32)]
    assert grid(both) == grid(both[0]) + grid(both[1])


def test_a_run_named_in_two_grids_is_refused_and_both_places_are_named() -> None:
    message = refusal([entry(), entry("seed", 2), entry("seed", [3, 1])])
    assert message.startswith(f"{PLACE}[2]:") and f"{PLACE}[0]" in message


def test_a_run_named_twice_in_one_grid_is_refused() -> None:
    assert "name each run once" in refusal(entry("seed", [1, 1]))


@pytest.mark.parametrize(
    ("path", "value", "place", "says"),
    [
        ("nett", {}, ".nett:", "did you mean net?"),
        ("net.widht", 16, ".net.widht:", "did you mean width?"),
        ("optim.lr", 0.1, ".optim.lr:", "give optim.log2_lr, the base-2 logarithm"),
        ("net.width", "16", ".net.width:", "'16' is not allowed; width is a whole number"),
        ("net.width", 16.0, ".net.width:", "16.0 is not allowed; width is a whole number"),
        ("net.width", True, ".net.width:", "True is not allowed; width is a whole number"),
        ("net.width", None, ".net.width:", "None is not allowed; width is a whole number"),
        ("net.depth", 0, ".net.depth:", "0 is not allowed; depth is a whole number, at least 1"),
        ("net.depth", [2, 0], ".net.depth:", "0 is not allowed"),
        ("net.depth", [], ".net.depth:", "an empty list leaves nothing to run; depth is a whole"),
        ("net.block_depth", 3, ".net.block_depth:", "1 or 2"),
        ("net.center", 1, ".net.center:", "true or false"),
        ("net.gain", 0, ".net.gain:", "a finite number above 0"),
        (
            "net.family",
            "resmpl",
            ".net.family:",
            "one of mlp, resmlp, linearised, lm, cnn, resconv, vit; did you mean resmlp?",
        ),
        (
            "net.phi",
            "rleu",
            ".net.phi:",
            "softplus, kink(s), for example kink(-0.5); did you mean relu?",
        ),
        ("net.order", "mid", ".net.order:", "post, pre"),
        ("net", "resmlp", ".net:", "give a mapping with family, width"),
        ("rules", "depthmup", ".rules:", "did you mean depth_mup?"),
        ("rules", "alpha(1)", ".rules:", "alpha(a, g)"),
        ("rules", "init(1)", ".rules:", "init(b, c)"),
        ("rules", 3, ".rules:", "one of sp, ntp, mup"),
        ("task", "digit", ".task:", "did you mean digits?"),
        ("optim.kind", "adma", ".optim.kind:", "one of sgd, adam; did you mean adam?"),
        ("optim.log2_lr", -4.3, ".optim.log2_lr:", "not a multiple of 1/4"),
        ("optim.log2_lr", "fast", ".optim.log2_lr:", "base-2 logarithm of the rate, in quarters"),
        ("optim.log2_lr", math.inf, ".optim.log2_lr:", "log2_lr is"),
        ("optim.log2_lr", math.nan, ".optim.log2_lr:", "log2_lr is"),
        ("seed", -1, ".seed:", "a whole number, at least 0"),
        ("seed", {"range": [3, 1]}, ".seed:", "give [first, last, step]"),
        ("seed", {"range": [1, 4, 2]}, ".seed:", "give [first, last, step]"),
        ("seed", {"range": [1, 3, 0]}, ".seed:", "step above 0"),
        ("seed", {"range": [1, math.inf]}, ".seed:", "[first, last, step]"),
        ("seed", {"range": "1 to 3"}, ".seed:", "{range: [first, last, step]}"),
        ("seed", {"range": [1, 3], "step": 1}, ".seed:", "{range: [first, last, step]}"),
        ("task", MISSING, ":", "task is missing"),
        ("net.family", MISSING, ".net:", "family is missing; family is one of mlp, resmlp"),
        ("optim.steps", MISSING, ".optim:", "steps is missing; steps is a whole number"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(path: str, value: Any, place: str, says: str) -> None:
    message = refusal(entry(path, value))
    assert message.startswith(PLACE + place) and says in message


@pytest.mark.parametrize("said", [None, 3, "mup", [], [3]])
def test_what_is_no_grid_is_refused(said: object) -> None:
    assert "give" in refusal(said)


@pytest.mark.parametrize(
    "branch",
    [{"block_depth": 2}, {"order": "pre"}, {"center": True}, {"norm": "layer"}, {"gain": 2.0}],
)
def test_settings_of_branches_are_refused_on_a_plain_chain_only(branch: dict[str, Any]) -> None:
    assert f"{next(iter(branch))} is a setting of resmlp, linearised" in refusal(
        entry(**branch, family="mlp")
    )
    assert len(grid(entry(**branch, family="resmlp"))) == 1


def test_every_setting_refuses_what_it_cannot_be() -> None:
    for part in ("net", "optim", "base"):
        for name in PARTS[part].model_fields:
            for wrong in ("no such", -1000, math.inf, {}, [[]]):
                assert name in refusal(entry(f"{part}.{name}", wrong))


def test_a_default_said_aloud_changes_no_key() -> None:
    assert grid(entry())[0].key == grid(entry(phi="relu", gain=1, center=False))[0].key


def test_a_field_added_later_changes_no_key() -> None:
    class Later(Net):
        skips: int = 1

    later = create_model("LaterRun", __base__=Run, net=(Later, ...), shards=(int, 0))
    run = grid(entry())[0]
    assert later.model_validate(run.model_dump()).key == run.key
    assert later.model_validate(run.model_dump() | {"shards": 2}).key != run.key


def test_every_changed_field_changes_the_key(make_runs: MakeRuns) -> None:
    changes: dict[str, Any] = {"width": 32, "depth": 3, "block_depth": 2, "phi": "abs"}
    changes |= {"order": "pre", "center": True, "norm": "layer", "gain": 2.0, "init_gain": 2.0}
    changes |= {"train_ends": False, "base_width": 8, "base_depth": 1, "kind": "adam"}
    changes |= {"log2_lr": -3.5, "batch": 32, "steps": 5, "rules": "mup", "task": "digits_sum"}
    changes |= {"seed": 2, "family": "mlp", "schedule": "cosine", "warmup": 1, "decay": 0.5}
    changes |= {"log2_lr_ends": -4.0}
    changes |= {"gamma_0": 2.0, "momentum": 0.9}
    keys = {make_runs(**{name: value})[0].key for name, value in changes.items()}
    images = {"family": "resconv", "depth": 6, "task": "fashion28"}
    conv: dict[str, Any] = {"kernel": 5, "padding": "circular", "stages": 2, "bias": True}
    conv |= {"dropout": 0.5, "affine": True}
    keys |= {make_runs(**images, norm="batch", **{n: v})[0].key for n, v in conv.items()}
    vision = {"family": "vit", "task": "fashion14"}
    attention = {"patch": 2, "placement": "post", "parallel": True, "layer_scale": 0.5}
    keys |= {make_runs(**vision, **{n: v})[0].key for n, v in attention.items()}
    changes |= conv | attention
    assert set(changes) == {*spec.COLUMNS, *spec.LATER}
    assert len(keys | {make_runs()[0].key}) == len(changes) + 1


def test_a_row_has_settings_that_came_later_only_where_they_are_not_at_the_default() -> None:
    row = grid(entry("optim", {**entry()["optim"], "momentum": 0.5}))[0].row()
    assert tuple(row) == (*spec.COLUMNS, "momentum") and row["momentum"] == 0.5


def test_a_row_has_every_field_of_a_run_once() -> None:
    row = grid(entry("net.width", 48))[0].row()
    assert tuple(row) == spec.COLUMNS and (row["width"], row["base_width"]) == (48, 16)


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        (Law, {"reads": 3}, "a table, such as"),
        (Law, {"derive": "optimum"}, "did you mean optima?"),
        (Law, {"by": ["dpeth"]}, "did you mean depth?"),
        (Law, {"by": []}, "by"),
        (Law, {"metric": "loss"}, "did you mean loss_mean?"),
        (Law, {"metric": 3}, "one of loss_mean"),
        (Law, {"predictions": ["inverse", "const"]}, "did you mean constant?"),
        (Law, {"anchor": []}, "columns and values"),
        (Law, {"anchr": {}}, "did you mean anchor?"),
        (Probe, {"measure": "one_stp"}, "did you mean one_step?"),
        (Probe, {"measure": 3}, "one_step, one_sample_step"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(
    part: type[Part], change: dict[str, Any], says: str
) -> None:
    good = LAW if part is Law else {"measure": "one_step", "runs": entry()}
    settings(part, good, PLACE)
    with pytest.raises(Refused) as caught:
        settings(part, good | change, PLACE)
    assert says in one_sentence(str(caught.value)) and next(iter(change)) in str(caught.value)


@pytest.mark.parametrize("name", list(LAW))
def test_a_missing_setting_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=f"{name} is missing"):
        settings(Law, {key: value for key, value in LAW.items() if key != name}, PLACE)


def test_a_law_without_an_anchor_hands_on_none() -> None:
    assert set(settings(Law, LAW, PLACE).options()) == {"by", "metric"}
    anchored = settings(Law, LAW | {"derive": "transfer", "anchor": {"depth": 4}}, PLACE)
    assert anchored.options()["anchor"] == {"depth": 4}


def test_the_words_of_spec_are_those_of_the_registries(make_runs: MakeRuns) -> None:
    assert set(spec.FAMILIES) == set(FAMILIES)
    assert set(spec.PHIS) == set(phi.PHI)
    assert set(spec.RULES) == set(PARAMETRIZATIONS)
    assert set(spec.DERIVED) == set(law.DERIVED)
    assert set(spec.PREDICTIONS) == {*law.PREDICTIONS, "fitted"}
    losses = train.summary(train.train(make_runs()))[0]
    assert tuple(losses) == spec.MEASURED["train"]
    own = {"trajectory": {"task": "pair", "batch": 2}, "sharpness": {"task": "gaussian"}}
    for measure in spec.MEASURES:
        found = measurement.measured(make_runs(depth=32, **own.get(measure, {})), measure)[0]
        assert tuple(found) == spec.MEASURED[measure]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"derive": "transfer"}, "derive transfer needs an anchor with a depth"),
        ({"derive": "common"}, "derive common needs an anchor with a depth"),
        ({"derive": "transfer", "anchor": {"dpeth": 4, "depth": 4}}, "anchor names dpeth"),
        ({"anchor": {"depth": 4}}, "anchor is a setting of derive transfer"),
    ],
)
def test_an_anchor_belongs_to_a_transfer_and_names_its_columns(
    change: dict[str, Any], says: str
) -> None:
    law = {"reads": "sweep/x", "derive": "optima", "by": ["rules", "depth"], "metric": "loss_mean"}
    with pytest.raises(Refused, match=says):
        settings(Law, law | change, PLACE)


def test_one_parametrization_written_in_two_ways_is_one_run() -> None:
    with pytest.raises(Refused, match="already named"):
        grid(entry("rules", ["alpha(0.5, 0.5)", "alpha(0.50,0.5)"]), PLACE)


def test_a_task_without_examples_is_not_trained_on() -> None:
    for measure in MEASURED:
        if measure in UNTRAINED:
            continue
        with pytest.raises(Refused, match="no examples to train on; measure one_step, "):
            sweep(grid(entry("task", "gaussian"), PLACE), measure=measure)
