"""Where a rollback leads, from the history alone."""

from stages.core.tracking.lineage import ProcessIdentity
from stages.registration.history import Entry, earlier_champions


def entry(before: str, after: str, kind: str = "gate") -> Entry:
    sets = [{"cloze-encoder": version} if version else {} for version in (before, after)]
    process = ProcessIdentity("here", 1, 1)
    time, name = "2026-01-01T00:00:00+00:00", "cloze-encoder"
    return Entry("run", time, kind, name, "", "", sets[0], sets[1], "", process)


def earlier(current: str, *entries: Entry) -> str | None:
    found = earlier_champions(entries, {"cloze-encoder": current})
    return None if found is None else found["cloze-encoder"]


def test_the_champion_before_the_present_one_is_found() -> None:
    assert earlier("2", entry("", "1"), entry("1", "2")) == "1"


def test_the_first_champion_has_none_before_it() -> None:
    assert earlier("1", entry("", "1")) is None
    assert earlier_champions([], {}) is None


def test_decisions_that_moved_nothing_are_passed_over() -> None:
    assert earlier("2", entry("", "1"), entry("1", "2"), entry("2", "2")) == "1"


def test_rolled_back_steps_are_off_the_path() -> None:
    path = [entry("", "1"), entry("1", "2"), entry("2", "3"), entry("3", "2", "rollback")]
    assert earlier("2", *path) == "1"
    assert earlier("4", *path, entry("2", "4")) == "2"
    assert earlier("1", *path, entry("2", "1", "rollback")) is None


def test_a_champion_set_before_the_first_decision_can_be_returned_to() -> None:
    assert earlier("2", entry("1", "2")) == "1"


def test_aliases_moved_by_other_means_return_to_the_last_decision() -> None:
    assert earlier("9", entry("", "1"), entry("1", "2")) == "2"
