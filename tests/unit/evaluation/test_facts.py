import pytest

from stages.evaluation.facts import (
    Table,
    deviation,
    points,
    settings,
    signed_points,
    size,
    tables,
    text,
    visible,
)


def test_control_characters_become_pictures_and_lines_stay():
    assert visible("a\x00b\x1bc\x7f\nd\te") == "a\u2400b\u241bc\u2421\nd\te"


def test_what_no_encoding_holds_becomes_the_replacement_character():
    assert visible("a\ud800b\x85") == "a\ufffdb\ufffd"
    visible("a\ud800b").encode()


def test_naughty_but_printable_text_is_left_alone():
    assert visible("\u202eabc \U0001f600 <b>") == "\u202eabc \U0001f600 <b>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7125, "71.2"), (-0.031, "\u22123.1"), (-0.0001, "0.0"), (None, "\u2013"), (1.0, "100.0")],
)
def test_scores_are_shown_times_100(value, shown):
    assert points(value) == shown


def test_a_difference_shows_its_sign_unless_it_is_nothing():
    assert [signed_points(value) for value in (0.021, -0.021, 0.0001)] == [
        "+2.1",
        "\u22122.1",
        "0.0",
    ]


def test_a_deviation_of_one_seed_says_so():
    assert (deviation(None), deviation(0.013)) == ("one seed", "\u00b1 1.3")


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (4_812_345, "4.8 MB")],
)
def test_bytes_are_shown_in_readable_units(num_bytes, shown):
    assert size(num_bytes) == shown


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("masked_share", 0.1502, "15.02 %"),
        ("tokens", 1_102_000, "1,102,000"),
        ("train_bytes", 4_812_345, "4.8 MB"),
        ("tokens_per_byte", 0.21, "0.21"),
        ("fertility", 1.53214, "1.532"),
        ("lowercase", True, "yes"),
        ("start", None, "none"),
        ("lengths", [128, 512], "128, 512"),
        ("lengths", [], "none"),
        ("phase", {"max_seq_length": 128}, "max seq length 128"),
    ],
)
def test_a_value_is_shown_after_its_kind(key, value, shown):
    assert text(key, value) == shown


def test_plain_values_come_first_and_hidden_ones_not_at_all():
    found = tables("properties", {"kind": "wordpiece", "content": "x", "size": 3}, {"content"})
    assert found == [Table("properties", (), (("kind", ("wordpiece",)), ("size", ("3",))))]


def test_mappings_with_equal_keys_share_a_table_its_longer_side_downwards():
    facts = {
        "documents": {"train": 10, "validation": 2},
        "bytes": {"train": 5000, "validation": 900},
    }
    assert tables("", facts) == [
        Table(
            "documents and bytes",
            ("train", "validation"),
            (("documents", ("10", "2")), ("bytes", ("5.0 kB", "900"))),
        )
    ]
    splits = {"splits": {"train": {"a": 1, "b": 2, "c": 3}, "validation": {"a": 4, "b": 5, "c": 6}}}
    assert tables("", splits) == [
        Table(
            "splits",
            ("train", "validation"),
            (("a", ("1", "4")), ("b", ("2", "5")), ("c", ("3", "6"))),
        )
    ]


def test_statistics_by_length_are_titled_with_the_length():
    splits = {"train": {"n": 1, "m": 2, "k": 3}, "validation": {"n": 4, "m": 5, "k": 6}}
    (table,) = tables("statistics", {"128": splits})
    assert (table.title, table.columns) == ("128 tokens", ("train", "validation"))
    assert table.rows[0] == ("n", ("1", "4"))


def test_settings_are_shown_as_they_are_written():
    found = settings({"a": {"b": 0.001, "c": {}}, "d": True, "e": [1, 2], "f": None})
    assert found == [
        ("a.b", "0.001"),
        ("a.c", "{}"),
        ("d", "true"),
        ("e", "[1, 2]"),
        ("f", "null"),
    ]


def test_what_all_tasks_share_is_told_once():
    found = settings({"tasks": {"A": {"lr": 1, "epochs": 3}, "B": {"lr": 2, "epochs": 3}}})
    assert found == [("tasks.*.epochs", "3"), ("tasks.A.lr", "1"), ("tasks.B.lr", "2")]
    assert settings({"tasks": {"A": {"lr": 1}, "B": {"lr": 1}}}) == [
        ("tasks.*.lr", "1"),
        ("tasks.A", "as *"),
        ("tasks.B", "as *"),
    ]
