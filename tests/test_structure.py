"""The house keeps its own rules: floors, honest dependencies, the law of cells, artifacts."""

import ast
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from fathom import claim, inputs, store
from fathom.inputs import imported
from fathom.notebooks import NOTEBOOKS as NOTEBOOKS_AT
from fathom.notebooks import names
from fathom.store import ROOT
from ruamel.yaml import YAML

LIB = ROOT / "lib" / "fathom"
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_" not in str(p))
FLOORS = {
    "paths": set(),
    "spec": set(),
    "phi": set(),
    "store": {"spec", "paths"},
    "networks": {"spec", "phi", "paths"},
    "training": {"networks", "spec", "phi"},
    "measurement": {"training", "networks", "spec", "phi"},
    "sweeps": {"measurement", "training", "networks", "spec"},
    "theory": {"phi"},
    "law": set(),
    "claim": {"law"},
    "depth": {"law", "spec", "store"},
    "draw": set(),
    "explore": {"spec", "store", "sweeps", "law", "draw"},
    "in_process": set(),
    "notebooks": {"spec", "store", "in_process"},
    "drawn": {"paths"},
    "inputs": {"store", "notebooks"},
    "report": {"store", "claim"},
    "pages": {"store", "law", "claim", "notebooks", "report"},
    "figures": {"spec", "store", "notebooks", "drawn"},
    "comparison": {"spec", "store", "law", "report"},
    "commands": {
        "spec",
        "store",
        "networks",
        "sweeps",
        "theory",
        "notebooks",
        "figures",
        "inputs",
        "comparison",
        "report",
        "pages",
    },
    "__main__": {"commands", "drawn"},
}


def room(path: Path) -> str:
    return path.relative_to(LIB).parts[0].removesuffix(".py")


def code(notebook: Path) -> list[Any]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


@cache
def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml with every foreach written out."""
    said, params = store.params("dvc.yaml")["stages"], store.params()
    found = {}
    for name, stage in said.items():
        if "foreach" not in stage:
            found[name] = stage
            continue
        for key, item in params[name].items():
            text = yaml.safe_dump(stage["do"]).replace("${key}", key)
            reads = item.get("reads", "") if isinstance(item, dict) else ""
            found[f"{name}@{key}"] = yaml.safe_load(text.replace("${item.reads}", reads))
    return found


def outs(stage: dict[str, Any]) -> set[str]:
    return {name for one in stage.get("outs", []) for name in one}


def notebook_of(stage: dict[str, Any]) -> str:
    """The notebook that a stage runs, as the command line names it; empty where it runs none."""
    word = stage["cmd"].split()[1]
    return word if word in names() else ""


@pytest.mark.parametrize("path", sorted(LIB.rglob("*.py")), ids=lambda p: str(p.relative_to(LIB)))
def test_imports_only_go_down(path: Path) -> None:
    if path == LIB / "__init__.py":
        return
    own = room(path)
    others = {name.split(".")[1] for name in imported(path.read_text())} - {own}
    assert others <= FLOORS[own], f"{path} imports {others - FLOORS[own]}"


def test_no_file_is_long() -> None:
    sources = [path for one in ("lib", "tests", "bench") for path in (ROOT / one).rglob("*.py")]
    long = {str(p): n for p in sources if (n := len(p.read_text().splitlines())) > 310}
    assert not long


def test_only_store_touches_the_disk() -> None:
    for path in LIB.rglob("*.py"):
        if room(path) in ("store", "notebooks", "drawn", "inputs", "pages"):
            continue
        source = path.read_text()
        if path == LIB / "networks/fashion.py":
            continue  # the reader of a data set
        if path in (LIB / "networks/tasks.py", LIB / "training/kernels/operations.py"):
            source = re.sub("read_text|read_bytes", "", source, count=1)  # a data set, its own code
        assert not re.search(r"\bopen\(|(read|write)_(text|bytes)|read_csv|\.mkdir", source), path


@pytest.mark.parametrize("name", stages())
def test_stages_tell_the_truth_about_their_dependencies(name: str) -> None:
    stage, notebook = stages()[name], notebook_of(stages()[name])
    if not notebook:
        return
    source = "\n".join(cell.source for cell in code(NOTEBOOKS_AT / f"{notebook}.ipynb"))
    tables = {
        f"artifacts/{one}.csv"
        for one in re.findall(r'"((?:sweep|probe|limit|law|claims|paper)/\w+)"', source)
    }
    tables = {one for one in tables if one not in outs(stage) and "smoke" not in one}
    if "/" not in notebook or notebook.endswith("/claims"):
        tables = {dep for dep in stage["deps"] if dep.endswith(".csv")}
    own = name.replace("@", "/") if "@" in name else notebook
    assert set(stage["deps"]) == {f"artifacts/inputs/{own}.txt"} | tables


def test_a_stage_depends_on_every_module_it_imports_and_on_no_other() -> None:
    sweep, figure = inputs.needed("fathom.sweeps.sweep"), inputs.needed("fathom.draw")
    assert {LIB / "networks/families/lm.py", LIB / "training/kernels/blas.py"} <= sweep
    assert {LIB / "draw/style.py", LIB / "draw/__init__.py"} <= figure
    assert not [path for path in sweep if "draw" in path.parts or "law" in path.parts]
    assert not [path for path in figure if "training" in path.parts]


def test_what_stages_depend_on_is_up_to_date() -> None:
    there = (ROOT / "artifacts" / "inputs").rglob("*.txt")
    said = {
        path.relative_to(ROOT / "artifacts/inputs").with_suffix("").as_posix() for path in there
    }
    assert said == set(inputs.texts())
    for name, text in inputs.texts().items():
        assert (ROOT / "artifacts" / "inputs" / f"{name}.txt").read_text() == text


@pytest.mark.parametrize("paper", ["tp6", "depthwise", "laws"])
def test_claims_stages_read_the_tables_their_claims_name(paper: str) -> None:
    read = claim.tables_of(store.params("claims.yaml")[paper])
    said = {dep for dep in stages()[f"claims_{paper}"]["deps"] if dep.endswith(".csv")}
    assert said == {f"artifacts/{name}.csv" for name in read}


def test_every_artifact_has_a_stage_and_every_stage_its_artifact() -> None:
    pages = {"README.md", "CLAIMS.md", "docs/costs.md", "docs/one-account.md"}
    made = {out for stage in stages().values() for out in outs(stage)} - pages
    there = {str(p.relative_to(ROOT)) for p in (ROOT / "artifacts").rglob("*.csv")}
    there.add("artifacts/inputs")
    drawn = {str(p.relative_to(ROOT)) for p in (ROOT / "figures").rglob("*.*")}
    no_stage = {name for name in there if name.split("/")[1] in ("paper", "bench")}
    assert (there - no_stage) | drawn == made


def test_dvc_plots_shows_every_figure() -> None:
    drawn = {out for stage in stages().values() for out in outs(stage) if out.endswith(".svg")}
    assert set(store.params("dvc.yaml")["plots"]) == drawn


def test_all_outputs_stay_in_git_and_survive_a_failed_run() -> None:
    for stage in stages().values():
        for one in stage.get("outs", []):
            assert list(one.values()) == [{"cache": False, "persist": True}]


def test_every_table_is_what_was_written() -> None:
    for path in (ROOT / "artifacts").rglob("*.csv"):
        store.digest(path.relative_to(ROOT / "artifacts").with_suffix("").as_posix())


def test_the_manifest_names_every_figure_with_the_digests_of_today() -> None:
    from fathom.pages import manifest

    rows = store.read("manifest", "figures")
    assert store.text(manifest()) == (ROOT / "figures" / "manifest.csv").read_text()
    there = {str(p.relative_to(ROOT)) for p in (ROOT / "figures").rglob("*.svg")}
    assert set(rows["figure"]) == there


def test_the_page_on_architecture_is_true() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(text.splitlines()) <= 80
    named = re.findall(r"`((?:lib|tests|notebooks|artifacts|figures|docs|bench)/[\w./]+)`", text)
    assert named and [path for path in named if not (ROOT / path).exists()] == []
    said = {name: set(below.split(", ")) - {"-"} for name, below in re.findall(
        r"^\| `(\w+)` \| ([\w, -]+) \|", text, flags=re.MULTILINE)}  # fmt: skip
    assert said == {name: below or set() for name, below in FLOORS.items()}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_call_show_and_write_and_do_nothing_else(notebook: Path) -> None:
    if notebook.stem == "explore":
        pytest.skip("for playing: exempt")
    cells = code(notebook)
    assert len(cells) <= 10
    for cell in cells:
        parsed = ast.parse(cell.source)
        banned = (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While, ast.Try)
        assert not [node for node in ast.walk(parsed) if isinstance(node, banned)], cell.source
        assert len(cell.source.splitlines()) <= 14, cell.source
        for node in ast.walk(parsed):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert all(one.split(".")[0] in ("fathom", "math") for one in names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_numbers_of_an_experiment_stand_in_the_parameters_cell_only(notebook: Path) -> None:
    for cell in code(notebook):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        numbers = [n.value for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Constant)]
        literal = [n for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool)]
        assert [n for n in literal if n not in (0, 1, 2, 3, 4, 0.5)] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_only_claim_cells_keep_their_output(notebook: Path) -> None:
    for cell in code(notebook):
        tags = cell.metadata.get("tags", [])
        if "keep_output" in tags:
            assert "nbval-check-output" in tags
            assert cell.outputs, "a claim cell without stored output checks nothing"
        else:
            assert not cell.outputs
            assert cell.execution_count is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_have_one_parameters_cell_that_writes_to_build(notebook: Path) -> None:
    tagged = [c for c in code(notebook) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert re.search(r'root = "build/\w+"', tagged[0].source)


def test_params_mean_the_same_in_both_dialects_of_yaml() -> None:
    for name in ("params.yaml", "claims.yaml", "dvc.yaml"):
        text = (ROOT / name).read_text()
        assert yaml.safe_load(text) == YAML(typ="safe", pure=True).load(text)


def test_conda_pip_and_the_project_agree_on_every_pin() -> None:
    import tomllib

    lines = (ROOT / "requirements.lock").read_text().split()
    pins = {
        name.lower().replace("_", "-"): pin for name, pin in (line.split("==") for line in lines)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"]:
        name = re.split(r"[<>=]", wanted)[0].lower()
        assert name in pins
        assert version(name).split("+")[0] == pins[name]
        if "==" in wanted:
            assert wanted.split("==")[1] == pins[name]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert {"pip": ["-r requirements.lock", "-e ."]} in conda["dependencies"]
    assert f"python={project['requires-python'].lstrip('>=')}" in conda["dependencies"]


def test_every_mutation_names_a_line_that_is_there_once_and_a_file_of_tests() -> None:
    from mutations import MUTATIONS

    for one in MUTATIONS:
        assert (LIB / one.path).read_text().count(one.old) == 1, one.what
        assert (ROOT / "tests" / f"test_{one.tests}.py").exists(), one.what
