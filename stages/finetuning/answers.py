"""From the logits of every token of every window to each question's best answers.

An answer begins and ends at context tokens of one window, is at most so many tokens long, and
scores the sum of its two logits. It begins where its first token has the most context of all the
windows that hold it, so that no answer is found twice. Unlike run_squad.py, which pairs the best
starts of a window with its best ends, all pairs are searched: what is best is found.
Source: Devlin et al. 2019, section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.ranges import numbers_within
from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.windows import Windows

_NUMBERS_AT_ONCE = 4_000_000  # of the (questions, starts, lengths) arrays


@dataclass(frozen=True)
class BestAnswers:
    """The best answers of every question as characters of its context, the best first.

    A question with fewer possible answers than were asked for ends with empty ones of score -inf.
    """

    begins: Int64[ndarray, "N K"]
    ends: Int64[ndarray, "N K"]
    """The character behind the answer's last."""
    scores: Float64[ndarray, "N K"]
    """Sum of the logits of first and last token."""

    def texts(self, contexts: Sequence[str]) -> list[str]:
        """The best answer of each question, as it stands in the context."""
        return [
            context[begin:end]
            for context, begin, end in zip(
                contexts, self.begins[:, 0].tolist(), self.ends[:, 0].tolist(), strict=True
            )
        ]


def best_answers(
    windows: Windows,
    start_logits: Float64[ndarray, "T"],
    end_logits: Float64[ndarray, "T"],
    settings: ExtractionSettings,
) -> BestAnswers:
    """Find the `num_best` answers of each question; logits stand as the windows' ids do.

    Of answers that score alike the one that begins earlier, then the shorter one, comes first.
    """
    rows, tokens, size = windows.rows, windows.row_tokens, windows.num_tokens
    may_begin = windows.has_maximum_context() & windows.tokens.can_begin[tokens]
    starts = np.where(may_begin, start_logits[rows], -np.inf)
    ends = np.where(windows.tokens.can_end[tokens], end_logits[rows], -np.inf)
    left = np.repeat(size, size) - numbers_within(size)  # from each row to its window's end
    with_best_end = starts + _best_within(ends, left, settings.max_answer_tokens)
    question = np.repeat(windows.question, size)
    chosen = _best_rows(with_best_end, question, settings.num_best, len(windows.context))
    # Row -1 is no row: its values stand at the arrays' end.
    search = _Search(np.append(starts, -np.inf), np.append(ends, -np.inf), np.append(left, 0))
    first, last, scores = search.best_pairs(chosen, settings)
    return BestAnswers(
        begins=np.append(windows.tokens.begins[tokens], 0)[first],
        ends=np.append(windows.tokens.ends[tokens], 0)[last],
        scores=scores,
    )


def _best_within(
    values: Float64[ndarray, "C"], left: Int64[ndarray, "C"], most: int
) -> Float64[ndarray, "C"]:
    """The highest value of each row and the rows behind it, `most` in all, in the same window."""
    best = values.copy()
    for further in range(1, min(most, int(left.max(initial=1)))):
        reachable = np.where(left[:-further] > further, values[further:], -np.inf)
        np.maximum(best[:-further], reachable, out=best[:-further])
    return best


def _best_rows(
    scores: Float64[ndarray, "C"], question: Int64[ndarray, "C"], most: int, num_questions: int
) -> Int64[ndarray, "N K"]:
    """The numbers of each question's best rows, in no order of scores; -1 where there are fewer.

    No answer among the best `most` begins anywhere else: each row has an answer of its score.
    """
    order = np.lexsort((-scores, question))
    counts = np.bincount(question, minlength=num_questions)
    rank = numbers_within(counts)
    is_kept = (rank < most) & np.isfinite(scores[order])
    chosen = np.full((num_questions, most), -1, dtype=np.int64)
    chosen[question[order[is_kept]], rank[is_kept]] = order[is_kept]
    return chosen


@dataclass(frozen=True)
class _Search:
    """The values that pairs of a start and an end are scored by."""

    starts: Float64[ndarray, "C"]
    ends: Float64[ndarray, "C"]
    left: Int64[ndarray, "C"]

    def best_pairs(
        self, chosen: Int64[ndarray, "N K"], settings: ExtractionSettings
    ) -> tuple[Int64[ndarray, "N K"], Int64[ndarray, "N K"], Float64[ndarray, "N K"]]:
        """First rows, last rows and scores of the best pairs that begin at the chosen rows."""
        at_once = max(1, _NUMBERS_AT_ONCE // (chosen.shape[1] * settings.max_answer_tokens))
        found: tuple[list[ndarray], ...] = ([], [], [])
        for begin in range(0, len(chosen), at_once):
            pairs = self._pairs(chosen[begin : begin + at_once], settings.max_answer_tokens)
            best = np.argsort(-pairs[2], axis=1, kind="stable")[:, : settings.num_best]
            for column, values in zip(found, pairs, strict=True):
                column.append(np.take_along_axis(values, best, axis=1))
        first, last, scores = (np.concatenate(column) for column in found)
        is_none = np.isneginf(scores)
        return np.where(is_none, -1, first), np.where(is_none, -1, last), scores

    def _pairs(
        self, chosen: Int64[ndarray, "n K"], most_tokens: int
    ) -> tuple[Int64[ndarray, "n P"], Int64[ndarray, "n P"], Float64[ndarray, "n P"]]:
        """First row, last row and score of every pair: the earlier first, then the shorter."""
        first = np.repeat(np.sort(chosen, axis=1), most_tokens, axis=1)
        length = np.tile(np.arange(most_tokens), chosen.shape[1])
        last = np.where(length < self.left[first], first + length, -1)
        return first, last, self.starts[first] + self.ends[last]
