"""What a person types, and what the door answers: one clear sentence, exit code 2."""

import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from fathom import __main__ as command
from fathom import commands, comparison, notebooks, report, store
from fathom.store import ROOT


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr of a command that is refused."""
    monkeypatch.setattr(sys, "argv", ["fathom", *words])
    assert command.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with this suite's params and notebooks that a test may spoil."""
    for name in ("params.yaml", "claims.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("notebooks", "artifacts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(comparison, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "rules: depth_mup",
            "rules: depth_mpu",
            "params.yaml sweep.tp6_resmlp.random_depth_mup_relu.rules: 'depth_mpu' is not one of",
        ),
        (
            "depth: [4, 8,",
            "depth: [0, 8,",
            "params.yaml sweep.tp6_resmlp.random_depth_mup_relu.net.depth: 0 is not allowed",
        ),
        (
            "phi: relu",
            "fi: relu",
            "params.yaml sweep.tp6_resmlp.random_depth_mup_relu.net.fi: fi is not one of",
        ),
        (
            "width: 64, depth: [4",
            "width: '64', depth: [4",
            "net.width: '64' is not allowed; width is a whole number",
        ),
        (
            "log2_lr: {range: [-10, -5.5, 0.5]}",
            "lr: 0.001",
            "optim.lr: lr is not a key; give optim.log2_lr",
        ),
        ("log2_lr: {range: [-10, -5.5, 0.5]}", "log2_lr: 0.001", "0.001 is not a multiple of 1/4"),
        ("seed: {range: [101, 105]}", "seed: []", "an empty list leaves nothing to run"),
        ("sweep:", "sweep: [", "params.yaml line"),
    ],
)
def test_bad_params_get_one_sentence(
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    said: str,
) -> None:
    edit(elsewhere / "params.yaml", old, new)
    assert said in answer(monkeypatch, capsys, "sweep", "tp6_resmlp")
    assert not (elsewhere / "build").exists()


@pytest.mark.parametrize("command", ["probe", "plan", "retrain"])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("depth: [64, 128, 256, 512, 1024], phi: [", "depth: [64, 96], phi: [",
         "depth 96: diversity is measured at depths 32, 64, 128,"),
        ("tp6_diversity:\n    measure: diversity", "tp6_diversity:\n    measure: sharpness",
         "task digits_noisy: sharpness is that of one output"),
    ],
)  # fmt: skip
def test_a_measure_that_cannot_be_taken_is_refused_before_anything_starts(
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    old: str,
    new: str,
    said: str,
) -> None:
    edit(elsewhere / "params.yaml", old, new)
    monkeypatch.setattr(comparison, "check_history", lambda: None)
    whole = answer(monkeypatch, capsys, command, "tp6_diversity")
    assert f"params.yaml probe.tp6_diversity.runs: {said}" in whole
    assert not (elsewhere / "build").exists()


def test_unknown_names_get_the_nearest(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean tp6_resmlp?" in answer(monkeypatch, capsys, "sweep", "tp6_resmpl")
    assert "did you mean compare?" in answer(monkeypatch, capsys, "compair")
    assert "did you mean laws_mlp?" in answer(monkeypatch, capsys, "retrain", "law_mlp")
    assert "fig10_rate_transfer?" in answer(
        monkeypatch, capsys, "figures", "tp6/fig10_rate_tranfer"
    )


def test_a_table_that_is_missing_or_edited_is_refused_from_inside_a_notebook(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = elsewhere / "artifacts" / "claims" / "tp6.csv"
    edit(table, "holds", "HOLDS")
    assert "git checkout -- artifacts/claims/tp6.csv" in answer(monkeypatch, capsys, "report")
    table.unlink()
    assert "artifacts/claims/tp6.csv: missing" in answer(monkeypatch, capsys, "report")


def test_a_notebook_that_is_none_and_a_kernel_that_is_not_there(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = elsewhere / "notebooks" / "sweep.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.kernelspec.name = "julia-1.9"
    nbformat.write(notebook, path)
    said = answer(monkeypatch, capsys, "sweep", "laws_mlp")
    assert "the kernel julia-1.9 is not installed" in said
    path = elsewhere / "notebooks" / "tp6" / "claims.ipynb"
    path.write_text("{ not json")
    assert "not readable as a notebook" in answer(monkeypatch, capsys, "tp6/claims")


def test_an_error_inside_a_notebook_is_a_sentence_too(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (ROOT / "build" / "test").mkdir(parents=True, exist_ok=True)
    path = elsewhere / "notebooks" / "law.ipynb"
    entry = {"reads": "sweep/no_such", "derive": "optima", "by": ["depth"], "metric": "loss_mean"}
    given = {"name": "x", "entry": entry, "root": "build/test"}
    with pytest.raises(Exception, match=r"artifacts/sweep/no_such.csv: missing") as raised:
        notebooks.run("law", given, "test/law", live=False)
    assert type(raised.value).__name__ == "Refused"
    assert path.exists()


def test_the_report_is_one_screen_with_every_headline(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_report()
    said = capsys.readouterr().out
    headlines = list(report.headlines())
    assert len(headlines) >= 10 and all(name in said for _, name, _, _ in headlines)
    assert len(said.splitlines()) <= 30 and "make retrain" in said


@pytest.mark.parametrize(
    ("flag", "word", "says"),
    [
        ("--workers", "0", "a whole number, at least 1"),
        ("--workers", "x", "a whole number"),
        ("--workers", "1.5", "a whole number"),
        ("--memory-gib", "abc", "a number of GiB"),
        ("--memory-gib", "0", "a number of GiB"),
        ("--memory-gib", "NaN", "a number of GiB"),
        ("--scheduler", "foo", "tcp://host:port"),
        ("--scheduler", "8786", "tcp://host:port"),
        ("--device", "gpu", "auto, cpu, cuda"),
    ],
)
def test_a_bad_setting_of_the_machine_is_refused_by_flag_and_by_variable(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    word: str,
    says: str,
) -> None:
    variable = f"FATHOM_{flag[2:].replace('-', '_').upper()}"
    monkeypatch.setenv(variable, word)
    by_variable = answer(monkeypatch, capsys, "plan", "laws_one_step_digits")
    monkeypatch.setenv(variable, "")
    by_flag = answer(monkeypatch, capsys, "probe", "laws_one_step_digits", flag, word)
    assert by_flag == by_variable
    assert says in by_flag and flag in by_flag and variable in by_flag


def test_a_retraining_that_is_stopped_after_training_trains_nothing_again(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def engine(kind: str, name: str, root: str) -> None:
        if not store.place(f"{kind}/{name}", root).exists():
            trained.append(name)
            store.write(store.read(f"{kind}/{name}").tail(3), f"{kind}/{name}", root)

    def stop(*words: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "engine", engine)
    monkeypatch.setattr(commands, "plan", lambda *_: None)
    for name in ("check_history", "print_comparison"):
        monkeypatch.setattr(comparison, name, lambda: None)
    monkeypatch.setattr(sys, "argv", ["fathom", "retrain", "laws_mlp"])
    monkeypatch.setattr(commands.subprocess, "run", stop)
    assert command.main() == 130
    monkeypatch.setattr(commands.subprocess, "run", lambda *_, **__: None)
    assert command.main() == 0
    assert trained == ["laws_mlp"]
    assert len(store.read("sweep/laws_mlp")) == 3
    assert command.main() == 0
    assert trained == ["laws_mlp", "laws_mlp"]


def test_params_that_ask_for_code_are_refused_and_nothing_is_run(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"!!python/object/apply:os.mkdir [{elsewhere / 'sprung'}]"
    (elsewhere / "params.yaml").write_text(f"sweep:\n  a: {code}\n")
    assert "params.yaml line 2: " in answer(monkeypatch, capsys, "sweep", "a")
    assert not (elsewhere / "sprung").exists()


def test_nothing_of_ours_is_told_to_listen_beyond_this_machine_or_without_a_token() -> None:
    lab = (ROOT / "Makefile").read_text().partition("\nlab:")[2].partition("\n\n")[0]
    assert "jupyter lab" in lab
    sources = [path.read_text() for path in (ROOT / "lib").rglob("*.py")]
    for said in (lab, *sources):
        assert not [
            word
            for word in ("--ip", "0.0.0.0", "token=", ".token", "password", "*:")
            if word in said
        ]


def test_the_cluster_of_the_docs_listens_on_this_machine_alone() -> None:
    lines = re.findall(
        r"dask (?:scheduler|worker) [^`\n]*&", (ROOT / "docs/clusters.md").read_text()
    )
    assert lines
    for line in lines:
        assert "--host 127.0.0.1" in line and "--dashboard-address 127.0.0.1:" in line


def test_a_disk_that_is_full_is_one_sentence(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = elsewhere / "notebooks" / "tp6" / "claims.ipynb"
    made = nbformat.read(path, as_version=4)
    made.cells = [
        nbformat.v4.new_code_cell("with open('/dev/full', 'wb', 0) as f:\n    f.write(b'x')")
    ]
    nbformat.write(made, path)
    assert answer(monkeypatch, capsys, "tp6/claims") == f"fathom: {notebooks.FULL}\n"


def test_a_name_too_many_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "takes one name, found 2" in answer(monkeypatch, capsys, "plan", "laws_mlp", "tp6_heat")
    for word in ("compare", "stamp", "tp6/claims"):
        assert "takes no name, found 1" in answer(monkeypatch, capsys, word, "laws_mlp")


@pytest.mark.parametrize("said", ["sweep: 3", "sweep: [a, b]", "sweep:\n  3: {4: 5}"])
def test_entries_without_names_are_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    (elsewhere / "params.yaml").write_text(said + "\n")
    for words in (["plan"], ["sweep", "3"], ["sweep"], ["retrain"]):
        assert "params.yaml sweep: found" in answer(monkeypatch, capsys, *words)


def test_a_plan_shows_the_grid_and_what_is_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["fathom", "plan", "tp6_norm"])
    assert command.main() == 0
    said = capsys.readouterr().out
    assert "sweep.tp6_norm: 1248 runs, 1248 known" in said
    for line in ("depth: 4, 8, 16, 32, 64, 128", "log2_lr: -11 to -5 by 0.5", "seed: 121 to 136"):
        assert f"  {line}\n" in said


def test_the_command_takes_every_setting_of_the_machine() -> None:
    assert command.MACHINE == commands.MACHINE
