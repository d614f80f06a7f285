import numpy as np
import pytest
from scipy import stats

from stages.core.statistics.mcnemar import mcnemar


def predictions(both, only_first, only_second, neither):
    """Labels of ones, and two models' predictions with these counts."""
    first = np.repeat([1, 1, 0, 0], [both, only_first, only_second, neither])
    second = np.repeat([1, 0, 1, 0], [both, only_first, only_second, neither])
    return np.ones(len(first)), first, second


@pytest.mark.parametrize(
    "counts", [(50, 12, 3, 5), (0, 1, 0, 0), (9, 7, 7, 1), (4, 0, 900, 4), (10, 2100, 2000, 0)]
)
def test_the_p_value_is_the_exact_binomials(counts):
    found = mcnemar(*predictions(*counts))
    _, only_first, only_second, _ = counts
    assert (found.only_first, found.only_second) == (only_first, only_second)
    coin = stats.binomtest(only_first, only_first + only_second).pvalue
    assert found.p_value == pytest.approx(coin, abs=1e-9)


def test_models_that_never_disagree_do_not_differ():
    assert mcnemar(*predictions(5, 0, 0, 5)).p_value == 1.0
