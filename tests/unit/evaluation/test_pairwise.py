"""Pairs of members: intervals on the same resamples, McNemar, and members from before."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.comparison import Member
from stages.evaluation.comparison_report import write_comparison
from stages.evaluation.pair_table import pair_sentences, pair_table
from stages.evaluation.pairwise import lacks_predictions, pairs

NUM_EXAMPLES = 40


def member(folder: Path, name: str, num_wrong: int, *, is_kept: bool = True) -> Member:
    """Wrong on its first `num_wrong` of 40 examples, with both fine-tuning seeds."""
    path = folder / f"{name}-1"
    (path / "predictions").mkdir(parents=True)
    score = 1 - num_wrong / NUM_EXAMPLES
    entry = {
        "encoder": {"accuracy": {}},
        "score": {"encoder": {"seeds": [score, score]}},
        "median_seeds": {"encoder": 2, "twin": 1},
    }
    if not is_kept:
        del entry["median_seeds"]
    rows = [
        {"system": "encoder", "seed": seed, "split": "dev", "index": index, "label": 1.0}
        | {"prediction": float(index >= num_wrong), "scores": [0.0, 1.0]}
        for seed in (1, 2)
        for index in range(NUM_EXAMPLES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path / "predictions" / "RTE.parquet")
    evaluation = {"tasks": {"RTE": entry}, "macro": {"glue": {"tasks": ["RTE"], "rule": ""}}}
    return Member(path, name, 1, {}, evaluation, {}, [])


def test_a_pair_has_its_difference_interval_and_test(tmp_path):
    (found,) = pairs([member(tmp_path, "bert", 20), member(tmp_path, "electra", 4)])
    assert (found["first"], found["second"]) == ("bert-1", "electra-1")
    macro = found["macro"]["glue"]
    assert macro["difference"] == -0.4
    # The share of examples that only one gets right is binomial: 16 of 40, sd 0.0775.
    low, high = macro["interval"]
    assert low == pytest.approx(-0.4 - 1.96 * 0.0775, abs=0.02)
    assert high == pytest.approx(-0.4 + 1.96 * 0.0775, abs=0.02)
    assert macro["is_beyond"] is True
    assert found["mcnemar"]["RTE"]["dev"] == {
        "only_first": 0,
        "only_second": 16,
        "p_value": pytest.approx(2 * 0.5**16, abs=1e-6),
    }


def test_the_same_predictions_differ_by_nothing(tmp_path):
    (found,) = pairs([member(tmp_path, "bert", 7), member(tmp_path, "electra", 7)])
    assert found["macro"]["glue"] == {
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "is_beyond": False,
    }
    assert found["mcnemar"]["RTE"]["dev"]["p_value"] == 1.0


def test_every_two_of_three_members_are_a_pair(tmp_path):
    members = [member(tmp_path, name, n) for n, name in enumerate(("bert", "electra", "roberta"))]
    found = [(pair["first"], pair["second"]) for pair in pairs(members)]
    assert found == [
        ("bert-1", "electra-1"),
        ("bert-1", "roberta-1"),
        ("electra-1", "roberta-1"),
    ]


def test_a_member_from_before_is_in_no_pair_and_that_is_said(tmp_path):
    members = [member(tmp_path, "bert", 3), member(tmp_path, "electra", 3, is_kept=False)]
    assert [lacks_predictions(one) for one in members] == [False, True]
    assert pairs(members) == []
    said = pair_sentences({"pairs": [], "without_predictions": ["electra-1"]})
    assert said == [
        "Kept without their predictions, and so in no pair: electra-1; running pipelines compare "
        "again keeps them."
    ]
    assert pair_table([]) == ([], [])


def test_predictions_of_other_examples_than_another_members_are_refused(tmp_path):
    members = [member(tmp_path, "bert", 3), member(tmp_path, "electra", 3)]
    path = members[1].folder / "predictions" / "RTE.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([row | {"label": 0.0} for row in rows]), path)
    with pytest.raises(ArtifactError, match=r"electra-1/predictions/RTE\.parquet: predicts other"):
        pairs(members)
    pq.write_table(pa.Table.from_pylist(rows[:NUM_EXAMPLES]), path)
    with pytest.raises(ArtifactError, match=r"predictions of the seeds \[1\], expected 2 of them"):
        pairs(members)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"electra-1/predictions/RTE\.parquet: missing"):
        pairs(members)


def test_answers_are_compared_by_what_each_question_scores(tmp_path):
    members = [member(tmp_path, "bert", 0), member(tmp_path, "electra", 0)]
    for one, f1 in zip(members, (0.25, 0.75), strict=True):
        one.evaluation["tasks"]["RTE"]["encoder"] = {"exact_match": {}, "f1": {}}
        one.evaluation["tasks"]["RTE"]["score"]["encoder"]["seeds"] = [f1 / 2, f1 / 2]
        path = one.folder / "predictions" / "RTE.parquet"
        rows = [
            row | {"answer": "", "exact_match": 0.0, "f1": f1}
            for row in pq.read_table(path).to_pylist()
        ]
        pq.write_table(pa.Table.from_pylist(rows), path)
    (found,) = pairs(members)
    assert found["macro"]["glue"] == {
        "difference": -0.25,
        "interval": [-0.25, -0.25],
        "is_beyond": True,
    }
    assert found["mcnemar"] == {}


def test_the_files_of_a_comparison_hold_the_pairs(tmp_path):
    for order, name in enumerate(("bert", "electra")):
        kept = member(tmp_path / "members", name, 20 - 16 * order)
        write_facts(kept, order)
    write_comparison(tmp_path / "members", tmp_path / "out")
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| bert-1 \u2212 electra-1 | \u221240.0 | \u2212" in text
    assert "differences beyond their 95 % interval: electra-1 over bert-1 by +40.0 (+" in text
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "electra-1 over bert-1 by +40.0" in page
    compared = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert compared["pairs"][0]["macro"]["glue"]["is_beyond"] is True
    assert compared["without_predictions"] == []


def write_facts(kept: Member, order: int) -> None:
    """What else a member holds."""
    evaluation: dict[str, Any] = dict(kept.evaluation)
    for entry in evaluation["tasks"].values():
        entry["score"]["twin"] = {"seeds": [0.4, 0.5]}
    evaluation |= {"verdict_rule": "A rule.", "lineage": {"tasks": "abc"}}
    pretraining = dict.fromkeys(
        ("steps", "tokens", "flops", "parameters", "trained_parameters"), 10
    ) | {"comparison": {"mlm_perplexity": 3.0, "pseudo_perplexity_per_word": 2.0}}
    facts = {"objective": kept.objective, "seed": 1, "order": order, "learning_rate": 1e-3}
    for name, content in (
        ("evaluation", evaluation),
        ("pretraining", pretraining),
        ("curve", []),
        ("member", facts),
    ):
        (kept.folder / f"{name}.json").write_text(json.dumps(content))
