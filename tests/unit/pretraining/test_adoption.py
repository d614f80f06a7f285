"""Going on from a checkpoint of other code or a shorter budget: allowed, recorded, refused."""

import json
from pathlib import Path

import pytest

from stages.core.artifacts import read_manifest, write_json
from stages.core.errors import ArtifactError, SettingsError
from stages.core.settings import parse_section
from stages.pretraining import adoption, checkpoints
from stages.pretraining.identity import IDENTITY, identity, key_of
from stages.pretraining.params import INPUTS, PretrainingParams
from tests.unit.pretraining.test_run import SETTINGS, Stage, inputs, steps

assert inputs  # the fixture of the stage's own tests
REASON = "the budget was doubled after a look at the curve"


def params_of(**changes):
    return parse_section(PretrainingParams, SETTINGS | changes, where="pretraining")


@pytest.fixture
def paths(tmp_path):
    """Artefacts of which only the manifests are read."""
    made = {}
    for stage in INPUTS:
        made[stage] = tmp_path / stage
        made[stage].mkdir()
        facts = {"stage": stage, "content": f"content of {stage}", "properties": {}}
        write_json(made[stage] / "manifest.json", facts)
    return made


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def trained(paths, params, *, spent=10, state):
    """The checkpoint folder of a training of `spent` updates, as the trainer leaves it."""
    facts = identity(params, paths)
    folder = state / "checkpoints" / key_of(facts)
    ledger = {"ledger": {"spent": {"steps": spent}}}
    made = checkpoints.save(folder, spent, lambda into: (into / "weights").write_text("w"), ledger)
    write_json(folder / IDENTITY, facts)
    return made


def test_a_longer_budget_is_adopted_and_recorded(paths, state):
    short, long = params_of(budget=steps(10)), params_of(budget=steps(20))
    before = trained(paths, short, state=state)
    adopted = adoption.adopt(before.folder, REASON, long, paths)
    assert adopted.folder.parent.name == key_of(identity(long, paths))
    assert checkpoints.newest(adopted.folder.parent) == adopted
    assert checkpoints.newest(before.folder.parent) == before
    (record,) = adoption.adoptions(adopted.folder.parent)
    assert record == {
        "from": before.folder.parent.name,
        "step": 10,
        "content": before.content,
        "reason": REASON,
        "changed": {"params.budget.amount": [10, 20]},
    }
    tags = adoption.tags([record])
    assert tags["adopted.changed"] == "params.budget.amount: 10.0 -> 20.0"
    assert tags["adopted.reason"] == REASON


def test_other_code_is_adopted_and_the_older_records_stay(paths, state, monkeypatch):
    params = params_of(budget=steps(30))
    first = trained(paths, params_of(budget=steps(10)), state=state)
    second = adoption.adopt(first.folder.parent, REASON, params, paths)
    write_json(second.folder.parent / IDENTITY, identity(params, paths))
    monkeypatch.setattr("stages.pretraining.identity.training_code", lambda *_: "other code")
    third = adoption.adopt(second.folder, "a faster kernel", params, paths)
    records = adoption.adoptions(third.folder.parent)
    assert [record["reason"] for record in records] == [REASON, "a faster kernel"]
    assert list(records[1]["changed"]) == ["code"]


def test_a_setting_that_only_one_code_knows_is_no_obstacle(paths, state, monkeypatch):
    params = params_of(budget=steps(30))
    made = trained(paths, params, state=state)
    facts = json.loads((made.folder.parent / IDENTITY).read_text())
    facts["params"]["a_setting_of_old"] = 1
    write_json(made.folder.parent / IDENTITY, facts)
    with pytest.raises(SettingsError, match="a_setting_of_old was 1 and is None"):
        adoption.adopt(made.folder, REASON, params, paths)
    monkeypatch.setattr("stages.pretraining.identity.training_code", lambda *_: "other code")
    assert adoption.adopt(made.folder, REASON, params, paths).step == 10


def test_other_settings_or_data_are_refused_by_name(paths, state):
    made = trained(paths, params_of(budget=steps(10)), state=state)
    other = params_of(budget=steps(20), learning_rate=2e-3)
    with pytest.raises(SettingsError, match=r"params.learning_rate was 0.001 and is 0.002"):
        adoption.adopt(made.folder, REASON, other, paths)
    facts = {"stage": "masking", "content": "other masks", "properties": {}}
    write_json(paths["masking"] / "manifest.json", facts)
    with pytest.raises(SettingsError, match=r"inputs.masking was content of masking and is other"):
        adoption.adopt(made.folder, REASON, params_of(budget=steps(20)), paths)


def test_what_needs_no_adoption_is_said(paths, state):
    params = params_of(budget=steps(30))
    made = trained(paths, params, state=state)
    with pytest.raises(SettingsError, match="dvc repro goes on from it"):
        adoption.adopt(made.folder, REASON, params, paths)
    with pytest.raises(SettingsError, match="--reason is empty"):
        adoption.adopt(made.folder, " ", params_of(budget=steps(40)), paths)


def test_a_spent_budget_and_a_training_of_its_own_are_refused(paths, state):
    made = trained(paths, params_of(budget=steps(20)), spent=20, state=state)
    with pytest.raises(SettingsError, match=r"has spent 20 steps and pretraining\.budget is 15"):
        adoption.adopt(made.folder, REASON, params_of(budget=steps(15)), paths)
    trained(paths, params_of(budget=steps(40)), spent=5, state=state)
    with pytest.raises(SettingsError, match="has step 5 of its own"):
        adoption.adopt(made.folder, REASON, params_of(budget=steps(40)), paths)


def test_a_damaged_or_missing_checkpoint_is_refused(paths, state):
    made = trained(paths, params_of(budget=steps(10)), state=state)
    (made.folder / "weights").write_text("other")
    with pytest.raises(ArtifactError, match="damaged"):
        adoption.adopt(made.folder, REASON, params_of(budget=steps(20)), paths)
    with pytest.raises(ArtifactError, match="holds no undamaged checkpoint"):
        adoption.adopt(made.folder.parent, REASON, params_of(budget=steps(20)), paths)


@pytest.mark.slow
def test_a_training_goes_on_with_a_longer_budget_and_its_manifest_says_so(inputs, tmp_path):
    stage = Stage(inputs, tmp_path)
    assert stage.run_here(SETTINGS | {"budget": steps(10)}).returncode == 0
    command = stage.command(SETTINGS | {"budget": steps(20)})
    options = command[command.index("--params") : command.index("--out")]
    words = [str(stage.checkpoints[-1]), "--reason", REASON, *options]
    result = stage.run_module("stages.pretraining.adoption", *words)
    assert result.returncode == 0, result.stderr
    result = stage.run_here(SETTINGS | {"budget": steps(20)})
    assert "resumed step=10" in result.stderr
    facts = read_manifest(tmp_path / "out", "pretraining")
    assert facts["steps"] == 20
    assert [record["reason"] for record in facts["adopted"]] == [REASON]
    points = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert [point["step"] for point in points] == [10, 20]
