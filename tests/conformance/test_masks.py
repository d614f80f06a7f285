"""Masks against the papers' definitions, drawn as training draws them.

Every bound is five standard deviations of the binomial (hypergeometric where said) that the paper
implies, which a right implementation exceeds once in 1.7 million; chi-square tests ask for a
p-value above 1e-4. Seeds are fixed. Random replacements are ids that no sequence holds, so that
what is shown tells exactly how it was drawn.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2_contingency, chisquare
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from stages.core.examples import Sequences, assemble, open_example_index
from stages.core.masks.draw import Masks, draw_masks
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.masks.spans import choose_spans, span_length_probabilities
from stages.core.random import Draws
from stages.core.sentences import split_sentences
from stages.core.settings import parse_section
from stages.core.token_store import open_token_store
from stages.core.tracking.journal import RunJournal
from stages.masking import run as masking
from stages.masking.params import MaskingParams
from stages.pretraining.batches import build_batch
from tests.builders import SPECIAL_TOKEN_IDS, write_encoding, write_tokenizer

WIDTH = 128
MASK = SPECIAL_TOKEN_IDS["mask"]
VOCABULARY = MaskVocabulary(mask_token_id=MASK, replacement_ids=np.arange(100, 1100))
BERT = MaskSettings("token", 0.15, "nearest", 0.8, 0.1, None, None, 1)
SPANBERT = replace(BERT, unit="span", span_geometric_probability=0.2, max_span_words=10)
PAPERS = {
    "bert": BERT,
    "bert-whole-word": replace(BERT, unit="whole-word"),
    "roberta": replace(BERT, budget_rounding="random"),
    "spanbert": SPANBERT,
    "electra": replace(BERT, mask_token_probability=0.85, random_token_probability=0.0),
}
BY_TOKEN = ("bert", "roberta", "electra")
every_paper = pytest.mark.parametrize("paper", PAPERS)


def sequences_of(num: int, *, width: int = WIDTH, shortest: int = 3, seed: int = 0) -> Sequences:
    """Sequences of random lengths with one separator inside some, over word ids 10 to 99."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(shortest, width + 1, num)[:, None]
    column = np.arange(width)
    inner = np.where(generator.random((num, 1)) < 0.3, generator.integers(2, width, (num, 1)), 0)
    is_separator = (column == lengths - 1) | ((column == inner) & (column > 1))
    attended = column < lengths
    is_text = attended & (column > 0) & ~is_separator
    ids = np.where(is_text, generator.integers(10, 100, (num, width)), 0)
    ids[:, 0] = SPECIAL_TOKEN_IDS["cls"]
    ids[is_separator & attended] = SPECIAL_TOKEN_IDS["sep"]
    is_first = is_text & ~np.pad(is_text, ((0, 0), (1, 0)))[:, :-1]
    starts = is_first | (is_text & (generator.random((num, width)) < 0.7))
    return Sequences(ids, np.zeros_like(ids), attended, ~is_text, starts)


def taken(sequences: Sequences, rows: Any, width: int | None = None) -> Sequences:
    """Some rows, in that order, padded to another width."""
    arrays = (getattr(sequences, name)[rows, :width] for name in sequences.__dataclass_fields__)
    return Sequences(*arrays)


def draw(
    sequences: Sequences,
    settings: MaskSettings,
    *,
    epoch: int = 0,
    number: Any = None,
    cap: int | None = None,
) -> Masks:
    number = np.arange(len(sequences.input_ids)) if number is None else number
    return draw_masks(
        sequences,
        (epoch, number[:, None]),
        settings=settings,
        max_predictions=cap,
        vocabulary=VOCABULARY,
        purpose="masks.train",
    )


def word_numbers(sequences: Sequences) -> np.ndarray:
    """The word that each position lies in, counted through the row."""
    return np.cumsum(sequences.word_starts, axis=1)


def assert_share(count: int, trials: int, expected: float) -> None:
    """A binomial count within five standard deviations."""
    deviation = np.sqrt(trials * expected * (1 - expected))
    assert abs(count - trials * expected) <= 5 * deviation, (count / trials, expected)


@every_paper
@pytest.mark.parametrize("cap", [None, 5])
def test_the_budget_of_each_sequence_is_the_papers(paper, cap):
    """Exactly filled by tokens; by words and spans, no further word would fit."""
    settings, sequences = PAPERS[paper], sequences_of(1500)
    count = draw(sequences, settings, cap=cap).chosen.sum(axis=1)
    lengths = sequences.attention_mask.sum(axis=1)
    if settings.budget_rounding == "random":
        low, high = np.floor(0.15 * lengths), np.ceil(0.15 * lengths)
    else:
        low = high = np.maximum(1, np.rint(0.15 * lengths))
    limit = np.minimum(WIDTH if cap is None else cap, (~sequences.special_tokens_mask).sum(axis=1))
    assert (count <= np.minimum(limit, high)).all()
    if settings.unit == "token":
        assert (count >= np.minimum(limit, low)).all()


@pytest.mark.parametrize("paper", ["bert-whole-word", "spanbert"])
def test_what_is_left_of_a_budget_holds_no_further_word(paper):
    sequences = sequences_of(600)
    chosen = draw(sequences, PAPERS[paper]).chosen
    budget = np.maximum(1, np.rint(0.15 * sequences.attention_mask.sum(axis=1)))
    left = budget - chosen.sum(axis=1)
    words = word_numbers(sequences)
    for row in np.flatnonzero(left > 0):
        free = ~sequences.special_tokens_mask[row] & ~chosen[row]
        sizes = np.bincount(words[row][free])
        assert not (sizes[sizes > 0] <= left[row]).any()
    assert (left == 0).mean() > 0.9


def test_robertas_budget_is_p_n_on_average():
    """floor(p n + U): n = 30 gives 4 or 5 alike, n = 3 nothing in 55 of 100, n = 20 always 3."""
    settings = PAPERS["roberta"]
    for length, expected in [(30, 4.5), (3, 0.45), (20, 3.0), (128, 19.2)]:
        sequences = sequences_of(4000, shortest=WIDTH)
        column = np.arange(WIDTH)
        is_text = np.broadcast_to((column > 0) & (column < length - 1), (4000, WIDTH))
        attended = np.broadcast_to(column < length, (4000, WIDTH))
        row = replace(
            sequences,
            attention_mask=attended,
            special_tokens_mask=~is_text,
            word_starts=is_text.copy(),
        )
        count = draw(row, settings).chosen.sum(axis=1)
        low = int(expected)
        assert set(np.unique(count)) <= {low, low + 1}
        assert_share(int((count - low).sum()), 4000, round(expected - low, 9))


@every_paper
def test_specials_are_never_chosen_and_all_else_is_shown_as_it_is(paper):
    sequences = sequences_of(1000)
    before = sequences.input_ids.copy()
    masks = draw(sequences, PAPERS[paper])
    assert masks.chosen.any()
    assert not (masks.chosen & sequences.special_tokens_mask).any()
    assert np.array_equal(masks.shown[~masks.chosen], before[~masks.chosen])
    assert np.array_equal(sequences.input_ids, before)
    shown = masks.shown[masks.chosen]
    assert not np.isin(shown, [n for n in SPECIAL_TOKEN_IDS.values() if n != MASK]).any()


@every_paper
def test_labels_are_the_originals_exactly_where_tokens_were_chosen(paper):
    """Of the batch that a model is given: with its labels put back it is the sequences."""
    sequences = sequences_of(60)
    masks = draw(sequences, PAPERS[paper])
    inputs, place = packed(sequences, masks)
    is_token = sequences.attention_mask
    flat = inputs["input_ids"].copy()
    assert len(flat) == is_token.sum()
    assert np.array_equal(flat[place[is_token]], masks.shown[is_token])
    flat[inputs["masked_index"]] = inputs["labels"]
    assert np.array_equal(flat[place[is_token]], sequences.input_ids[is_token])
    assert np.array_equal(inputs["masked_index"], np.sort(place[masks.chosen]))


def packed(sequences: Sequences, masks: Masks) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The inputs a model is given, and where in them each (row, column) stands."""
    lengths = sequences.attention_mask.sum(axis=1)
    batch = build_batch(
        sequences,
        masks,
        sampling_draws=np.zeros(masks.chosen.shape),
        next_sentence_label=np.zeros(len(lengths), dtype=np.int64),
        reads=("masked_index",),
    )
    starts = np.zeros_like(lengths)
    order = np.argsort(lengths, kind="stable")
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    inputs = {n: value.numpy() for n, value in batch.inputs.items() if hasattr(value, "numpy")}
    return inputs, starts[:, None] + np.arange(masks.chosen.shape[1])


def kinds(sequences: Sequences, shown: np.ndarray) -> np.ndarray:
    """0 [MASK], 1 random, 2 as it is; random words are ids that no sequence holds."""
    return np.where(shown == MASK, 0, np.where(shown == sequences.input_ids, 2, 1))


@pytest.mark.parametrize("paper", ["bert", "bert-whole-word", "roberta"])
def test_chosen_tokens_are_eighty_ten_ten_each_by_itself(paper):
    sequences = sequences_of(4000)
    masks = draw(sequences, PAPERS[paper])
    kind = kinds(sequences, masks.shown)
    drawn = kind[masks.chosen]
    for number, expected in enumerate([0.8, 0.1, 0.1]):
        assert_share(int((drawn == number).sum()), len(drawn), expected)
    # Neighbours are drawn apart: alike with a probability of 0.8**2 + 0.1**2 + 0.1**2.
    both = masks.chosen[:, 1:] & masks.chosen[:, :-1]
    alike = (kind[:, 1:] == kind[:, :-1])[both]
    assert_share(int(alike.sum()), len(alike), 0.66)


def runs_of(chosen: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, first column and end of each run of chosen positions."""
    padded = np.pad(chosen, ((0, 0), (1, 1))).astype(np.int8)
    row, first = np.nonzero(np.diff(padded, axis=1) == 1)
    _, end = np.nonzero(np.diff(padded, axis=1) == -1)
    return list(zip(row.tolist(), first.tolist(), end.tolist(), strict=True))


def test_merged_spans_are_eighty_ten_ten_as_a_whole():
    sequences = sequences_of(4000)
    masks = draw(sequences, SPANBERT)
    kind = kinds(sequences, masks.shown)
    runs = runs_of(masks.chosen)
    assert all(len(set(kind[row, first:end])) == 1 for row, first, end in runs)
    drawn = np.array([kind[row, first] for row, first, _ in runs])
    for number, expected in enumerate([0.8, 0.1, 0.1]):
        assert_share(int((drawn == number).sum()), len(drawn), expected)


@pytest.mark.parametrize("paper", ["bert", "spanbert"])
def test_random_words_come_evenly_from_all_there_are(paper):
    """The tenth of the tokens that is shown as a random word, in 20 equal parts of the words."""
    sequences = sequences_of(6000)
    masks = draw(sequences, PAPERS[paper])
    words = masks.shown[masks.chosen & (kinds(sequences, masks.shown) == 1)]
    assert len(words) > 5000
    assert chisquare(np.bincount((words - 100) // 50, minlength=20)).pvalue > 1e-4


def test_random_words_of_one_span_are_drawn_one_by_one():
    """Neighbours are equal once in a thousand."""
    every = replace(SPANBERT, mask_token_probability=0.0, random_token_probability=1.0)
    masks = draw(sequences_of(6000), every)
    both = masks.chosen[:, 1:] & masks.chosen[:, :-1]
    equal = (masks.shown[:, 1:] == masks.shown[:, :-1])[both]
    assert_share(int(equal.sum()), len(equal), 0.001)


def test_electra_hides_eighty_five_in_a_hundred_and_never_shows_a_random_word():
    sequences = sequences_of(4000)
    masks = draw(sequences, PAPERS["electra"])
    drawn = kinds(sequences, masks.shown)[masks.chosen]
    assert not (drawn == 1).any()
    assert_share(int((drawn == 0).sum()), len(drawn), 0.85)


@pytest.mark.parametrize("paper", ["bert-whole-word", "spanbert"])
def test_words_are_whole_or_untouched(paper):
    sequences = sequences_of(2000)
    chosen = draw(sequences, PAPERS[paper]).chosen
    text = ~sequences.special_tokens_mask
    is_inside = text[:, 1:] & text[:, :-1] & ~sequences.word_starts[:, 1:]
    assert is_inside.sum() > 10_000
    assert (chosen[:, 1:] == chosen[:, :-1])[is_inside].all()


def test_span_lengths_are_the_renormalised_geometric():
    """20,000 first spans that no budget cuts, against the distribution: chi-square.

    Each row is `[CLS] ten words [SEP] ten words [SEP]` of one token each. The first span is made to
    begin at the first word; the second, at the other segment, takes what is left of the budget.
    """
    num, width = 20_000, 23
    text = np.ones((num, width), dtype=bool)
    text[:, [0, 11, 22]] = False
    order = np.full((num, width), 0.9)
    order[:, 1], order[:, 12] = 0.0, 0.1
    lengths = Draws(1, "masks.train.length").uniform(np.arange(num)[:, None], np.arange(width))
    lengths[:, 12] = 1 - 1e-9  # ten words
    chosen = choose_spans(
        text,
        text,
        np.full(num, 10),
        order,
        lengths,
        geometric_probability=0.2,
        max_words=10,
    )
    words = chosen[:, 1:11].sum(axis=1)
    assert (chosen.sum(axis=1) == 10).all()
    assert words.min() == 1
    observed = np.bincount(words, minlength=11)[1:]
    expected = span_length_probabilities(0.2, 10)
    assert chisquare(observed, expected * num).pvalue > 1e-4
    # The paper's mean of 3.8, within five standard errors of its standard deviation of 2.5.
    assert abs(words.mean() - 3.797) < 5 * 2.5 / np.sqrt(num)
    # Not the distribution that puts all that is beyond ten words at ten.
    clipped = 0.2 * 0.8 ** np.arange(10)
    clipped[-1] = 0.8**9
    assert chisquare(observed, clipped * num).pvalue < 1e-4


def test_runs_of_masked_tokens_are_as_long_as_a_literal_loop_makes_them():
    """Of full sequences, against section 3.1 of Joshi et al. 2020 written out with numpy's own
    generator: merged spans by their lengths, and their number, in one table (chi-square)."""
    num, width, budget = 1500, 66, 10
    column = np.arange(width)
    text = np.broadcast_to((column > 0) & (column < width - 1), (num, width))
    ids = np.where(text, 50, 2)
    sequences = Sequences(ids, np.zeros_like(ids), np.ones_like(text), ~text, text.copy())
    drawn = draw(sequences, SPANBERT).chosen
    generator = np.random.default_rng(0)
    literal = np.zeros_like(drawn)
    for row in literal:
        while row.sum() < budget:
            start = generator.integers(1, width - 1)
            if row[start]:
                continue
            words = generator.choice(np.arange(1, 11), p=span_length_probabilities(0.2, 10))
            for place in range(start, min(start + words, width - 1)):
                if row.sum() < budget:
                    row[place] = True
    assert np.array_equal(drawn.sum(axis=1), literal.sum(axis=1))
    table = [
        np.bincount([end - first for _, first, end in runs_of(chosen)], minlength=11)[1:]
        for chosen in (drawn, literal)
    ]
    assert chi2_contingency(table).pvalue > 1e-4


@every_paper
def test_every_position_is_chosen_alike_by_the_first_draw(paper):
    """One prediction a sequence, of words of one token: uniform over 1 .. 30, edges as well."""
    num, width = 15_000, 32
    column = np.arange(width)
    text = np.broadcast_to((column > 0) & (column < width - 1), (num, width))
    ids = np.where(text, 50, 2)
    sequences = Sequences(ids, np.zeros_like(ids), np.ones_like(text), ~text, text.copy())
    chosen = draw(sequences, PAPERS[paper], cap=1).chosen
    assert (chosen.sum(axis=1) == 1).all()
    assert chisquare(chosen.sum(axis=0)[1:-1]).pvalue > 1e-4


@every_paper
def test_batches_and_their_order_do_not_show(paper):
    sequences = sequences_of(90)
    settings = PAPERS[paper]
    whole = draw(sequences, settings, epoch=3)
    shuffled = np.random.default_rng(1).permutation(90)
    for borders in ([0, 90], [0, 1, 8, 40, 90]):
        for first, last in pairwise(borders):
            rows = shuffled[first:last]
            part = draw(taken(sequences, rows), settings, epoch=3, number=rows)
            assert np.array_equal(part.chosen, whole.chosen[rows])
            assert np.array_equal(part.shown, whole.shown[rows])


@every_paper
def test_padding_does_not_show(paper):
    """Short sequences are masked alike in a narrow batch and in a wide one."""
    sequences = sequences_of(200)
    short = np.flatnonzero(sequences.attention_mask.sum(axis=1) <= 64)
    assert len(short) > 50
    wide = draw(taken(sequences, short), PAPERS[paper], number=short)
    narrow = draw(taken(sequences, short, 64), PAPERS[paper], number=short)
    assert np.array_equal(narrow.chosen, wide.chosen[:, :64])
    assert np.array_equal(narrow.shown, wide.shown[:, :64])


@every_paper
def test_every_epoch_has_fresh_masks(paper):
    sequences = sequences_of(400, shortest=40)
    epochs = [draw(sequences, PAPERS[paper], epoch=epoch) for epoch in range(3)]
    for one, other in pairwise(epochs):
        # Two short sequences may draw the same one span, at one of some thirty places.
        assert (one.chosen != other.chosen).any(axis=1).mean() > 0.98
    again = draw(sequences, PAPERS[paper], epoch=1)
    assert np.array_equal(again.shown, epochs[1].shown)


@pytest.mark.parametrize("paper", BY_TOKEN)
def test_epochs_are_independent(paper):
    """Positions chosen twice: hypergeometric, b * b / n of n candidates a row (5 deviations)."""
    sequences = sequences_of(3000, shortest=20)
    first, second = (draw(sequences, PAPERS[paper], epoch=epoch).chosen for epoch in (0, 1))
    n = (~sequences.special_tokens_mask).sum(axis=1)
    a, b = first.sum(axis=1), second.sum(axis=1)
    mean = a * b / n
    variance = mean * (n - a) * (n - b) / (n * (n - 1))
    twice = (first & second).sum()
    assert abs(twice - mean.sum()) < 5 * np.sqrt(variance.sum())


def test_boundaries_are_the_neighbours_of_each_span_and_none_at_a_segments_edge():
    sequences = sequences_of(300)
    masks = draw(sequences, SPANBERT)
    inputs, place = packed(sequences, masks)
    special = sequences.special_tokens_mask
    expected = sorted(
        (place[row, column], place[row, first - 1], place[row, end], column - first)
        for row, first, end in runs_of(masks.chosen)
        if not special[row, first - 1] and not special[row, end]
        for column in range(first, end)
    )
    found = zip(
        inputs["masked_index"][inputs["boundary_rows"]].tolist(),
        inputs["left_index"].tolist(),
        inputs["right_index"].tolist(),
        inputs["span_position"].tolist(),
        strict=True,
    )
    assert list(found) == expected
    assert 0 < len(expected) < masks.chosen.sum()


@every_paper
def test_sequences_with_nothing_to_mask_have_no_masks(paper):
    """Only special tokens, or only padding; alone or beside others."""
    sequences = sequences_of(40, shortest=10)
    emptied = np.arange(40) % 3 == 0
    special = sequences.special_tokens_mask | emptied[:, None]
    starts = sequences.word_starts & ~emptied[:, None]
    some = replace(sequences, special_tokens_mask=special, word_starts=starts)
    chosen = draw(some, PAPERS[paper]).chosen
    assert not chosen[emptied].any()
    assert chosen[~emptied].any()
    everywhere = draw(sequences, PAPERS[paper]).chosen
    assert np.array_equal(chosen[~emptied], everywhere[~emptied])
    none = draw(taken(some, np.flatnonzero(emptied)), PAPERS[paper])
    assert not none.chosen.any()
    assert np.array_equal(none.shown, sequences.input_ids[emptied])


def wikipedia_slice(real_data: Path, num: int) -> list[list[str]]:
    """Sentences of the first articles."""
    shard = pq.ParquetFile(real_data / "corpus" / "wikipedia-00000-of-00004.parquet")
    texts = next(shard.iter_batches(batch_size=num, columns=["text"]))["text"].to_pylist()
    return [sentences for text in texts if (sentences := split_sentences(text[:6000], "en"))]


def write_real_text(folder: Path, real_data: Path) -> dict[str, Path]:
    """An encoding of a slice of Wikipedia by a WordPiece vocabulary trained on it."""
    documents = wikipedia_slice(real_data, 250)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [f"[{name.upper()}]" for name in SPECIAL_TOKEN_IDS]
    trainer = trainers.WordPieceTrainer(
        vocab_size=2000, special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator((" ".join(one) for one in documents), trainer)
    size = tokenizer.get_vocab_size()
    starts = [not tokenizer.id_to_token(number).startswith("##") for number in range(size)]
    encoded = [
        [ids for sentence in document if (ids := tokenizer.encode(sentence).ids)]
        for document in documents
    ]
    halves = {"train": encoded[:-30], "validation": encoded[-30:]}
    write_encoding(folder / "encoding", halves, size, starts)
    write_tokenizer(folder / "tokenizer", size)
    return {stage: folder / stage for stage in ("encoding", "tokenizer")}


@pytest.fixture(scope="module")
def real_text(real_data, tmp_path_factory):
    return write_real_text(tmp_path_factory.mktemp("real"), real_data)


@pytest.mark.parametrize("examples", ["segment-pairs", "full-sentences", "doc-sentences", "single"])
@pytest.mark.parametrize("paper", PAPERS)
def test_real_text_is_masked_as_made_up_text_is(real_text, tmp_path, examples, paper):
    """Through the stage's files: words whole, specials kept, budgets met, shares binomial."""
    settings = PAPERS[paper]
    is_span = settings.unit == "span"
    section = {
        "examples": examples,
        "masks": "static",
        "unit": settings.unit,
        "span": {"geometric_probability": 0.2, "max_words": 10} if is_span else None,
        "lengths": [{"max_seq_length": WIDTH, "max_predictions_per_sequence": None}],
        "duplication_factor": 1,
        "short_sequence_probability": 0.1,
        "mlm_probability": settings.mlm_probability,
        "budget_rounding": settings.budget_rounding,
        "mask_token_probability": settings.mask_token_probability,
        "random_token_probability": settings.random_token_probability,
        "seed": 1,
    }
    params = parse_section(MaskingParams, section, where="masking")
    masking.run(params, {**real_text, "out": tmp_path / "out"}, RunJournal("test"))
    index = open_example_index(tmp_path / "out", WIDTH, "train")
    assert index.masks is not None
    store = open_token_store(real_text["encoding"], "train")
    sequences = assemble(
        store, index.examples, max_seq_length=WIDTH, special_token_ids=SPECIAL_TOKEN_IDS
    )
    count = np.diff(index.masks.offsets)
    place = (np.repeat(np.arange(len(index)), count), index.masks.positions.astype(np.int64))
    chosen = np.zeros(sequences.input_ids.shape, dtype=bool)
    chosen[place] = True
    text = ~sequences.special_tokens_mask
    assert not (chosen & ~text).any()
    lengths = sequences.attention_mask.sum(axis=1)
    assert (count <= np.maximum(1, np.ceil(0.15 * lengths))).all()
    assert count.sum() / lengths.sum() == pytest.approx(0.15, abs=0.005)
    if settings.unit != "token":
        is_inside = text[:, 1:] & text[:, :-1] & ~sequences.word_starts[:, 1:]
        assert (chosen[:, 1:] == chosen[:, :-1])[is_inside].all()
    shown = index.masks.replacements.astype(np.int64)
    if not is_span:
        masked = int((shown == MASK).sum())
        assert_share(masked, len(shown), settings.mask_token_probability)
    if not settings.random_token_probability:
        assert ((shown == MASK) | (shown == sequences.input_ids[place])).all()
