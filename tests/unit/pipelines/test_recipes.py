"""Recipes and overrides: every one validates, and what is applied keeps the rest as it was."""

from pathlib import Path

import pytest

from pipelines.form import settings_form
from pipelines.recipes import changed_params, differences, parse_assignment, recipe_names
from pipelines.settings import load_settings, parse_settings
from stages.core.errors import SettingsError
from stages.core.settings import read_yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def workspace(workspace):
    """The settings of the project, with folders where its recipes look for data."""
    for name in ("glue", "wikipedia"):
        (workspace / "data" / name).mkdir(parents=True)
    return workspace


def test_the_projects_own_settings_are_valid(workspace):
    assert load_settings(workspace).pretraining.objective == "bert"


@pytest.mark.parametrize("name", recipe_names(ROOT))
def test_every_recipe_is_valid_and_keeps_the_comments(workspace, name):
    text, settings = changed_params(workspace, name, [])
    glue = settings.tasks.source != "sample"
    assert not glue or settings.finetuning.tasks.keys() == {
        "CoLA",
        "SST-2",
        "MRPC",
        "STS-B",
        "QQP",
        "MNLI",
        "QNLI",
        "RTE",
        "WNLI",
    }
    assert "# Every tunable number" in text
    (workspace / "params.yaml").write_text(text)
    assert load_settings(workspace) == settings


def test_a_recipe_lies_over_what_it_extends(workspace):
    base, large = (changed_params(workspace, name, [])[1] for name in ("bert-base", "bert-large"))
    assert (base.pretraining.model.size, large.pretraining.model.size) == ("base", "large")
    same = large.pretraining.model.model_copy(update={"size": "base"})
    assert large.pretraining.model_copy(update={"model": same}) == base.pretraining
    assert large.corpus == base.corpus


def test_a_recipe_that_extends_itself_is_refused(workspace):
    (workspace / "recipes" / "one.yaml").write_text("extends: [two]\n")
    (workspace / "recipes" / "two.yaml").write_text("extends: [one]\n")
    with pytest.raises(SettingsError, match=r"extends itself \(one -> two -> one\)"):
        changed_params(workspace, "one", [])


@pytest.mark.slow
@pytest.mark.parametrize("first", ["bert", "roberta", "spanbert", "electra"])
@pytest.mark.parametrize("then", ["bert", "roberta", "spanbert", "electra"])
def test_one_system_leaves_nothing_behind_for_the_next(workspace, first, then):
    """What a system switches on, every other one switches off."""
    direct, _ = changed_params(workspace, f"parts/systems/{then}", [])
    (workspace / "params.yaml").write_text(
        changed_params(workspace, f"parts/systems/{first}", [])[0]
    )
    after, settings = changed_params(workspace, f"parts/systems/{then}", [])
    assert settings.pretraining.objective == then
    ignored = "short_sequence_probability"  # RoBERTa's full sentences have no short ones
    changed = [line for line in differences(direct, after) if ignored not in line]
    assert changed == []


def test_an_override_changes_one_parameter_and_says_so(workspace):
    before = (workspace / "params.yaml").read_text()
    after, settings = changed_params(workspace, None, [parse_assignment("pretraining.seed=7")])
    assert settings.pretraining.seed == 7
    lines = list(differences(before, after))
    assert len(lines) == 1
    assert "pretraining.seed" in lines[0]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("pretraining.sead=7", "pretraining.sead is not a known parameter; did you mean 'seed'"),
        ("masking.mlm_probability=15.0", "did you mean 0.15"),
        ("corpus.input=nowhere", "nowhere"),
        ("tokenizer.start={checkpoint: a/b, revision: '0123456789'}", "make them equal"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(workspace, assignment, message):
    with pytest.raises(SettingsError, match=message):
        changed_params(workspace, None, [parse_assignment(assignment)])


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        (
            "masking",
            "lengths",
            [{"max_seq_length": 32, "max_predictions_per_sequence": 5}],
            "expected one of masking.lengths",
        ),
        ("evaluation", "unknown", 1, "evaluation.unknown is not a known parameter"),
    ],
)
def test_sections_that_do_not_fit_together_are_named(workspace, section, key, value, message):
    values = read_yaml(workspace / "params.yaml")
    values[section][key] = value
    with pytest.raises(SettingsError, match=message):
        parse_settings(values, root=workspace)


def test_the_form_describes_and_prefills_every_section(workspace):
    schema = settings_form(workspace).model_json_schema()
    assert set(schema["properties"]) == set(read_yaml(workspace / "params.yaml"))
    text = str(schema)
    assert "Peak learning rate" in text
    assert "Share of a sequence's tokens to predict" in text
