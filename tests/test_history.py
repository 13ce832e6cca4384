"""Without committed tables there is nothing to compare with, and that is what is said."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fathom import commands, comparison, notebooks, store
from fathom.store import ROOT


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tables and claims of this suite in a folder that git has never seen."""
    there = tmp_path / "outer" / "tree"
    for name in ("artifacts/claims", "artifacts/law"):
        shutil.copytree(ROOT / name, there / name)
    for name in ("claims.yaml", "params.yaml"):
        shutil.copy(ROOT / name, there)
    for module in (store, comparison):
        monkeypatch.setattr(module, "ROOT", there)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return there


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = commands.answer(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("history", ["none", "no commit", "another's", "without tables"])
@pytest.mark.parametrize("words", [["compare"], ["retrain", "laws_mlp"], ["retrain"]])
def test_a_tree_without_history_gets_one_sentence_and_nothing_is_trained(
    tree: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    history: str,
    words: list[str],
) -> None:
    monkeypatch.setattr(commands, "plan", lambda *_: pytest.fail("begun"))
    if history in ("no commit", "without tables"):
        git(tree, "init", "-q")
    if history == "without tables":
        git(tree, "add", "params.yaml")
        git(tree, "commit", "-qm", "x")
    if history == "another's":
        (tree.parent / "theirs").touch()
        git(tree.parent, "init", "-q")
        git(tree.parent, "add", "theirs")
        git(tree.parent, "commit", "-qm", "x")
    code, out, err = answer(capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith(
        f"fathom: git: no commit holds the tables of {tree}"
    )
    assert "work in a clone" in err


@pytest.mark.parametrize("within", [False, True])
def test_committed_tables_are_compared_also_below_another_root(
    tree: Path, capsys: pytest.CaptureFixture[str], within: bool
) -> None:
    top = tree.parent if within else tree
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-qm", "x")
    code, out, err = answer(capsys, "compare")
    assert (code, err) == (0, "")
    assert "tp6_resmlp" in out and "C10" in out


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "echo fatal: detected dubious ownership in repository at x >&2; exit 128",
            "safe.directory",
        ),
        ("exit 128", "no commit holds"),
        (None, "git: not installed"),
    ],
)
def test_a_git_that_does_not_answer_is_told_apart(
    tree: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    says: str,
) -> None:
    monkeypatch.setenv("PATH", str(tree))
    if script:
        (tree / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tree / "git").chmod(0o755)
    code, out, err = answer(capsys, "compare")
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def test_figures_without_a_history_are_not_called_the_committed_ones(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebooks, "run", lambda *_, **__: None)
    code, out, _ = answer(capsys, "figures", "tp6/fig02_pre_post")
    assert code == 0 and "git cannot compare" in out and "byte for byte" not in out
    (tree / "figures").mkdir()
    (tree / "figures" / "a.svg").write_text("a")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "x")
    assert "byte for byte" in answer(capsys, "figures", "tp6/fig02_pre_post")[1]
    (tree / "figures" / "a.svg").write_text("b")
    assert "These differ" in answer(capsys, "figures", "tp6/fig02_pre_post")[1]
