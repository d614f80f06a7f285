"""The masking stage: statistics of the generated examples, identical bytes, refused inputs."""

import shutil

import numpy as np
import pytest

from stages.core import execution, shards
from stages.core.artifacts import content_hash, read_manifest
from stages.core.errors import ArtifactError
from stages.core.examples import assemble, open_example_index
from stages.core.masks.settings import MaskSettings, mask_settings
from stages.core.settings import parse_section
from stages.core.token_store import open_token_store
from stages.core.tracking.journal import RunJournal
from stages.masking import instances
from stages.masking import run as masking
from stages.masking.params import MaskingParams
from tests.builders import SPECIAL_TOKEN_IDS, random_documents, write_encoding, write_tokenizer

VOCAB = 500
SETTINGS = {
    "examples": "segment-pairs",
    "masks": "static",
    "lengths": [{"max_seq_length": 64, "max_predictions_per_sequence": 10}],
    "duplication_factor": 3,
    "short_sequence_probability": 0.1,
    "mlm_probability": 0.15,
    "mask_token_probability": 0.8,
    "random_token_probability": 0.1,
    "unit": "token",
    "budget_rounding": "nearest",
    "seed": 1,
}

SPAN = {"geometric_probability": 0.2, "max_words": 10}


def length(max_seq_length, cap=None):
    return {"max_seq_length": max_seq_length, "max_predictions_per_sequence": cap}


def params(**changes) -> MaskingParams:
    return parse_section(MaskingParams, SETTINGS | changes, where="masking")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("masking")
    documents = {
        "train": random_documents(0, 300, VOCAB),
        "validation": random_documents(1, 20, VOCAB),
    }
    starts = np.random.default_rng(0).random(VOCAB) < 0.6
    write_encoding(root / "encoding", documents, VOCAB, starts)
    write_tokenizer(root / "tokenizer", VOCAB)
    return {"encoding": root / "encoding", "tokenizer": root / "tokenizer"}


def generate(paths, out, **changes):
    masking.run(params(**changes), {**paths, "out": out}, RunJournal("test"))
    return out


def built(paths, out, split="train"):
    """Everything a model would see, example by example."""
    store = open_token_store(paths["encoding"], split)
    index = open_example_index(out, 64, split)
    sequences = assemble(
        store, index.examples, max_seq_length=64, special_token_ids=SPECIAL_TOKEN_IDS
    )
    row = np.repeat(np.arange(len(index)), np.diff(index.masks.offsets))
    column = np.asarray(index.masks.positions).astype(int)
    return index, sequences, row, column


def test_no_special_token_is_masked_and_budgets_are_met_exactly(paths, tmp_path):
    index, sequences, row, column = built(paths, generate(paths, tmp_path / "out"))
    assert not sequences.special_tokens_mask[row, column].any()
    lengths = sequences.attention_mask.sum(axis=1)
    budget = np.minimum(10, np.maximum(1, np.rint(lengths * 0.15)))
    assert np.array_equal(np.diff(index.masks.offsets), budget)


def test_shown_tokens_are_eighty_ten_ten_and_never_special(paths, tmp_path):
    index, sequences, row, column = built(paths, generate(paths, tmp_path / "out"))
    shown = np.asarray(index.masks.replacements).astype(int)
    original = sequences.input_ids[row, column]
    n = len(shown)
    for share, expected in [
        ((shown == SPECIAL_TOKEN_IDS["mask"]).mean(), 0.8),
        ((shown == original).mean(), 0.1 + 0.1 / (VOCAB - 5)),
    ]:
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / n)
    assert set(np.unique(shown[shown < 5])) <= {SPECIAL_TOKEN_IDS["mask"]}


def test_whole_words_are_masked_together(paths, tmp_path):
    out = generate(paths, tmp_path / "out", unit="whole-word")
    index, sequences, row, column = built(paths, out)
    masked = np.zeros(sequences.input_ids.shape, dtype=bool)
    masked[row, column] = True
    word = np.cumsum(sequences.word_starts, axis=1)
    for number in range(0, len(index), 7):
        text = ~sequences.special_tokens_mask[number]
        for one in np.unique(word[number][text]):
            inside = masked[number][text & (word[number] == one)]
            assert inside.all() or not inside.any()


def test_sequences_have_their_special_tokens_and_types(paths, tmp_path):
    index, sequences, _, _ = built(paths, generate(paths, tmp_path / "out"))
    a = index.examples["a_length"].astype(int)
    b = index.examples["b_length"].astype(int)
    rows = np.arange(len(index))
    assert (a > 0).all()
    assert (b > 0).all()
    assert (a + b <= 61).all()
    assert (sequences.input_ids[:, 0] == SPECIAL_TOKEN_IDS["cls"]).all()
    assert (sequences.input_ids[rows, a + 1] == SPECIAL_TOKEN_IDS["sep"]).all()
    assert (sequences.input_ids[rows, a + b + 2] == SPECIAL_TOKEN_IDS["sep"]).all()
    assert np.array_equal(sequences.attention_mask.sum(axis=1), a + b + 3)
    assert np.array_equal(sequences.token_type_ids.sum(axis=1), b + 1)
    assert ((sequences.input_ids == SPECIAL_TOKEN_IDS["cls"]).sum(axis=1) == 1).all()
    assert ((sequences.input_ids == SPECIAL_TOKEN_IDS["sep"]).sum(axis=1) == 2).all()


def test_every_token_of_the_corpus_is_offered_in_each_pass(paths, tmp_path):
    """What is not cut away is there: with no truncation all sentences stand in some pair."""
    documents = [[[10 + n] * 3 for n in range(6)] for _ in range(5)]
    write_encoding(tmp_path / "encoding", {"train": documents, "validation": documents}, VOCAB)
    few = {"encoding": tmp_path / "encoding", "tokenizer": paths["tokenizer"]}
    out = generate(few, tmp_path / "out", short_sequence_probability=0.0, duplication_factor=1)
    index = open_example_index(out, 64, "train")
    covered = np.zeros(5 * 18, dtype=bool)
    for example in index.examples:
        covered[example["a_start"] :][: example["a_length"]] = True
        if example["next_sentence_label"] == 0:
            covered[example["b_start"] :][: example["b_length"]] = True
    assert covered.all()


@pytest.mark.slow
def test_workers_do_not_show_in_the_bytes(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(instances, "_BLOCK_TOKENS", 20_000)
    one = generate(paths, tmp_path / "one")
    monkeypatch.setenv("CLOZE_WORKERS", "2")
    assert execution.read_execution().workers == 2
    two = generate(paths, tmp_path / "two")
    assert content_hash(one) == content_hash(two)


def test_blocks_show_in_the_order_of_the_examples_alone(paths, tmp_path, monkeypatch):
    one = generate(paths, tmp_path / "one")
    monkeypatch.setattr(instances, "_BLOCK_TOKENS", 20_000)
    two = generate(paths, tmp_path / "two")
    assert masked_examples(one) != masked_examples(two)
    assert sorted(masked_examples(one)) == sorted(masked_examples(two))
    facts = [read_manifest(out, "masking")["statistics"] for out in (one, two)]
    assert facts[0] == facts[1]


def masked_examples(out):
    """Each training example as plain values, its masks included, in the order of the files."""
    index = open_example_index(out, 64, "train")
    offsets = index.masks.offsets.tolist()
    return [
        (
            example.tolist(),
            index.masks.positions[first:last].tolist(),
            index.masks.replacements[first:last].tolist(),
        )
        for example, first, last in zip(index.examples, offsets[:-1], offsets[1:], strict=True)
    ]


def test_another_seed_gives_other_masks(paths, tmp_path):
    first = generate(paths, tmp_path / "one")
    second = generate(paths, tmp_path / "two", seed=2)
    assert content_hash(first) != content_hash(second)


def test_validation_is_masked_once_with_draws_of_its_own(paths, tmp_path):
    out = generate(paths, tmp_path / "out")
    facts = read_manifest(out, "masking")["statistics"]["64"]
    again = generate(paths, tmp_path / "again", duplication_factor=1)
    validation = read_manifest(again, "masking")["statistics"]["64"]["validation"]
    assert facts["validation"] == validation
    assert facts["train"]["examples"] > 2 * 300


def test_the_manifest_states_what_the_files_hold(paths, tmp_path):
    out = generate(paths, tmp_path / "out")
    index, sequences, row, _ = built(paths, out)
    facts = read_manifest(out, "masking")["statistics"]["64"]["train"]
    tokens = int(sequences.attention_mask.sum())
    assert facts["tokens"] == tokens
    assert facts["masked_share"] == pytest.approx(len(row) / tokens, abs=1e-6)
    assert facts["random_next_share"] == pytest.approx(
        index.examples["next_sentence_label"].mean(), abs=1e-6
    )


def comparison(out, width=64):
    """The files of the comparison split, by name."""
    place = out / str(width) / "comparison"
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


@pytest.mark.slow
def test_the_comparison_split_is_the_same_whatever_the_settings(paths, tmp_path):
    first = generate(paths, tmp_path / "one")
    others = [
        {"seed": 9, "mlm_probability": 0.3, "duplication_factor": 1},
        {"examples": "full-sentences", "masks": "dynamic", "budget_rounding": "random"},
        {"examples": "single", "unit": "span", "span": SPAN, "random_token_probability": 0.2},
        {"examples": "doc-sentences", "lengths": [length(128), length(64, 5)]},
    ]
    for number, changes in enumerate(others):
        other = generate(paths, tmp_path / f"other{number}", **changes)
        assert comparison(other) == comparison(first)
        assert read_manifest(other, "masking")["comparison_length"] == 64
        assert not (other / "128" / "comparison").exists()


def test_the_comparison_split_hides_fifteen_percent_of_each_window(paths, tmp_path):
    out = generate(paths, tmp_path / "out")
    index = open_example_index(out, 64, "comparison")
    store = open_token_store(paths["encoding"], "validation")
    sequences = assemble(
        store, index.examples, max_seq_length=64, special_token_ids=SPECIAL_TOKEN_IDS
    )
    assert (np.asarray(index.masks.replacements) == SPECIAL_TOKEN_IDS["mask"]).all()
    lengths = sequences.attention_mask.sum(axis=1)
    assert np.array_equal(np.diff(index.masks.offsets), np.maximum(1, np.rint(lengths * 0.15)))
    text = sequences.input_ids[~sequences.special_tokens_mask]
    assert np.array_equal(text, store.tokens)
    # No short windows: only the last one of a document is not full.
    ends = index.examples["a_start"] + index.examples["a_length"]
    assert np.isin(ends[lengths < 64], store.document_starts).all()


@pytest.mark.parametrize("examples", ["segment-pairs", "full-sentences", "doc-sentences", "single"])
def test_dynamic_masks_leave_only_the_training_examples_unmasked(paths, tmp_path, examples):
    static = generate(paths, tmp_path / "static", examples=examples)
    dynamic = generate(paths, tmp_path / "dynamic", examples=examples, masks="dynamic")
    files = {path.relative_to(static) for path in static.rglob("*.npy")}
    kept = {path.relative_to(dynamic) for path in dynamic.rglob("*.npy")}
    assert {path.name for path in files - kept} == {
        "mask_offsets.npy",
        "mask_positions.npy",
        "mask_replacements.npy",
    }
    for path in kept:
        assert (static / path).read_bytes() == (dynamic / path).read_bytes()
    assert open_example_index(dynamic, 64, "train").masks is None
    assert open_example_index(dynamic, 64, "validation").masks is not None
    facts = read_manifest(dynamic, "masking")["statistics"]["64"]
    assert "masked_share" not in facts["train"]
    assert "masked_share" in facts["validation"]


@pytest.mark.parametrize("examples", ["full-sentences", "doc-sentences", "single"])
def test_every_token_stands_once_in_each_pass(paths, tmp_path, examples):
    changes = {"examples": examples, "masks": "dynamic", "duplication_factor": 2}
    index = open_example_index(generate(paths, tmp_path / "out", **changes), 64, "train")
    tokens = len(open_token_store(paths["encoding"], "train").tokens)
    count = np.zeros(tokens + 1, dtype=int)
    start, length = index.examples["a_start"], index.examples["a_length"].astype(int)
    np.add.at(count, start, 1)
    np.add.at(count, start + length, -1)
    assert (np.cumsum(count)[:-1] == 2).all()
    assert not index.examples["b_length"].any()
    assert not index.examples["next_sentence_label"].any()


def test_blocks_of_full_sentences_are_as_large_on_any_machine(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(instances, "_BLOCK_TOKENS", 20_000)
    changes = {"examples": "full-sentences", "unit": "span", "span": SPAN, "duplication_factor": 1}
    one = generate(paths, tmp_path / "one", **changes)
    pieces = list(
        masking._pieces(params(**changes), params().lengths[0], "train", paths["encoding"])
    )
    assert len(pieces) > 3
    monkeypatch.setattr(shards, "ordered_map", reversed_map)
    assert content_hash(one) == content_hash(generate(paths, tmp_path / "two", **changes))


def test_a_stage_that_failed_late_makes_no_piece_again(paths, tmp_path, monkeypatch):
    made, make_piece, log_sample = [], masking.make_piece, masking.log_sample
    monkeypatch.setattr(instances, "_BLOCK_TOKENS", 20_000)
    monkeypatch.setattr(
        masking, "make_piece", lambda piece: made.append(piece) or make_piece(piece)
    )
    monkeypatch.setattr(masking, "log_sample", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(paths, tmp_path / "one")
    count = len(made)
    assert count > 5
    monkeypatch.setattr(masking, "log_sample", log_sample)
    one = generate(paths, tmp_path / "one")
    assert len(made) == count
    assert content_hash(one) == content_hash(generate(paths, tmp_path / "two"))
    assert len(made) == 2 * count


def reversed_map(function, items, **_set_up):
    """Results in order, worked on in another: what is drawn does not depend on it."""
    made = [function(item) for item in reversed(list(items))]
    yield from reversed(made)


def test_span_masks_keep_words_whole_in_the_files_and_bounds_to_the_segment(paths, tmp_path):
    out = generate(paths, tmp_path / "out", examples="single", unit="span", span=SPAN)
    _, sequences, row, column = built(paths, out)
    masked = np.zeros(sequences.input_ids.shape, dtype=bool)
    masked[row, column] = True
    text = ~sequences.special_tokens_mask
    assert not (masked & ~text).any()
    is_inside = text[:, 1:] & text[:, :-1] & ~sequences.word_starts[:, 1:]
    assert (masked[:, 1:] == masked[:, :-1])[is_inside].all()


def test_one_document_is_enough_without_next_sentence_prediction(paths, tmp_path):
    documents = {
        "train": random_documents(0, 1, VOCAB),
        "validation": random_documents(2, 1, VOCAB),
    }
    write_encoding(tmp_path / "encoding", documents, VOCAB)
    few = {"encoding": tmp_path / "encoding", "tokenizer": paths["tokenizer"]}
    out = generate(few, tmp_path / "out", examples="single", masks="dynamic")
    assert len(open_example_index(out, 64, "train")) > 0


def test_the_manifest_says_how_pretraining_is_to_mask(paths, tmp_path):
    changes = {"lengths": [length(128), length(64, 5)], "unit": "span", "span": SPAN}
    facts = read_manifest(generate(paths, tmp_path / "out", **changes), "masking")
    assert facts["lengths"] == [128, 64]
    assert facts["max_predictions"] == {"128": None, "64": 5}
    assert (facts["examples"], facts["masks"], facts["unit"]) == ("segment-pairs", "static", "span")
    settings = mask_settings(facts["mask_settings"])
    assert settings == MaskSettings("span", 0.15, "nearest", 0.8, 0.1, 0.2, 10, 1)


@pytest.mark.parametrize("masks", ["static", "dynamic"])
def test_a_sample_of_the_examples_is_logged(paths, tmp_path, caplog, masks):
    with caplog.at_level("INFO"):
        generate(paths, tmp_path / "out", examples="single", masks=masks, duplication_factor=1)
    text = next(message for message in caplog.messages if message.startswith("sample: "))
    assert text.startswith("sample: [CLS] ")
    assert text.endswith(" [SEP]")
    assert any(message.startswith("sample predicts: ") for message in caplog.messages)


def test_one_document_is_refused_with_next_sentence_prediction(paths, tmp_path):
    documents = {
        "train": random_documents(0, 1, VOCAB),
        "validation": random_documents(0, 2, VOCAB),
    }
    write_encoding(tmp_path / "encoding", documents, VOCAB)
    few = {"encoding": tmp_path / "encoding", "tokenizer": paths["tokenizer"]}
    with pytest.raises(ArtifactError, match=r"train holds 1 document\(s\), expected at least 2"):
        generate(few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_store_that_is_not_what_encoding_wrote_is_refused_by_file(paths, tmp_path):
    damaged = tmp_path / "encoding"
    shutil.copytree(paths["encoding"], damaged)
    file = damaged / "train.tokens.bin"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"train.tokens.bin has the hash .* run encoding again"):
        generate({**paths, "encoding": damaged}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlm_probability": 15.0}, "mlm_probability is 15.0, expected: .*did you mean 0.15"),
        ({"random_token_probability": 0.3}, r"is 1.1, expected <= 1"),
        ({"masks": "frozen"}, "masks is 'frozen'"),
        ({"unit": "span"}, "unit is 'span' and span is missing"),
        (
            {"lengths": [{"max_seq_length": 64, "max_predictions_per_sequence": 10}] * 2},
            "lists a max_seq_length twice",
        ),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        params(**changes)
