"""Rows of the benchmark: ratios that should be high, values that should be low, and the page."""

from benchmarks.paired import alternate, compare, limit
from benchmarks.report import page


def test_a_ratio_is_the_median_of_the_rounds():
    row = compare("work", [(1, 2), (2, 6), (1, 10)], unit="tokens/s", target=3, stretch=4)
    assert (row.a, row.b, row.ratio, row.verdict) == (1, 6, 3, "reached")


def test_a_limit_is_reached_from_below():
    values = [0.5, 0.7, 1.5]
    verdicts = [
        limit("memory", values, unit="GB", target=target, stretch=stretch).verdict
        for target, stretch in ((0.6, None), (0.7, None), (0.9, 0.7))
    ]
    assert verdicts == ["missed", "reached", "stretch reached"]


def test_a_limit_is_described_with_its_share_of_the_target():
    described = limit("memory", [0.5], unit="GB", target=2).described()
    assert (described["a"], described["b"], described["ratio"]) == (None, 0.5, 0.25)
    assert described["is_limit"]
    assert described["verdict"] == "reached"


def test_the_leading_side_changes_each_round_behind_one_that_is_not_measured():
    order = []
    pairs = alternate(lambda: order.append("a") or 1, lambda: order.append("b") or 2, 2)
    assert "".join(order) == "ab" + "ab" + "ba"
    assert pairs == [(1, 2), (1, 2)]


def test_the_page_says_what_limits_a_row_only_where_it_is_missed():
    rows = [
        compare("quick work", [(1, 9)], unit="tokens/s", target=3, note="nothing at all"),
        limit("waiting", [12.0], unit="s", target=10, note="the import of everything"),
    ]
    text = page(rows, {"cores": 2})
    assert "| quick work | 1 | 9 | tokens/s | **9.00** | 9.00-9.00 | 1 | 3 | reached |" in text
    assert "| waiting | **12** |  | s | 1 | 10 | missed |" in text
    assert "- waiting: the import of everything." in text
    assert "nothing at all" not in text
