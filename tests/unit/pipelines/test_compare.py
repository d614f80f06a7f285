"""The plan of a comparison: what is held equal, what differs, and what is refused."""

from pathlib import Path

import pytest

from pipelines.compare import (
    Plan,
    keep_predictions,
    parse_budget,
    parse_objectives,
    plan_runs,
)
from stages.core.errors import SettingsError

ROOT = Path(__file__).resolve().parents[3]
ALL = ("bert", "roberta", "spanbert", "electra")


def plan(**changes) -> Plan:
    given = {
        "objectives": ALL,
        "budget": {"unit": "flops", "amount": 1e12},
        "is_as_published": False,
        "num_pretraining_seeds": 1,
        "recipe": None,
        "overrides": (),
    }
    return Plan(**{**given, **changes})


@pytest.mark.slow
def test_equal_terms_differ_in_the_objective_and_its_masks_alone(workspace):
    runs = plan_runs(workspace, plan())
    assert [run.settings.pretraining.objective for run in runs] == list(ALL)
    first = runs[0].settings
    for run in runs[1:]:
        assert run.settings.tokenizer == first.tokenizer
        assert run.settings.corpus == first.corpus
        assert run.settings.finetuning == first.finetuning
        own = {"objective", "electra", "learning_rate"}
        mine, theirs = (s.pretraining.model_dump(exclude=own) for s in (run.settings, first))
        assert mine == theirs
        assert run.settings.masking.lengths == first.masking.lengths
        assert run.settings.masking.masks == "dynamic"


@pytest.mark.slow
def test_as_published_takes_each_papers_own(workspace):
    runs = {run.objective: run.settings for run in plan_runs(workspace, plan(is_as_published=True))}
    assert runs["roberta"].tokenizer.kind == "bpe"
    assert runs["bert"].masking.masks == "static"
    assert runs["spanbert"].pretraining.adam_epsilon == 1e-8
    assert all(one.pretraining.model.hidden_dropout_probability == 0.1 for one in runs.values())
    assert all(one.pretraining.budget.unit == "flops" for one in runs.values())


@pytest.mark.slow
def test_pretraining_seeds_follow_the_settings_own(workspace):
    chosen = plan(
        objectives=("bert",),
        num_pretraining_seeds=3,
        overrides=({"pretraining": {"seed": 5}},),
    )
    assert [run.seed for run in plan_runs(workspace, chosen)] == [5, 6, 7]
    assert [run.name for run in plan_runs(workspace, chosen)] == ["bert-5", "bert-6", "bert-7"]


def test_settings_that_do_not_fit_are_refused_before_anything_runs(workspace):
    wrong = plan(overrides=({"masking": {"examples": "single"}},))
    with pytest.raises(SettingsError, match="objective 'bert' expects segment-pairs"):
        plan_runs(workspace, wrong)


def test_budgets_and_objectives_are_read():
    assert parse_budget("flops=3e13") == {"unit": "flops", "amount": 3e13}
    assert parse_objectives("bert, electra") == ("bert", "electra")


@pytest.mark.parametrize("text", ["3e13", "hours=2", "steps=many", "tokens=-5"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="expected UNIT=AMOUNT"):
        parse_budget(text)


@pytest.mark.parametrize("text", ["bert,gpt", "bert,bert", ""])
def test_objectives_that_are_none_are_refused(text):
    with pytest.raises(SettingsError, match="expected different ones of bert"):
        parse_objectives(text)


def test_a_member_keeps_its_predictions_and_none_of_an_earlier_run(tmp_path):
    made = tmp_path / "artifacts" / "finetuning" / "RTE"
    made.mkdir(parents=True)
    (made / "predictions.parquet").write_bytes(b"new")
    kept = tmp_path / "member" / "predictions"
    kept.mkdir(parents=True)
    (kept / "CoLA.parquet").write_bytes(b"old")
    keep_predictions(tmp_path, kept, ["RTE"])
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"RTE.parquet": b"new"}
