"""Questions with their contexts as windows: pairs of a question and a piece of its context.

In: questions, contexts and a tokenizer. Out: the token ids of all windows, and which tokens of
which context each holds. A context that is longer than the room behind its question is cut into
windows that begin `stride_tokens` apart and overlap: what lies at the edge of one is in the middle
of another. Each distinct context is tokenised once.
Source: Devlin et al. 2019, section 4.2, and run_squad.py, which they published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from tokenizers import Tokenizer

from stages.core.errors import SettingsError
from stages.core.ranges import numbers_within, ranges
from stages.finetuning.context_tokens import (
    ContextTokens,
    EncodedTexts,
    encode_contexts,
    encode_texts,
)
from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.features import Features, StartTokenizer

_LENGTH_WEIGHT = 0.01  # run_squad.py's: of two windows with like context the longer one counts


@dataclass(frozen=True)
class Windows:
    """The windows of all questions, those of a question behind each other."""

    features: Features
    """Ids of every window, with its special tokens; num_truncated counts questions."""
    question: Int64[ndarray, "W"]
    """The number of the question that a window belongs to; ascends."""
    first_position: Int64[ndarray, "W"]
    """Where in the window its context tokens begin; they stand in one piece."""
    first_token: Int64[ndarray, "W"]
    """The number of the first of them among `tokens`."""
    num_tokens: Int64[ndarray, "W"]
    """How many they are."""
    context: Int64[ndarray, "N"]
    """The number of each question's context among `tokens`."""
    tokens: ContextTokens

    @property
    def rows(self) -> Int64[ndarray, "C"]:
        """Where the windows' context tokens stand among the ids, window by window."""
        return ranges(self.features.offsets[:-1] + self.first_position, self.num_tokens)

    @property
    def row_tokens(self) -> Int64[ndarray, "C"]:
        """The numbers of the tokens that stand at `rows`."""
        return ranges(self.first_token, self.num_tokens)

    def has_maximum_context(self) -> Bool[ndarray, "C"]:
        """Whether a row is the one, of all windows that hold its token, with most context.

        Context is what stands left or right of it, whichever is less; exactly one row is.
        """
        window = np.repeat(np.arange(len(self.question)), self.num_tokens)
        left = numbers_within(self.num_tokens)
        size = self.num_tokens[window]
        score = np.minimum(left, size - 1 - left) + _LENGTH_WEIGHT * size
        begins = self.tokens.texts.offsets[self.context]
        sizes = self.tokens.texts.lengths[self.context]
        question = self.question[window]
        key = (np.cumsum(sizes) - sizes - begins)[question] + self.row_tokens  # (question, token)
        best = np.full(int(sizes.sum()), -np.inf)
        np.maximum.at(best, key, score)
        is_best = score == best[key]
        _, first = np.unique(key[is_best], return_index=True)
        chosen = np.zeros(len(key), dtype=bool)
        chosen[np.flatnonzero(is_best)[first]] = True
        return chosen


@dataclass(frozen=True)
class AnswerPositions:
    """Where each window has its question's answer; 0 twice where it has not the whole of it."""

    starts: Int64[ndarray, "W"]
    ends: Int64[ndarray, "W"]
    """The position of the last token, not the one behind it."""
    is_aligned: Bool[ndarray, "N"]
    """Whether the tokens' characters are the question's answer and nothing more."""


def make_windows(
    tokenizer: StartTokenizer,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    max_seq_length: int,
    settings: ExtractionSettings,
) -> Windows:
    """Encode every question with its context.

    Raises: SettingsError: the longest question leaves no room for a context.
    """
    frame = _Frame.of(tokenizer.tokenizer)
    least_room = max_seq_length - settings.max_question_tokens - frame.num_special
    if least_room < 1:
        raise SettingsError(
            f"params.yaml: max_seq_length is {max_seq_length} and extraction.max_question_tokens "
            f"{settings.max_question_tokens}: with {frame.num_special} special tokens no room is "
            "left for a context; raise the one or lower the other"
        )
    asked, num_cut = encode_texts(tokenizer.tokenizer, questions, settings.max_question_tokens)
    numbers = {text: number for number, text in enumerate(dict.fromkeys(contexts))}
    tokens = encode_contexts(tokenizer.tokenizer, list(numbers))
    context = np.array([numbers[text] for text in contexts], dtype=np.int64)
    room = max_seq_length - frame.num_special - asked.lengths
    size = tokens.texts.lengths[context]
    step = np.minimum(room, settings.stride_tokens)
    counts = 1 + np.maximum(0, -((room - size) // step))
    question = np.repeat(np.arange(len(questions)), counts)
    begin = numbers_within(counts) * step[question]
    num_tokens = np.minimum(room[question], size[question] - begin)
    first_token = tokens.texts.offsets[context[question]] + begin
    ids, types, offsets = frame.fill(asked, question, tokens.texts, first_token, num_tokens)
    return Windows(
        features=Features(
            ids=ids,
            types=types if tokenizer.has_token_types else np.zeros_like(types),
            offsets=offsets,
            pad_token_id=tokenizer.pad_token_id,
            num_truncated=num_cut,
        ),
        question=question,
        first_position=len(frame.before) + asked.lengths[question] + len(frame.between),
        first_token=first_token,
        num_tokens=num_tokens,
        context=context,
        tokens=tokens,
    )


def answer_positions(
    windows: Windows, answer_starts: Int64[ndarray, "N"], answer_ends: Int64[ndarray, "N"]
) -> AnswerPositions:
    """Find one answer of each question, given by its characters, in the question's windows.

    Where it begins or ends within a token, the whole token is taken, and `is_aligned` is false.
    """
    tokens, question = windows.tokens, windows.question
    first, last = tokens.spans(windows.context, answer_starts, answer_ends)
    is_found = first <= last
    begins, ends = (
        np.concatenate([one, [-1]])[np.where(is_found, number, -1)]
        for one, number in ((tokens.begins, first), (tokens.ends, last))
    )
    start, end = (number[question] - windows.first_token for number in (first, last))
    is_inside = is_found[question] & (start >= 0) & (end < windows.num_tokens)
    return AnswerPositions(
        starts=np.where(is_inside, windows.first_position + start, 0),
        ends=np.where(is_inside, windows.first_position + end, 0),
        is_aligned=is_found & (begins == answer_starts) & (ends == answer_ends),
    )


@dataclass(frozen=True)
class _Frame:
    """The special tokens around a question and a context, and the types of all tokens."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[int, int, int, int, int]  # before, of the question, between, of the context, after

    @staticmethod
    def of(tokenizer: Tokenizer) -> "_Frame":
        """Read off the frame that the tokenizer puts around a pair."""
        pair = tokenizer.encode("a", "a")
        owners = pair.sequence_ids
        first, last = owners.index(0), len(owners) - owners[::-1].index(0)
        begin, end = owners.index(1), len(owners) - owners[::-1].index(1)
        types = [*pair.type_ids, 0]
        return _Frame(
            before=pair.ids[:first],
            between=pair.ids[last:begin],
            after=pair.ids[end:],
            types=(types[0], types[first], types[last], types[begin], types[end]),
        )

    @property
    def num_special(self) -> int:
        """Special tokens of a window."""
        return len(self.before) + len(self.between) + len(self.after)

    def fill(
        self,
        asked: EncodedTexts,
        question: Int64[ndarray, "W"],
        contexts: EncodedTexts,
        first_token: Int64[ndarray, "W"],
        num_tokens: Int64[ndarray, "W"],
    ) -> tuple[Int64[ndarray, "T"], Int64[ndarray, "T"], Int64[ndarray, "W_plus_1"]]:
        """Ids, token types and borders of windows of these questions and context tokens."""
        num_asked = asked.lengths[question]
        offsets = np.cumsum(np.append(0, num_asked + num_tokens + self.num_special))
        ids, types = np.empty((2, int(offsets[-1])), dtype=np.int64)
        asked_ids = asked.ids[ranges(asked.offsets[question], num_asked)]
        context_ids = contexts.ids[ranges(first_token, num_tokens)]
        ones = np.ones_like(question)
        parts = (
            (np.tile(self.before, len(question)), ones * len(self.before)),
            (asked_ids, num_asked),
            (np.tile(self.between, len(question)), ones * len(self.between)),
            (context_ids, num_tokens),
            (np.tile(self.after, len(question)), ones * len(self.after)),
        )
        begins = offsets[:-1]
        for (values, lengths), kind in zip(parts, self.types, strict=True):
            place = ranges(begins, lengths)
            ids[place], types[place] = values, kind
            begins = begins + lengths
        return ids, types, offsets
