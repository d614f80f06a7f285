"""Aliases, tags, history and reports, on a registry of constructed versions."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import ArtifactError
from stages.core.tracking.lineage import identify_process
from stages.registration.record import make_record
from stages.registration.registry import Registry
from tests.unit.registration.shelf import ENCODER, Shelf

pytestmark = pytest.mark.slow  # a store takes seconds to open


@pytest.fixture
def shelf(mlflow_state: Path, tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_the_first_candidate_becomes_the_champion_as_a_whole(shelf: Shelf) -> None:
    versions = shelf.register({"RTE": 120, "QNLI": 120})
    record = shelf.gate()
    assert record["decision"] == "promoted"
    assert shelf.champions() == versions == record["champion"]
    assert record["headline"] == "cloze-encoder version 1 is the first champion."
    assert shelf.tags("cloze-rte", "1")["reason"].startswith("There was no champion")
    assert json.loads((shelf.out / "promotion.json").read_text()) == record


def test_a_better_candidate_replaces_the_champion_and_every_version_is_told(shelf: Shelf) -> None:
    first = shelf.register({"RTE": 120, "QNLI": 120})
    shelf.gate()
    second = shelf.register({"RTE": 140, "QNLI": 121})
    record = shelf.gate()
    assert record["decision"] == "promoted"
    assert (record["champion_before"], record["champion"]) == (first, second)
    assert shelf.champions() == second
    told = shelf.tags("cloze-rte", "2")
    assert (told["score"], told["champion_score"], told["difference"]) == ("0.7", "0.6", "+0.1")
    assert float(told["mcnemar_p"]) == pytest.approx(2 * 0.5**20, abs=1e-6)
    assert (told["by"], told["champion_before"]) == ("gate", "1")
    told = shelf.tags(ENCODER, "2")
    assert (told["probability"], told["difference"]) == ("1", "+0.0525")
    assert shelf.tags(ENCODER, "1")["ended"] == record["headline"]
    run = shelf.client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    names = {one.path for one in shelf.client.list_artifacts(record["run_id"])}
    assert names == {"promotion.json", "promotion.html"}


def test_a_candidate_that_is_kept_out_moves_nothing_and_is_told_why(shelf: Shelf) -> None:
    first = shelf.register({"RTE": 120, "QNLI": 120})
    shelf.gate()
    shelf.register({"RTE": 190, "QNLI": 100})
    record = shelf.gate()
    assert record["decision"] == "kept"
    assert shelf.champions() == first
    assert "QNLI lost 10.00 points" in shelf.tags(ENCODER, "2")["reason"]
    assert "ended" not in shelf.tags(ENCODER, "1")
    assert "QNLI" in (shelf.out / "promotion.html").read_text()


def test_the_champion_itself_is_no_decision_and_leaves_no_row(shelf: Shelf) -> None:
    shelf.register({"RTE": 120})
    shelf.gate()
    record = shelf.gate()
    assert (record["decision"], record["run_id"]) == ("unchanged", None)
    assert len(shelf.promotions.history.entries()) == 1
    assert shelf.tags("cloze-rte", "1")["decision"] == "promoted"


def test_the_same_content_under_another_version_is_no_decision(shelf: Shelf) -> None:
    shelf.register({"RTE": 120})
    shelf.gate()
    shelf.register({"RTE": 120})
    shelf.promotions.registry.tag(ENCODER, "2", {"cloze.content_hash": "encoder-1"})
    assert shelf.gate()["decision"] == "unchanged"
    assert shelf.champions()[ENCODER] == "1"


def test_a_task_that_the_new_champion_lacks_has_no_champion_any_more(shelf: Shelf) -> None:
    shelf.register({"RTE": 120, "QNLI": 120})
    shelf.gate()
    second = shelf.register({"RTE": 140})
    record = shelf.gate()
    assert shelf.champions() == second
    assert record["only_champion"] == ["QNLI"]
    assert record["headline"].endswith("without a champion now: cloze-qnli.")


def test_other_data_are_refused_and_move_nothing(shelf: Shelf) -> None:
    first = shelf.register({"RTE": 120})
    shelf.gate()
    shelf.register({"RTE": 140}, task_hash="new.dir")
    with pytest.raises(ArtifactError, match=r"task RTE.*'new.dir'.*'same.dir'"):
        shelf.gate()
    assert shelf.champions() == first
    assert len(shelf.promotions.history.entries()) == 1


def test_without_a_candidate_it_is_said_what_to_do(shelf: Shelf) -> None:
    with pytest.raises(ArtifactError, match="no version of cloze-encoder has the alias"):
        shelf.gate()


def test_another_projects_champion_is_not_touched(shelf: Shelf) -> None:
    version = shelf.put("cloze-other", "elsewhere", None)
    shelf.promotions.registry.point("champion", {"cloze-other": version})
    shelf.register({"RTE": 120})
    assert "cloze-other" not in shelf.gate()["champion_before"]
    assert shelf.champions("cloze-other")["cloze-other"] == version


def test_a_version_is_promoted_by_hand_with_its_task_models(shelf: Shelf) -> None:
    first = shelf.register({"RTE": 120})
    shelf.register({"RTE": 140})
    shelf.gate()
    record = shelf.promotions.promote("1", "the newer one is slower")
    assert shelf.champions() == first == record["champion"]
    assert shelf.tags(ENCODER, "1")["reason"] == "the newer one is slower"
    assert shelf.tags("cloze-rte", "1")["by"] == "promote"
    record = shelf.promotions.promote(None, "the candidate after all")
    assert record["champion"][ENCODER] == "2"


def test_an_unknown_version_is_refused_with_those_that_are_there(shelf: Shelf) -> None:
    shelf.register({"RTE": 120})
    with pytest.raises(ArtifactError, match=r"cloze-encoder has no version 7, only \[1\]"):
        shelf.promotions.promote("7", "a typing error")
    assert shelf.champions() == {}


def test_a_rollback_returns_to_the_champions_before_and_then_further(shelf: Shelf) -> None:
    sets = [shelf.register({"RTE": count}) for count in (100, 120, 140)]
    for number in ("1", "2", "3"):
        shelf.promotions.promote(number, "in order")
    record = shelf.promotions.rollback("three is broken")
    assert (record["decision"], shelf.champions()) == ("rolled back", sets[1])
    assert shelf.tags(ENCODER, "2")["reason"] == "three is broken"
    assert "ended" not in shelf.tags(ENCODER, "2")
    assert "ended" in shelf.tags(ENCODER, "3")
    shelf.promotions.rollback("two as well")
    assert shelf.champions() == sets[0]
    with pytest.raises(ArtifactError, match="nothing to roll back to"):
        shelf.promotions.rollback("one too")
    assert shelf.champions() == sets[0]


def test_a_rollback_brings_back_a_task_that_was_taken_off(shelf: Shelf) -> None:
    first = shelf.register({"RTE": 120, "QNLI": 120})
    shelf.gate()
    shelf.register({"RTE": 140})
    shelf.gate()
    shelf.promotions.rollback("QNLI is served")
    assert shelf.champions() == first


def test_a_rollback_without_any_champion_says_so(shelf: Shelf) -> None:
    shelf.register({"RTE": 120})
    with pytest.raises(ArtifactError, match=r"nothing to roll back to.*promote --version N"):
        shelf.promotions.rollback("nothing there")


def test_the_history_holds_every_decision_in_order(shelf: Shelf) -> None:
    shelf.register({"RTE": 120})
    shelf.gate()
    shelf.register({"RTE": 110})
    shelf.gate()
    shelf.promotions.promote(None, "a try")
    shelf.promotions.rollback("it failed")
    entries = [entry.described() for entry in shelf.promotions.history.entries()]
    assert [(one["kind"], one["decision"]) for one in entries] == [
        ("gate", "promoted"),
        ("gate", "kept"),
        ("promote", "promoted"),
        ("rollback", "rolled back"),
    ]
    assert [one["after"][ENCODER] for one in entries] == ["1", "1", "2", "1"]
    assert [one["is_move"] for one in entries] == [True, False, True, True]
    assert entries[1]["macro_difference"].startswith("-5.00 (")
    assert entries[3]["reason"] == "it failed"


def test_an_error_half_way_puts_every_alias_back(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shelf.register({"RTE": 120})
    shelf.gate()
    shelf.register({"RTE": 140})

    def fail(*_: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("stages.registration.promotion._write_reports", fail)
    with pytest.raises(RuntimeError, match="disk"):
        shelf.gate()
    assert shelf.champions() == first
    assert len(shelf.promotions.history.entries()) == 1


def test_aliases_move_all_or_none(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shelf.register({"RTE": 120, "QNLI": 120})
    shelf.gate()
    shelf.register({"RTE": 140, "QNLI": 140})
    move = Registry.point
    calls = []

    def point(self: Registry, alias: str, versions: dict[str, str]) -> None:
        calls.append(versions)
        if len(calls) == 1:  # the first move stops behind its first model
            move(self, alias, dict(list(versions.items())[:1]))
            raise RuntimeError("the server went away")
        move(self, alias, versions)

    monkeypatch.setattr(Registry, "point", point)
    with pytest.raises(RuntimeError, match="went away"):
        shelf.gate()
    assert shelf.champions() == first


def test_what_a_killed_process_moved_is_put_back_first(shelf: Shelf) -> None:
    first = shelf.register({"RTE": 120})
    shelf.gate()
    second = shelf.register({"RTE": 110})
    facts = {"decision": "promoted", "reason": "cut off"}
    record = make_record("promote", facts, ENCODER, first, second)
    run_id = shelf.promotions.history.begin(record)
    gone = {**asdict(identify_process(os.getpid())), "pid": 2**22 + 1}
    shelf.client.set_tag(run_id, "cloze.promotion.process", json.dumps(gone))
    shelf.promotions.registry.point("champion", {ENCODER: "2"})  # and then it was killed
    assert shelf.gate()["decision"] == "kept"
    assert shelf.champions() == first
    assert shelf.client.get_run(run_id).info.status == "FAILED"


def test_an_undo_that_fails_leaves_the_old_champion_for_the_next_command(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shelf.register({"RTE": 120})
    shelf.gate()
    second = shelf.register({"RTE": 160})
    calls = []

    def point(self: Registry, alias: str, versions: dict[str, str]) -> None:
        calls.append(versions)
        raise RuntimeError("the server went away")

    monkeypatch.setattr(Registry, "point", point)
    with pytest.raises(RuntimeError, match="went away"):
        shelf.gate()
    assert calls == [second, first]  # forth, and back once
    assert shelf.champions() == first
