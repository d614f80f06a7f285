import re
from xml.etree import ElementTree

import pytest

from stages.evaluation.charts import Axis, Lane, Series, line_chart, nice_axis, strip, strip_axis

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, (0, 20, 40, 60, 80, 100)),
        (-3, 88, (-20, 0, 20, 40, 60, 80, 100)),
        (0.61, 0.69, (0.6, 0.62, 0.64, 0.66, 0.68, 0.7)),
    ],
)
def test_an_axis_has_round_ticks_around_the_values(low, high, ticks):
    assert nice_axis(low, high).ticks == pytest.approx(ticks)


@pytest.mark.parametrize("value", [0.0, 50.0, -3.0])
def test_an_axis_for_a_single_value_holds_it(value):
    axis = nice_axis(value, value)
    assert axis.low < value < axis.high


def test_tick_labels_have_the_digits_that_the_step_needs():
    assert Axis(0.0, 0.1, 0.05).text(0.05) == "0.05"
    assert Axis(0, 20_000, 5_000).text(15_000) == "15,000"
    assert Axis(-20, 100, 20).text(-20) == "\u221220"
    assert Axis(0, 1, 0.2).text(-0.0) == "0.0"


def lanes() -> list[Lane]:
    return [
        Lane("encoder", "encoder", 50.0, [25.0, 75.0], ["seed 1: 25", "seed 2: 75"]),
        Lane("twin", "twin", 0.0, [0.0, 0.0], ["seed 1: 0", "seed 2: 0"]),
    ]


def test_a_strip_places_a_dot_for_every_seed_in_percent():
    root = parse(strip("s", "Task", "text", lanes(), Axis(0, 100, 50)))
    assert [dot.get("cx") for dot in root.iter(f"{SVG}circle")] == [
        "25.00%",
        "75.00%",
        "0.00%",
        "0.00%",
    ]
    means = [line for line in root.iter(f"{SVG}line") if line.get("class") == "mean"]
    assert [line.get("x1") for line in means] == ["50.00%", "0.00%"]


def test_every_chart_is_named_and_described_for_those_who_do_not_see_it():
    charts = [
        strip("a", "Task", "what it shows", lanes(), Axis(0, 100, 50)),
        line_chart("a", "Task", "what it shows", unit="%", series=[Series("x", "x", [(1, 2)])]),
    ]
    for root in map(parse, charts):
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == "a-t a-d"
        assert root.find(f"{SVG}title").text == "Task"
        assert root.find(f"{SVG}desc").text == "what it shows"


def test_text_in_charts_is_escaped():
    lane = Lane("encoder", "<i>", 1.0, [1.0], ["<script>&"])
    svg = strip("a", "<b>", "<u>", [lane], Axis(0, 2, 1))
    svg += line_chart("b", "<b>", "<u>", unit="<u>", series=[Series("x", "<i>", [(1, 2)])])
    assert set(re.findall(r"<(\w+)", svg)) <= {
        "svg", "title", "desc", "line", "g", "circle", "text", "polyline",
    }  # fmt: skip


def test_a_line_chart_spans_its_frame():
    series = [Series("train", "training", [(0, 0.0), (50, 5.0), (100, 10.0)])]
    root = parse(line_chart("c", "t", "d", unit="nats", series=series))
    points = root.find(f"{SVG}polyline").get("points").split()
    assert points == ["46.0,212.0", "275.0,124.0", "504.0,36.0"]


def test_a_line_chart_has_tick_labels_units_and_a_legend():
    series = [
        Series("train", "training", [(200, 1.0), (1200, 3.0)]),
        Series("validation", "validation", [(200, 2.0), (1200, 3.0)]),
    ]
    root = parse(line_chart("c", "t", "d", unit="nats", series=series))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == [
        "1.0", "1.5", "2.0", "2.5", "3.0",
        "0", "200", "400", "600", "800", "1,000", "1,200",
        "nats", "training step", "validation", "training",
    ]  # fmt: skip


def test_long_curves_are_drawn_without_a_dot_at_each_point():
    points = [(float(step), float(step)) for step in range(1, 200)]
    assert "<circle" not in line_chart("c", "t", "d", unit="", series=[Series("x", "x", points)])


def test_the_axis_of_the_strips_is_hidden_from_readers_aloud():
    root = parse(strip_axis(Axis(0, 100, 50)))
    assert root.get("aria-hidden") == "true"
    assert [text.get("x") for text in root.iter(f"{SVG}text")] == ["0.00%", "50.00%", "100.00%"]


def test_lines_of_one_name_share_an_entry_of_the_legend_and_keep_their_marks():
    series = [
        Series("encoder", "encoder", [(1, 0.5), (2, 0.6)], mark=f"encoder, seed {seed}")
        for seed in (1, 2)
    ]
    svg = line_chart("c", "t", "d", unit="", series=series, x_name="epoch")
    assert svg.count(">encoder</text>") == 1
    assert "<title>encoder, seed 2, epoch 2: 0.6</title>" in svg


def test_whole_numbers_have_no_ticks_between_them():
    series = [Series("x", "x", [(1, 0.0), (2, 1.0)])]
    root = parse(line_chart("c", "t", "d", unit="", series=series, x_name="epoch"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[-6:-3] == ["0", "1", "2"]


def test_an_interval_is_a_band_behind_the_dots():
    lane = Lane("encoder", "encoder", 50.0, [50.0], ["a"], interval=(40.0, 70.0))
    (band,) = parse(strip("a", "t", "d", [lane], Axis(0, 100, 50))).iter(f"{SVG}rect")
    assert (band.get("x"), band.get("width")) == ("40.00%", "30.00%")
