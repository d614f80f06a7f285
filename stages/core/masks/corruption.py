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
    is_by_run: bool = False,
) -> Int64[ndarray, "B S"]:
    """The ids with chosen positions replaced, a fresh array; one draw per chosen token, or per run.

    80 % [MASK], 10 % uniform over `replacement_ids`, 10 % unchanged by BERT's settings. Source:
    Devlin et al. 2019, section 3.1. `draws` holds one state a row (`Draws.at` of what names the
    example), the column names the position, so that the draw is the same in any batch. With
    `is_by_run` adjacent chosen tokens share the draw at the first of them, and only random words
    are drawn one by one (Joshi et al. 2020, section 3.1).
    """
    place = np.flatnonzero(chosen)
    row = place // input_ids.shape[1]
    column = place - row * input_ids.shape[1]  # twice as fast as divmod
    share = draws[row].uniform(_run_starts(place, column) if is_by_run else column, 0)
    is_mask = share < corruption.mask_token_probability
    is_random = ~is_mask & (
        share < corruption.mask_token_probability + corruption.random_token_probability
    )
    shown = input_ids.copy()
    flat = shown.reshape(-1)
    flat[place[np.flatnonzero(is_mask)]] = corruption.mask_token_id
    random = np.flatnonzero(is_random)
    word = draws[row[random]].integers(len(corruption.replacement_ids), column[random], 1)
    flat[place[random]] = corruption.replacement_ids[word]
    return shown


def _run_starts(place: Int64[ndarray, "M"], column: Int64[ndarray, "M"]) -> Int64[ndarray, "M"]:
    """The column where the run of chosen positions around each begins."""
    begins = np.ones(len(place), dtype=bool)
    begins[1:] = (np.diff(place) > 1) | (column[1:] == 0)
    return column[begins][np.cumsum(begins) - 1]
