"""Resamples are fair draws with replacement."""

import numpy as np

from stages.core.statistics.bootstrap import RESAMPLES, resamples


def test_a_resample_holds_as_many_examples_drawn_evenly():
    """Counts of each example over all resamples: binomial, 5 deviations."""
    parts = list(resamples(37, "dev"))
    counts = np.concatenate(parts)
    assert counts.shape == (RESAMPLES, 37)
    assert (counts.sum(axis=1) == 37).all()
    deviation = np.sqrt(37 * RESAMPLES * (1 / 37) * (36 / 37))
    assert (np.abs(counts.sum(axis=0) - RESAMPLES) < 5 * deviation).all()
