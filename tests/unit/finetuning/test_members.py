"""Kept results of trainings: keyed by all they depend on, whole or made again."""

import json
import shutil

import numpy as np
import pytest

from stages.core.settings import parse_section
from stages.core.state import state_root
from stages.finetuning.members import MemberKeys, Result, keep, kept
from stages.finetuning.params import FinetuningParams
from tests.unit.finetuning.builders import copied_start, section, training, write_task

OUTPUTS = {"dev": np.arange(50.0).reshape(25, 2), "test": np.ones((3, 2))}
SIZES = {"dev": 25, "test": 3}
RESULT = Result(OUTPUTS, [{"epoch": 1, "step": 4, "dev_score": 0.5}], 0.5)
_PROTOCOL = ("learning_rate", "num_epochs")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("task"))


def member_of(folder, task, *, system="twin", seed=1, **changes):
    own = {name: changes.pop(name) for name in _PROTOCOL if name in changes}
    params = parse_section(FinetuningParams, section(**changes), where="test")
    return MemberKeys(params, folder, task, "toy").member(system, training(**own), seed)


def key(*args, **changes) -> str:
    return member_of(*args, **changes).key


def test_a_twins_key_does_not_follow_the_weights_or_the_place_of_the_start(start, task, tmp_path):
    other = copied_start(start, tmp_path / "other", lambda w: {k: v * 2 for k, v in w.items()})
    assert key(other, task, start="elsewhere") == key(start, task)


def test_an_encoders_key_follows_the_weights_and_not_their_place(start, task, tmp_path):
    other = copied_start(start, tmp_path / "other", lambda w: {k: v * 2 for k, v in w.items()})
    same = shutil.copytree(start, tmp_path / "same")
    assert key(same, task, system="encoder") == key(start, task, system="encoder")
    assert key(other, task, system="encoder") != key(start, task, system="encoder")


def test_the_name_of_the_protocol_is_no_part_of_the_key(start, task):
    values = section()
    values["protocols"]["same"] = values["protocols"]["toy"]
    values["tasks"]["toy"] = values["tasks"]["toy"] | {"protocol": "same"}
    params = parse_section(FinetuningParams, values, where="test")
    member = MemberKeys(params, start, task, "toy").member("twin", training(), 1)
    assert member.key == key(start, task)


@pytest.mark.slow
def test_the_key_follows_everything_that_changes_the_outputs(start, task, tmp_path):
    other_task = write_task(tmp_path / "task", note="now another manifest")
    deeper, spoken = (shutil.copytree(start, tmp_path / name) for name in ("deeper", "spoken"))
    config = json.loads((start / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    (spoken / "tokenizer.json").write_text((start / "tokenizer.json").read_text() + " ")
    keys = [
        key(start, task),
        key(start, task, seed=2),
        key(start, task, mode="frozen", features="mean"),
        key(start, task, mode="frozen", features="last"),
        key(start, task, num_epochs=7),
        key(start, task, max_seq_length=16),
        key(start, task, system="encoder"),
        key(start, task, learning_rate=1e-3),
        key(start, task, max_train_examples=10),
        key(start, other_task),
        key(deeper, task),
        key(spoken, task),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_follows_the_code_that_trains(start, task, monkeypatch):
    before = key(start, task)
    monkeypatch.setattr("stages.finetuning.members.code_fingerprint", lambda *modules: "other")
    assert key(start, task) != before


def test_a_result_is_given_back_exactly(start, task):
    member = member_of(start, task)
    assert kept(member, sizes=SIZES) is None
    keep(member, RESULT)
    again = kept(member, sizes=SIZES)
    assert list(again.outputs) == list(OUTPUTS)
    assert all(np.array_equal(again.outputs[name], OUTPUTS[name]) for name in OUTPUTS)
    assert (again.curve, again.dev_score) == (RESULT.curve, 0.5)
    assert [path.name for path in (state_root() / "members").iterdir()] == [f"{member.key}.npz"]


def flipped(data: bytes) -> bytes:
    return data[:300] + bytes([data[300] ^ 1]) + data[301:]


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"text"],
    ids=["a flipped bit", "half a file", "an empty file", "another file"],
)
def test_a_damaged_entry_counts_as_none(start, task, damage, caplog):
    member = member_of(start, task)
    keep(member, RESULT)
    path = state_root() / "members" / f"{member.key}.npz"
    path.write_bytes(damage(path.read_bytes()))
    assert kept(member, sizes=SIZES) is None
    assert "it is trained again" in caplog.text


def test_an_entry_of_other_sizes_counts_as_none(start, task, caplog):
    member = member_of(start, task)
    keep(member, Result({"dev": np.ones((5, 2))}, [], 0.0))
    assert kept(member, sizes=SIZES) is None
    assert "holds {'dev': 5}, expected {'dev': 25, 'test': 3}" in caplog.text


def test_a_state_root_that_cannot_be_written_costs_only_the_next_run(
    start, task, monkeypatch, caplog
):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    keep(member_of(start, task), RESULT)
    assert "cannot be kept" in caplog.text
