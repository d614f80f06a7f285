from pathlib import Path

from stages.evaluation.caveats import caveats

FACTS = {"note": "subset", "splits": {"train": {"examples": 9000}, "dev": {"examples": 1043}}}
PRETRAINING = Path("artifacts/pretraining")
START = "artifacts/pretraining/encoder"


def notes(
    facts: object = FACTS,
    finetuned: object = {},
    is_left_out: bool = False,
    start: object = START,
) -> list[str]:
    return caveats(
        facts,
        finetuned,
        {"start": start, "max_seq_length": 64},
        pretraining=PRETRAINING,
        is_left_out=is_left_out,
    )


def test_the_manifests_own_note_comes_first():
    assert notes() == ["subset", "trained on 9,000", "1,043 dev examples"]


def test_a_cut_training_set_is_told():
    assert "trained on 4,000 of 9,000" in notes(finetuned={"train_examples": 4000})
    assert "trained on 9,000" in notes(finetuned={"train_examples": 9000})


def test_texts_that_were_cut_are_counted():
    assert "1,043 dev examples (12 cut to 64 tokens)" in notes(finetuned={"truncated": {"dev": 12}})
    assert "1,043 dev examples" in notes(finetuned={"truncated": {"dev": 0}})


def test_a_task_that_starts_elsewhere_says_where():
    (*_, last) = notes(start="artifacts/finetuning/MNLI/model")
    assert (
        last == "starts from artifacts/finetuning/MNLI/model, not from this pre-training's encoder"
    )
    pinned = {"checkpoint": "google/bert", "revision": "0123456"}
    assert "google/bert" in notes(start=pinned)[-1]


def test_a_task_left_out_of_the_mean_says_so():
    assert notes(is_left_out=True)[-1] == "left out of the mean"


def test_a_manifest_without_counts_gives_no_counts():
    assert notes(facts={}) == []


def test_a_frozen_encoder_and_a_searched_grid_are_told():
    assert notes(finetuned={"mode": "frozen"})[-1].startswith("the encoder is frozen")
    assert notes(finetuned={"mode": "full"}) == notes()
    searched = caveats(
        FACTS,
        {},
        {"start": START},
        pretraining=PRETRAINING,
        is_left_out=False,
        is_searched=True,
    )
    assert "optimistic" in searched[-1]
