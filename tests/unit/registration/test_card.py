from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from stages.registration.candidates import Candidate
from stages.registration.card import card_body, model_card, plain
from stages.registration.card_facts import CardFacts
from stages.registration.evidence import Evidence
from tests.unit.registration.builders import MANIFESTS


def spread(*seeds: float) -> dict[str, Any]:
    return {"mean": sum(seeds) / len(seeds), "sd": 0.012 if len(seeds) > 1 else None}


SST = {
    "encoder": {"accuracy": spread(0.81, 0.83)},
    "twin": {"accuracy": spread(0.71, 0.73)},
    "score": {"encoder": spread(0.81, 0.83), "twin": spread(0.71, 0.73)},
    "intervals": {
        label: {"encoder": [0.79, 0.85], "twin": [0.69, 0.75], "difference": [0.06, 0.14]}
        for label in ("accuracy", "score")
    },
    "verdict": "ahead",
    "note": "train is a subset: 4,000 of 67,349; scores are not comparable with published ones",
}
EVALUATION = {
    "tasks": {"SST-2": SST, "RTE": SST | {"verdict": "not distinguishable", "note": ""}},
    "macro": {
        "glue": {
            "encoder": 0.82,
            "twin": 0.72,
            "difference": 0.1,
            "interval": [0.05, 0.15],
            "rule": "Mean over 2 GLUE tasks.",
        }
    },
    "verdict_rule": "Ahead: above the twin's.",
}
TASKS = {"tasks": {"SST-2": {"splits": {"dev": {"examples": 872}}}}}
FACTS = CardFacts(
    manifests={**MANIFESTS, "tasks": TASKS},
    finetuned={"SST-2": {"train_examples": 4000, "seeds": [1, 2]}, "RTE": {"seeds": [1, 2]}},
    evaluation=EVALUATION,
    costs={"minutes": 12.34, "energy_joules": 7.2e6},
    pipeline="fill-mask",
)
ENCODER = Candidate("cloze-encoder", Path("encoder"), "aaa.dir")
TASK = Candidate(
    "cloze-sst-2",
    Path("model"),
    "bbb.dir",
    task="SST-2",
    evidence=Evidence("SST-2", "h", "classification", ("accuracy",), median_seed=2, seeds=(1, 2)),
)
NOTHING = CardFacts(manifests={}, finetuned={}, evaluation={}, costs={}, pipeline="fill-mask")


def test_the_header_is_metadata_that_the_hub_reads_with_its_results() -> None:
    data = ModelCard(model_card(TASK, FACTS)).data
    assert (data.language, data.library_name) == ("en", "transformers")
    assert data.pipeline_tag == "text-classification"
    assert data.tags == ["cloze", "bert"]
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_type) == ("SST-2", "accuracy")
    assert result.metric_value == pytest.approx(0.82)


def test_the_encoders_card_lists_the_results_of_every_task() -> None:
    data = ModelCard(model_card(ENCODER, FACTS)).data
    assert data.pipeline_tag == "fill-mask"
    assert [result.dataset_name for result in data.eval_results] == ["SST-2", "RTE"]


@pytest.mark.parametrize(
    "fact",
    [
        "source python-docs, language en",
        "1,840 for training (4.8 MB), 42 for validation (0.1 MB), of 2,410 read",
        "shorter than 100 characters dropped, 3 invalid characters replaced",
        "near duplicates from a similarity of 0.8 dropped",
        "| near-duplicate | 29 |",
        "| short | 412 |",
        "share 13 words in a row with a task's development or test example were cut out of 7",
        "(9 paragraphs, 1,234 bytes), against 5,000 such word sequences",
        "wordpiece, 4,032 entries, lower case",
        "1.530 tokens a word",
        "Objective bert, started from scratch",
        "segment-pairs, sequences of 64 tokens; masks: static, unit token, 15 % of the tokens",
        "validation mlm loss 4.9, comparison mlm perplexity 134.3",
        "1.5e+13 FLOPs, 1,600,000 tokens, 25,600 sequences, 800 updates",
        "Time: 12.3 minutes.",
        "Energy: 2 kWh, by the counters",
        "learnt by a pre-trained bert encoder, 1,543,210 parameters",
        "median seed of 2 on the development set (seed 2)",
        "| SST-2 | accuracy | 82.0 ± 1.2 | 79.0 to 85.0 | 72.0 ± 1.2 | 6.0 to 14.0 | ahead |",
        "trained on 4,000 examples; judged on 872, few; train is a subset: 4,000 of 67,349",
        "2 fine-tuning seed(s)",
        "language (en)",
        'load_model("models:/cloze-sst-2@champion")',
    ],
)
def test_a_card_tells(fact: str) -> None:
    assert fact in card_body(TASK, FACTS)


def test_a_task_models_card_holds_no_other_tasks_scores() -> None:
    assert "RTE" not in model_card(TASK, FACTS)


def test_the_encoders_card_tells_the_macro_score_with_its_rule() -> None:
    text = card_body(ENCODER, FACTS)
    assert "Macro score 82.0, of the twin 72.0, difference 10.0 (5.0 to 15.0)." in text
    assert "Mean over 2 GLUE tasks." in text
    assert "| RTE | accuracy | 82.0 ± 1.2 |" in text


def test_several_metrics_are_one_row_in_the_encoders_card() -> None:
    both = {"f1": spread(0.7, 0.7), "accuracy": spread(0.8, 0.8)}
    entry = SST | {"encoder": both, "twin": both}
    facts = replace(FACTS, evaluation={"tasks": {"MRPC": entry}})
    assert "| MRPC | mean of f1, accuracy | 82.0 ± 1.2 |" in card_body(ENCODER, facts)


@pytest.mark.parametrize("candidate", [ENCODER, TASK], ids=["encoder", "task"])
def test_facts_that_nobody_stated_are_unknown_and_never_guessed(candidate: Candidate) -> None:
    text = model_card(candidate, NOTHING)
    ModelCard(text)
    for fact in (
        "source unknown, language unknown",
        "unknown for training (unknown), unknown for validation (unknown), of unknown read",
        "Decontamination: unknown.",
        "Dropped documents: unknown.",
        "unknown, unknown entries, case unknown",
        "unknown FLOPs, unknown tokens",
        "Time: unknown.",
        "Energy: unknown, the machine has no counter",
        "Scores: unknown.",
    ):
        assert fact in text


def test_decontamination_that_was_off_is_said() -> None:
    cleaning = {**MANIFESTS["corpus"]["cleaning"], "decontamination": None, "near_duplicates": None}
    corpus = {**MANIFESTS["corpus"], "cleaning": cleaning}
    facts = replace(FACTS, manifests={**FACTS.manifests, "corpus": corpus})
    text = card_body(TASK, facts)
    assert "Decontamination: none: the corpus may hold the tasks' development" in text
    assert "near duplicates kept" in text


def test_one_seed_has_no_deviation() -> None:
    entry = SST | {"encoder": {"accuracy": spread(0.8)}, "twin": {"accuracy": spread(0.7)}}
    facts = replace(FACTS, evaluation={"tasks": {"SST-2": entry}})
    assert "| SST-2 | accuracy | 80.0 | 79.0 to 85.0 | 70.0 |" in card_body(TASK, facts)


def test_hostile_names_stay_text() -> None:
    assert plain("a|b\n<script>&") == "a&#124;b &lt;script>&amp;"
    note = {"SST-2": SST | {"note": "<img src=x>\n# big"}}
    text = card_body(TASK, replace(FACTS, evaluation={"tasks": note}))
    assert "<img" not in text
    assert "\n# big" not in text


def test_a_model_that_extracts_answers_is_loaded_as_what_it_is() -> None:
    evidence = replace(TASK.evidence, kind="extraction") if TASK.evidence else None
    text = model_card(replace(TASK, evidence=evidence), FACTS)
    assert "AutoModelForQuestionAnswering" in text
    assert ModelCard(text).data.pipeline_tag == "question-answering"


def test_a_head_on_pooled_layers_is_loaded_by_the_code_that_knows_it() -> None:
    text = model_card(replace(TASK, is_pooled=True), FACTS)
    assert "load_pooled(Path(folder))" in text
    assert "mlflow.transformers.load_model" not in text
