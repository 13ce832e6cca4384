"""Where the repository cannot be written: one sentence with the way out, or no need to write."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fathom import commands, notebooks, store
from fathom.notebooks import FULL, refusal
from fathom.spec import Refused
from fathom.store import ROOT, VARIABLE, folder
from fathom.training.kernels import operations

CLONE = "copy or clone the repository to where it can be, and type the command there"
BUILD = "set FATHOM_BUILD to a folder that can be written, such as /tmp/fathom"


@pytest.mark.parametrize("name", ["build", "build/smoke", "build/journal/x", "./build/smoke"])
def test_a_folder_stands_in_for_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rest = Path(name).relative_to("build")
    assert folder(name) == ROOT / "build" / rest
    monkeypatch.setenv(VARIABLE, "")
    assert folder(name) == ROOT / "build" / rest
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert folder(name) == tmp_path / rest
    assert folder("artifacts") == ROOT / "artifacts"
    assert folder("artifacts/build") == ROOT / "artifacts/build"


def test_everything_that_can_be_deleted_goes_there(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path_factory.mktemp("there")
    monkeypatch.setenv(VARIABLE, str(there))
    table = pd.DataFrame({"key": ["a"]})
    journal = store.Journal("sweep/some")
    journal.keep([{"key": "b"}])
    journal.checkpoint("c").save({"curve": np.zeros(1)})
    store.write(table, "sweep/some", "build/retrained")
    assert store.read("sweep/some", "build/retrained")["key"].tolist() == ["a"]
    known = store.known("sweep/some")
    assert known is not None and known["key"].tolist() == ["b"]
    with pytest.raises(Refused, match="did you mean sweep/some"):
        store.read("sweep/sone", "build/retrained")
    assert not list(root.rglob("*"))
    store.promote(["sweep/some"], "build/retrained")
    assert [path.name for path in root.rglob("*.*")] == ["some.csv"]


@pytest.mark.parametrize("given", ["relative", "~/x", ".", "ROOT", "ROOT/notebooks", "ROOT/lib/x"])
def test_a_folder_that_cannot_stand_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv(VARIABLE, given.replace("ROOT", str(ROOT)))
    with pytest.raises(Refused, match=r"FATHOM_BUILD: .* give the whole path of a folder outside"):
        folder("build/smoke")
    monkeypatch.setenv(VARIABLE, str(ROOT / "build" / "mine"))
    assert folder("build/smoke") == ROOT / "build/mine/smoke"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        (ROOT / "build/tp6", f"build/tp6: cannot be written (WHY); {BUILD}"),
        (ROOT / "build", f"build: cannot be written (WHY); {BUILD}"),
        (ROOT / "figures/tp6/.a.svg.17", f"figures/tp6: cannot be written (WHY); {CLONE}"),
        (ROOT / "notebooks/law.ipynb", f"notebooks/law.ipynb: cannot be written (WHY); {CLONE}"),
        ("/proc/x", "/proc/x: cannot be written (WHY); make it a folder that can be written"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_way_out(
    code: int, path: str | Path, says: str
) -> None:
    said = refusal(OSError(code, os.strerror(code), str(path)))
    assert str(said) == says.replace("WHY", os.strerror(code))


def test_a_full_disk_and_other_errors_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (errno.ENOSPC, errno.EDQUOT):
        assert str(refusal(OSError(code, "", str(ROOT / "figures")))) == FULL
    for code in (errno.EPIPE, errno.ENOENT, errno.EIO):
        assert refusal(OSError(code, "", str(ROOT / "figures" / "x"))) is None
    assert refusal(OSError("no number at all")) is None
    monkeypatch.setenv(VARIABLE, "/proc/x/y")  # which cannot even be made
    said = refusal(OSError(errno.ENOENT, "", "/proc/x"))
    assert said is not None and BUILD in str(said)


def test_what_cannot_be_read_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = PermissionError(errno.EACCES, "Permission denied", str(ROOT / "params.yaml"))
    assert str(refusal(error)).startswith("params.yaml: cannot be read (Permission denied)")


@pytest.mark.parametrize("words", [["tp6/claims"], ["sweep", "laws_mlp"], ["stamp"]])
def test_every_command_answers_with_that_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    def sealed(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "mkdir", sealed)
    assert commands.answer(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("fathom: build") and BUILD in said
    monkeypatch.setattr(commands, "do", lambda _: Path("/nothing/there").read_text())
    with pytest.raises(FileNotFoundError):
        commands.answer(words)


def test_what_a_cell_cannot_write_is_the_same_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    raised = f"raise OSError({errno.EROFS}, 'Read-only file system', '{ROOT / 'figures/x'}')"
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    made = notebooks.nbformat.v4.new_notebook(cells=[notebooks.nbformat.v4.new_code_cell(raised)])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    notebooks.nbformat.write(made, tmp_path / "some.ipynb")
    with pytest.raises(Refused, match=r"^figures/x: cannot be written \(Read-only file system\)"):
        notebooks.run("some", {}, "some", live=False)


def test_a_table_or_figure_that_does_not_change_is_not_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame({"key": ["a"]})
    store.write(table, "sweep/some")
    before = store.place("sweep/some").stat()
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("written"))
    store.write(table, "sweep/some")
    after = store.place("sweep/some").stat()  # reading it moves the time of access
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_nothing_is_trained_that_could_not_be_put_in_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.Journal("sweep/some")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OSError, match="artifacts"):
        store.Journal("sweep/other")


def test_compiled_kernels_are_kept_in_the_first_folder_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"NUMBA_CACHE_DIR": "a", VARIABLE: "b", "XDG_CACHE_HOME": "c"}
    for name, path in wanted.items():
        monkeypatch.setenv(name, str(tmp_path / path / "new"))
    sealed: set[str] = set()

    def access(path: Path, _: int) -> bool:
        return not any(str(path).startswith(one) for one in sealed)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os.path, "expanduser", lambda _: "~")  # of whom nothing is known
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    found = []
    for one in (tmp_path / "a", tmp_path / "b", operations.HERE, tmp_path / "c", ROOT.parents[-1]):
        found.append(operations._cache())
        sealed.add(str(one))
    said = [path.relative_to(tmp_path).parts[:2] for path in (found[0], found[1], found[3])]
    assert said == [("a", "new"), ("b", "new"), ("c", "new")]
    assert found[2].parent == operations.HERE / "__pycache__"
    assert len({path.name for path in found[:4]}) == 1, "it goes by what it is compiled from"
    passing = operations._cache()
    assert found[4] != passing and passing.is_dir(), "one for each process"


SEALED = """
mount --bind . . && mount -o remount,ro,bind . || exit 77
mount --bind "$HOME" "$HOME" && mount -o remount,ro,bind "$HOME" || exit 77
cd "$PWD"
touch x 2> /dev/null && exit 77
export PYTHONPATH=$PWD/lib
command() { "$PYTHON" -m fathom "$@" > out/said 2> out/error; echo "$?"; tail -1 out/error; }
"""
MINE = """
  mine:
    net: {family: resmlp, width: 16, depth: [1, 2]}
    rules: mup
    base: {width: 16, depth: 2}
    optim: {kind: sgd, log2_lr: -3, batch: 16, steps: 4}
    task: digits
    seed: 1
"""


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A copy of the suite, with an entry whose runs are not known."""
    for name in ("lib", "notebooks", "artifacts", "figures"):
        quiet = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "suite" / name, ignore=quiet)
    said = (ROOT / "params.yaml").read_text().replace("\nsweep:", f"\nsweep:{MINE}")
    (tmp_path / "suite" / "params.yaml").write_text(said)
    shutil.copy(ROOT / "claims.yaml", tmp_path / "suite")
    for name in ("home", "out", "build"):
        (tmp_path / name).mkdir()
    return tmp_path


def answers(sealed: Path, *lines: str, build: Path | None = None) -> list[tuple[int, str]]:
    """How commands end in the sealed copy, and the last line of what they complain of."""
    env = {**os.environ, "HOME": str(sealed / "home"), "PYTHON": sys.executable}
    env |= {VARIABLE: str(build)} if build else {}
    script = SEALED.replace("out/", f"{sealed}/out/") + "\n".join(lines)
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=sealed / "suite", env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted read-only here")
    found: list[tuple[int, str]] = []
    for line in done.stdout.splitlines():
        if line.isdigit():
            found.append((int(line), ""))
        else:
            found[-1] = (found[-1][0], line)
    assert len(found) == len(lines)
    return found


@pytest.mark.slow
def test_a_read_only_checkout_says_what_to_do(sealed: Path) -> None:
    said = answers(
        sealed, "command figures tp6/fig02_pre_post", "command sweep mine", "command tp6/claims"
    )
    assert said == [(2, f"fathom: build: cannot be written (Read-only file system); {BUILD}")] * 3
    assert answers(sealed, "command report") == [(0, "")]


@pytest.mark.slow
def test_with_a_folder_for_build_what_changes_nothing_works_there(sealed: Path) -> None:
    figure, claims, sweep, plan = answers(
        sealed,
        "command figures tp6/fig02_pre_post",
        "command tp6/claims",
        "command sweep mine",
        "command plan mine",
        build=sealed / "build" / "new",
    )
    assert (figure[0], claims[0], sweep[0], plan[0]) == (0, 0, 2, 0)
    assert sweep[1] == f"fathom: artifacts: cannot be written (Read-only file system); {CLONE}"
    made = {path.name for path in (sealed / "build" / "new").iterdir()}
    assert made == {"tp6", "sweep", "kernels"}, "no journal of what cannot be kept"
    assert not list((sealed / "suite").rglob("__pycache__"))
