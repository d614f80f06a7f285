"""Where a run works: one lease a workspace, isolated worktrees that hold the checkout's changes."""

import subprocess
import sys

import pytest

from pipelines import workspace
from pipelines.environment import child_environment
from pipelines.revisions import commit_of, leave_branch
from pipelines.workspace import (
    RUN_FILE,
    isolated_workspace,
    leased,
    leased_workspace,
    remove_old_runs,
    runs_root,
)
from stages.core.errors import LeaseError, SettingsError

pytestmark = pytest.mark.slow
SETTINGS = """\
tasks: {input: ../data/tasks}
corpus: {input: first.txt}
first: {text: other}
each: {a: {text: one}, b: {text: two}}
"""


def isolated(project, name="run", text=SETTINGS, **options):
    facts = {"recipe": "none"}
    return isolated_workspace(project, lambda _: text, name=name, facts=facts, **options)


def git(folder, *arguments):
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_second_run_in_a_workspace_is_refused_with_the_first_ones_process(project):
    refused = pytest.raises(LeaseError, match=r"another run works here \(pid \d+")
    with leased(project), refused, leased(project):
        pass
    with leased(project):
        pass


def test_a_worktree_holds_the_settings_and_what_is_changed_and_new(project):
    (project / ".gitignore").write_text("/out\n/ignored\n")
    (project / "new file.txt").write_text("new")
    (project / "ignored").write_text("not copied")
    (project.parent / "data" / "tasks").mkdir(parents=True)
    made = isolated(project)
    assert (made / "params.yaml").read_text() == SETTINGS
    assert (made / ".gitignore").read_text() == "/out\n/ignored\n"
    assert (made / "new file.txt").read_text() == "new"
    assert not (made / "ignored").exists()
    assert (made / "../data/tasks").resolve() == project.parent / "data" / "tasks"
    assert "hello" in (project / "params.yaml").read_text()


def test_a_run_that_is_started_again_goes_on_in_its_worktree(project):
    made = isolated(project)
    (made / "progress").write_text("half")
    assert isolated(project) == made
    assert (made / "progress").read_text() == "half"


def test_a_set_up_that_was_broken_off_is_made_anew(project, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(workspace, "_share_cache", _break_off)
        with pytest.raises(KeyboardInterrupt):
            isolated(project)
    left = runs_root() / "run" / "checkout"
    (left / "leftover").write_text("")
    (left / ".git").unlink()
    made = isolated(project)
    assert made == left
    assert not (made / "leftover").exists()
    assert len(git(project, "worktree", "list").splitlines()) == 2


def _break_off(*_arguments):
    raise KeyboardInterrupt


def test_a_worktree_shares_the_cache_so_that_nothing_runs_twice(project):
    def dvc(folder, *arguments):
        result = subprocess.run(
            ["dvc", *arguments],
            cwd=folder,
            env=child_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stdout

    dvc(project, "repro")
    made = isolated(project, text=(project / "params.yaml").read_text())
    assert (made / "out" / "last").read_text() == "hello\none\nhello\ntwo\n"
    assert "Running stage" not in dvc(made, "repro")


def test_old_runs_are_removed_but_those_that_run(project):
    first, second, third = (isolated(project, name) for name in ("1", "2", "3"))
    with leased(first):
        remove_old_runs(keep=1)
        assert [path.is_dir() for path in (first, second, third)] == [True, False, True]
    remove_old_runs(keep=1)
    assert not first.exists()
    assert third.is_dir()
    assert sorted(path.name for path in runs_root().glob("[0-9]")) == ["3"]


def test_only_a_few_runs_are_kept(project, monkeypatch):
    monkeypatch.setattr(workspace, "KEPT_RUNS", 2)
    for name in ("1", "2", "3"):
        isolated(project, name)
    assert len(list(runs_root().glob("[0-9]"))) == 2


def test_an_input_that_lies_further_up_is_found_beside_the_worktree(project):
    far = project.parent.parent / "far"
    far.mkdir(exist_ok=True)
    made = isolated(project, text=SETTINGS.replace("../data", "../../far"))
    (project.parent.parent / "far" / "tasks").mkdir(exist_ok=True)
    again = isolated(project, "other", text=SETTINGS.replace("../data", "../../far"))
    assert made.parent.name == "above"
    assert (again / "../../far/tasks").resolve() == far / "tasks"


def test_a_run_of_a_revision_has_its_code_and_none_of_the_checkouts_changes(project):
    (project / "new file.txt").write_text("new")
    (project / "dvc.yaml").write_text("stages: {}\n")
    commit = commit_of(project, "HEAD")
    made = isolated(project, commit=commit)
    assert not (made / "new file.txt").exists()
    assert "foreach" in (made / "dvc.yaml").read_text()
    with pytest.raises(SettingsError, match=r"revision 'nowhere': not found .* a branch, tag or"):
        commit_of(project, "nowhere")


def test_a_run_leaves_a_branch_with_settings_and_lock_and_not_what_may_be_private(project):
    made = isolated(project)
    (made / "dvc.lock").write_text("schema: '2.0'\n")
    (made / "notes.txt").write_text("private")
    assert leave_branch(made, "run", "2 of 3 stages ran") == "cloze/run"

    assert git(project, "show", "cloze/run:params.yaml") == SETTINGS
    assert git(project, "log", "-1", "--format=%s", "cloze/run") == "2 of 3 stages ran\n"
    assert "notes.txt" not in git(project, "ls-tree", "--name-only", "cloze/run")
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"diff.external": "true"},
        {"diff.noprefix": "true", "color.ui": "always", "diff.context": "0"},
        {"diff.mnemonicPrefix": "true", "diff.words.textconv": "wc"},
    ],
)
def test_changes_come_along_however_the_users_git_shows_a_diff(project, settings):
    for name, value in settings.items():
        git(project, "config", name, value)
    (project / ".git" / "info" / "attributes").write_text("dvc.yaml diff=words\n")
    changed = (project / "dvc.yaml").read_text().replace("line of first", "changed")
    (project / "dvc.yaml").write_text(changed)
    assert (isolated(project) / "dvc.yaml").read_text() == changed


def test_a_run_started_from_a_git_hook_works_in_its_own_repository(project, monkeypatch):
    before = git(project, "rev-parse", "HEAD")
    (project / "dvc.yaml").write_text("stages: {}\n")
    with monkeypatch.context() as hook:
        hook.setenv("GIT_EXTERNAL_DIFF", "true")
        hook.setenv("GIT_DIFF_OPTS", "--unified=0")
        hook.setenv("GIT_DIR", str(project / ".git"))
        hook.setenv("GIT_WORK_TREE", str(project))
        hook.setenv("GIT_INDEX_FILE", str(project / ".git" / "index"))
        leave_branch(isolated(project), "run", "ran")
    assert git(project, "rev-parse", "HEAD") == before
    assert git(project, "show", "cloze/run:params.yaml") == SETTINGS
    assert git(project, "show", "cloze/run:dvc.yaml") == "stages: {}\n"
    assert git(project, "status", "--porcelain") == " M dvc.yaml\n"


def test_the_users_git_hooks_take_no_part_in_a_run(project):
    for name in ("post-checkout", "prepare-commit-msg"):
        hook = project / ".git" / "hooks" / name
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    assert leave_branch(isolated(project), "run", "ran") == "cloze/run"


def test_set_ups_follow_one_another_until_each_is_leased(project):
    with leased_workspace(lambda: isolated(project)) as (made, _lease):
        refused = pytest.raises(LeaseError, match="another run works here")
        with refused, leased_workspace(lambda: made):
            pass
        with leased_workspace(lambda: project) as (other, _other_lease):
            assert other == project


@pytest.mark.parametrize("name", ["my recipe", "v1..2", ".v1.", "a~^:?*[\\@{b", "x.lock", "é.2/@"])
def test_a_branch_has_a_valid_name_whatever_the_recipes_name_is(project, name):
    branch = leave_branch(project, name, "ran")
    assert git(project, "rev-parse", branch) == git(project, "rev-parse", "HEAD")
    assert branch.count("/") == 1


def test_a_branch_holds_new_code_and_nothing_that_git_ignores(project):
    (project / ".gitignore").write_text("dvc.lock\n*.pyc\n")
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    (project / "stages").mkdir()
    for name in ("new code.py", "old.pyc"):
        (project / "stages" / name).write_text("")
    branch = leave_branch(project, "run", "ran")
    listed = git(project, "ls-tree", "-r", "--name-only", branch).splitlines()
    assert "stages/new code.py" in listed
    assert {"dvc.lock", "stages/old.pyc"}.isdisjoint(listed)


@pytest.mark.parametrize("is_tracked", [False, True])
def test_an_input_behind_a_relative_link_is_the_checkouts(project, is_tracked):
    shared = project.parent / "shared"
    shared.mkdir()
    (shared / "first.txt").write_text("text")
    (project / "data").symlink_to("../shared")
    (project / "corpus.txt").symlink_to("../shared/first.txt")
    if is_tracked:
        git(project, "add", "data", "corpus.txt")
        git(project, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "links")
    made = isolated(project, text="tasks: {input: data/first.txt}\ncorpus: {input: corpus.txt}\n")
    assert (made / "data" / "first.txt").resolve() == shared / "first.txt"
    assert (made / "corpus.txt").resolve() == shared / "first.txt"
    if is_tracked:
        leave_branch(made, "run", "ran")
        assert git(project, "show", "cloze/run:data") == "../shared"


def test_a_repository_inside_the_checkout_comes_along_as_files(project):
    inner = project / "tools" / "inner"
    inner.mkdir(parents=True)
    git(inner, "init", "-q")
    for name in ("known.py", "new.py", "private"):
        (inner / name).write_text(name)
    (inner / ".gitignore").write_text("private\n")
    (inner / "link").symlink_to("known.py")
    git(inner, "add", "known.py")
    made = isolated(project) / "tools" / "inner"
    assert {path.name for path in made.iterdir()} == {"known.py", "new.py", "link", ".gitignore"}
    assert (made / "link").is_symlink()


def test_a_state_root_inside_the_checkout_does_not_come_along(project, monkeypatch):
    monkeypatch.setenv("CLOZE_STATE", str(project / "state"))
    (project / "state" / "checkpoints").mkdir(parents=True)
    (project / "state" / "checkpoints" / "weights").write_text("")
    isolated(project, "first")
    made = isolated(project, "second")
    assert not (made / "state").exists()


def test_a_state_root_around_the_checkout_keeps_nothing_back(project, monkeypatch):
    monkeypatch.setenv("CLOZE_STATE", str(project.parent))
    (project / "new").write_text("")
    assert (isolated(project) / "new").exists()


@pytest.mark.parametrize("left", [None, "", "null", '{"is_ready": true}', '{"workspa'])
def test_a_run_without_a_whole_run_file_is_made_anew(project, left):
    home = runs_root() / "run"
    (home / "checkout" / "leftover").mkdir(parents=True)
    if left is not None:
        (home / RUN_FILE).write_text(left)
    made = isolated(project)
    assert not (made / "leftover").exists()
    assert (made / "params.yaml").read_text() == SETTINGS


def test_broken_runs_are_removed_before_whole_ones(project):
    whole = isolated(project)
    for name in ("without", "damaged"):
        (runs_root() / name).mkdir()
    (runs_root() / "damaged" / RUN_FILE).write_text("")
    remove_old_runs(keep=1)
    assert [home.name for home in runs_root().iterdir() if home.is_dir()] == ["run"]
    assert whole.is_dir()


def test_a_broken_run_whose_processes_live_is_not_made_anew(project):
    (isolated(project).parent / RUN_FILE).write_text("")
    refused = pytest.raises(LeaseError, match="another run works here")
    with leased(runs_root() / "run" / "checkout"), refused:
        isolated(project)


def test_runs_of_a_checkout_that_was_moved_are_found_where_they_are_now(project, monkeypatch):
    text = SETTINGS.replace("../data", "../../far")
    before = isolated(project, text=text)
    moved = project.parent / "moved"
    (project.parent / "state").rename(moved)
    monkeypatch.setenv("CLOZE_STATE", str(moved))
    with leased(moved / before.relative_to(project.parent / "state")):
        remove_old_runs(keep=0)
    assert (moved / "runs" / "run").is_dir()
    made = isolated(project, text=text)
    assert made.is_relative_to(moved)
    assert git(made, "rev-parse", "HEAD") == git(project, "rev-parse", "HEAD")
    remove_old_runs(keep=0)
    assert not (moved / "runs" / "run").exists()
    assert not (project.parent / "state").exists()


def test_a_machine_without_git_is_told_so(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SettingsError, match=r"cannot run git .*is it on PATH"):
        leave_branch(project, "run", "made")


def test_runs_are_listed_but_those_that_are_damaged(project):
    whole = isolated(project, "whole")
    isolated(project, "damaged")
    (workspace.runs_root() / "damaged" / workspace.RUN_FILE).write_text("")
    assert [place for place, _ in workspace.isolated_runs()] == [whole]
