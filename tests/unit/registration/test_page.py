from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from stages.registration.gate import decide, described, first_champion, rule_in_words
from stages.registration.page import points, render, signed
from stages.registration.params import PromotionRule
from stages.registration.record import make_record
from tests.unit.registration.builders import classifier, right_in

RULE = PromotionRule(min_macro_gain=0.0, min_probability=0.95, max_task_loss=0.02)


def record(facts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    sets = ({"cloze-encoder": "1", "cloze-rte": "1"}, {"cloze-encoder": "2", "cloze-rte": "2"})
    told = {
        "candidate": sets[1],
        "rule": RULE.model_dump(),
        "rule_in_words": rule_in_words(RULE, ("WNLI",)),
    }
    return make_record("gate", facts | told, "cloze-encoder", *sets) | changes


def compared(folder: Path, names: tuple[str, ...] = ("RTE", "WNLI")) -> dict[str, Any]:
    sides = [
        {
            name: classifier(folder / side / str(n), [1.0] * 200, {1: right_in(right)}, task=name)
            for n, name in enumerate(names)
        }
        for side, right in (("candidate", 130), ("champion", 120))
    ]
    return described(decide(sides[0], sides[1], RULE, ("WNLI",)))


class Tags(HTMLParser):
    """Every opened tag, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_shows_both_sides_with_intervals_and_the_versions(tmp_path: Path) -> None:
    page = render(record(compared(tmp_path)))
    assert "cloze-encoder version 2 is the champion now, in place of version 1." in page
    assert "candidate 65.0, 95 % interval" in page
    assert "champion 60.0, 95 % interval" in page
    assert "+5.00" in page
    assert "McNemar\u00a0p\u00a0=\u00a00.00195" in page
    assert "left out of the mean" in page
    assert '<tr><th scope="row">cloze-rte</th><td>2</td><td>1</td><td>2</td></tr>' in page


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    tags = Tags(render(record(compared(tmp_path)))).found
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    assert not any("src" in attributes or "href" in attributes for _, attributes in tags)


def test_every_mark_lies_within_its_plot(tmp_path: Path) -> None:
    tags = Tags(render(record(compared(tmp_path)))).found
    places = [
        float(value.rstrip("%"))
        for _, attributes in tags
        for name, value in attributes.items()
        if name in ("x1", "x2", "cx") and value and value.endswith("%")
    ]
    assert len(places) > 10
    assert min(places) >= 0
    assert max(places) <= 100


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    page = render(record(compared(tmp_path, ("<script>alert(1)</script>",))))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_first_champion_has_a_page_without_numbers() -> None:
    page = render(record(described(first_champion())))
    assert "There was no champion" in page
    assert "Candidate beside champion" not in page


def test_what_was_not_compared_is_said(tmp_path: Path) -> None:
    page = render(record(compared(tmp_path), only_champion=["QNLI"], only_candidate=["MNLI"]))
    assert "Not compared, only the champion has it: QNLI." in page
    assert "Not compared, only the candidate has it: MNLI." in page


def test_numbers_are_points_with_signs_where_they_are_differences() -> None:
    assert (points(0.6549), points(-0.01)) == ("65.5", "\u22121.0")
    assert (signed(0.0105), signed(-0.002), signed(-0.0)) == ("+1.05", "\u22120.20", "0.00")
