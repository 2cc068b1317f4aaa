"""The origin of a run: git itself tells the commit that the files are read for."""

import getpass
import subprocess
import tomllib
from pathlib import Path

import pytest

from infra.tracking.origin import git_commit, origin_tags, source_name


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "first")
    return folder


def test_the_commit_is_the_one_git_names(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout) == first
    git(checkout, "pack-refs", "--all")
    assert git_commit(checkout) == first, "a packed branch"
    git(checkout, "commit", "--allow-empty", "-m", "second")
    second = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout) == second != first, "a loose branch goes before its packed past"
    git(checkout, "checkout", "--detach", first)
    assert git_commit(checkout) == first, "no branch"


def test_the_source_is_the_commit_or_else_the_release(checkout: Path, tmp_path: Path) -> None:
    assert source_name(checkout) == git(checkout, "rev-parse", "HEAD")
    with (Path(__file__).parents[3] / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert source_name(tmp_path) == f"release-{version}"


def test_a_further_work_tree_has_its_own_commit(checkout: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git(checkout, "worktree", "add", "-b", "other", str(tree))
    git(tree, "commit", "--allow-empty", "-m", "there")
    assert git_commit(tree) == git(tree, "rev-parse", "HEAD") != git_commit(checkout)


def test_an_installed_package_does_not_take_the_commit_of_the_project_around_it(checkout: Path) -> None:
    installed = checkout / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    assert git_commit(installed) == ""
    assert "mlflow.source.git.commit" not in origin_tags(installed)


def test_a_broken_checkout_has_no_commit(checkout: Path) -> None:
    for content in (b"nonsense\n", b"ref: refs/heads/nowhere\n", b"\xff\xfe"):
        (checkout / ".git" / "HEAD").write_bytes(content)
        assert git_commit(checkout) == ""


def test_a_user_without_a_name_stops_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "ddpm",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git(checkout, "rev-parse", "HEAD"),
    }
    assert origin_tags(checkout) == expected
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert origin_tags(checkout) == expected | {"mlflow.user": "unknown"}
