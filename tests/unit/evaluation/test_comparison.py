"""Several systems side by side: pooled seeds, honest headline, and members that do not fit."""

import json
from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.comparison import compare, read_members, table
from stages.evaluation.comparison_report import write_comparison

SCORES = {"bert": [[0.5, 0.52], [0.54, 0.56]], "electra": [[0.60, 0.62], [0.61, 0.63]]}


def write_member(folder: Path, objective: str, seed: int, order: int, tasks=("one", "two")) -> None:
    path = folder / f"{objective}-{seed}"
    path.mkdir(parents=True)
    scores = SCORES[objective][seed - 1]
    entry = {"score": {"encoder": {"seeds": scores}, "twin": {"seeds": [0.4, 0.42]}}}
    evaluation = {
        "tasks": dict.fromkeys(tasks, entry),
        "macro": {"glue": {"tasks": list(tasks), "rule": "Mean over 2 GLUE tasks."}},
        "verdict_rule": "A rule.",
        "lineage": {"tasks": "abc"},
    }
    pretraining = {
        "steps": 10,
        "tokens": 1000,
        "flops": 2e12,
        "parameters": 4000,
        "trained_parameters": 5000,
        "comparison": {"mlm_perplexity": 300.0, "pseudo_perplexity_per_word": 2000.0},
    }
    curve = [{"step": n, "flops": n * 1e11, "comparison_mlm_loss": 9.0 - n / 10} for n in (5, 10)]
    facts = {"objective": objective, "seed": seed, "order": order, "learning_rate": 1e-3}
    for name, content in (
        ("evaluation", evaluation),
        ("pretraining", pretraining),
        ("curve", curve),
        ("member", facts | {"minutes": 2.5}),
    ):
        (path / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def members(tmp_path):
    for seed in (1, 2):
        write_member(tmp_path / "members", "electra", seed, order=1)
        write_member(tmp_path / "members", "bert", seed, order=0)
    return tmp_path / "members"


def test_scores_pool_both_kinds_of_seeds(members):
    compared = compare(read_members(members))
    assert list(compared["systems"]) == ["bert", "electra"]
    bert = compared["systems"]["bert"]["macro"]["glue"]["encoder"]
    assert bert["seeds"] == [0.5, 0.52, 0.54, 0.56]
    assert bert["mean"] == pytest.approx(0.53)
    assert bert["sd"] == pytest.approx(0.025820, abs=1e-6)
    assert "Each system was pre-trained once" not in compared["headline"]
    assert compared["headline"].startswith("Macro score, highest first: electra 61.5")
    assert "8.5 points, beyond twice" in compared["headline"]


def test_one_pretraining_seed_is_said_to_cover_nothing_of_pretraining(tmp_path):
    for order, name in enumerate(SCORES):
        write_member(tmp_path / "members", name, 1, order)
    compared = compare(read_members(tmp_path / "members"))
    assert "how much pre-training varies is not covered" in compared["headline"]


def test_the_table_states_costs_measures_and_scores(members):
    header, rows = table(compare(read_members(members)))
    assert header == ["", "bert", "electra"]
    shown = {row[0]: row[1:] for row in rows}
    assert shown["FLOPs"] == ["2e+12", "2e+12"]
    assert shown["minutes of training"] == ["2.5", "2.5"]
    assert shown["macro glue"] == ["53.0 ± 2.6", "61.5 ± 1.3"]
    assert shown["macro glue, random twin"][0].startswith("41.0")
    assert shown["one"] == shown["two"] == shown["macro glue"]


def test_systems_of_different_tasks_are_not_compared(tmp_path):
    write_member(tmp_path / "members", "bert", 1, 0)
    write_member(tmp_path / "members", "electra", 1, 1, tasks=("one",))
    with pytest.raises(ArtifactError, match="different tasks"):
        read_members(tmp_path / "members")


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(ArtifactError, match="holds no member"):
        read_members(tmp_path / "none")


def test_the_files_hold_table_plot_and_curve(members, tmp_path):
    write_comparison(members, tmp_path / "out")
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert page.count('class="strip"') == 2
    assert page.count("<polyline") == 4
    assert "TFLOPs" in page
    assert "<script" not in page
    assert "| macro glue | 53.0 ± 2.6 | 61.5 ± 1.3 |" in (
        tmp_path / "out" / "comparison.md"
    ).read_text(encoding="utf-8")
    assert (tmp_path / "out" / "comparison.csv").read_text().startswith(",bert,electra\n")
