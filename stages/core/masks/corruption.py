"""What stands at a chosen position: [MASK], a random word, or the word itself."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from stages.core.random import Draws


@dataclass(frozen=True)
class Corruption:
    """How chosen tokens are replaced; what is neither masked nor random stays."""

    mask_token_id: int
    mask_token_probability: float
    random_token_probability: float
    replacement_ids: Int64[ndarray, "num_words"]  # what a random replacement may be: no special


def corrupt(
    input_ids: Int64[ndarray, "B S"],
    chosen: Bool[ndarray, "B S"],
    *,
    corruption: Corruption,
    draws: Draws,
    counters: tuple[int | Int64[ndarray, "B 1"], ...],
    is_by_run: bool = False,
) -> Int64[ndarray, "B S"]:
    """The ids with chosen positions replaced, a fresh array; one draw per chosen token, or per run.

    80 % [MASK], 10 % uniform over `replacement_ids`, 10 % unchanged by BERT's settings. Source:
    Devlin et al. 2019, section 3.1. `counters` (say pass, document, chunk) name the example, the
    column names the position, so that the draw is the same in any batch. With `is_by_run` adjacent
    chosen tokens share the draw at the first of them, and only random words are drawn one by one
    (Joshi et al. 2020, section 3.1).
    """
    column = np.arange(input_ids.shape[1])
    share = draws.uniform(*counters, _run_starts(chosen) if is_by_run else column, 0)
    word = draws.integers(len(corruption.replacement_ids), *counters, column, 1)
    is_mask = share < corruption.mask_token_probability
    is_random = ~is_mask & (
        share < corruption.mask_token_probability + corruption.random_token_probability
    )
    replaced = np.where(is_random, corruption.replacement_ids[word], input_ids)
    replaced = np.where(is_mask, corruption.mask_token_id, replaced)
    return np.where(chosen, replaced, input_ids)


def _run_starts(chosen: Bool[ndarray, "B S"]) -> Int64[ndarray, "B S"]:
    """The column where the run of chosen positions around each begins."""
    column = np.arange(chosen.shape[1])
    begins = chosen.copy()
    begins[:, 1:] &= ~chosen[:, :-1]
    return np.maximum.accumulate(np.where(begins, column, 0), axis=1)
