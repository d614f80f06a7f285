"""The kept outputs of the random twin: keyed by all they depend on, whole or made again."""

import json
import shutil

import numpy as np
import pytest

from stages.core.settings import parse_section
from stages.core.state import state_root
from stages.finetuning.params import TaskSettings
from stages.finetuning.twin import kept_outputs, twin_key
from tests.unit.finetuning.builders import SETTINGS, copied_start, write_task

OUTPUTS = {"dev": np.arange(50.0).reshape(25, 2), "test": np.ones((3, 2))}
SIZES = {"dev": 25, "test": 3}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("task"))


def key(folder, task, *, mode="full", seed=1, **changes) -> str:
    settings = parse_section(TaskSettings, SETTINGS | changes, where="test")
    return twin_key(folder, task, settings, mode=mode, seed=seed)


def test_the_key_does_not_follow_the_weights_or_the_place_of_the_start(start, task, tmp_path):
    other = copied_start(start, tmp_path / "other", lambda w: {k: v * 2 for k, v in w.items()})
    assert key(other, task, start="elsewhere") == key(start, task)


def test_the_key_follows_everything_that_changes_the_outputs(start, task, tmp_path):
    other_task = write_task(tmp_path / "task", note="now another manifest")
    deeper, spoken = (shutil.copytree(start, tmp_path / name) for name in ("deeper", "spoken"))
    config = json.loads((start / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    (spoken / "tokenizer.json").write_text((start / "tokenizer.json").read_text() + " ")
    keys = [
        key(start, task),
        key(start, task, seed=2),
        key(start, task, mode="other"),
        key(start, task, learning_rate=1e-3),
        key(start, task, max_train_examples=10),
        key(start, other_task),
        key(deeper, task),
        key(spoken, task),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_follows_the_code_that_trains(start, task, monkeypatch):
    before = key(start, task)
    monkeypatch.setattr("stages.finetuning.twin.code_fingerprint", lambda *modules: "other")
    assert key(start, task) != before


def refuse():
    raise AssertionError("computed although kept")


def test_outputs_are_computed_once_and_given_back_exactly():
    kept_outputs("key", lambda: OUTPUTS, sizes=SIZES)
    again = kept_outputs("key", refuse, sizes=SIZES)
    assert list(again) == list(OUTPUTS)
    assert all(np.array_equal(again[name], OUTPUTS[name]) for name in OUTPUTS)
    assert [path.name for path in (state_root() / "twins").iterdir()] == ["key.npz"]


def flipped(data: bytes) -> bytes:
    return data[:300] + bytes([data[300] ^ 1]) + data[301:]


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"text"],
    ids=["a flipped bit", "half a file", "an empty file", "another file"],
)
def test_a_damaged_entry_is_computed_again_and_mended(damage, caplog):
    kept_outputs("key", lambda: OUTPUTS, sizes=SIZES)
    path = state_root() / "twins" / "key.npz"
    path.write_bytes(damage(path.read_bytes()))
    made = kept_outputs("key", lambda: OUTPUTS, sizes=SIZES)
    assert np.array_equal(made["dev"], OUTPUTS["dev"])
    assert "the twin is trained again" in caplog.text
    kept_outputs("key", refuse, sizes=SIZES)


def test_an_entry_of_other_sizes_is_computed_again(caplog):
    kept_outputs("key", lambda: {"dev": np.ones((5, 2))}, sizes={"dev": 5})
    made = kept_outputs("key", lambda: OUTPUTS, sizes=SIZES)
    assert len(made["dev"]) == 25
    assert "holds {'dev': 5}, expected {'dev': 25, 'test': 3}" in caplog.text


def test_a_state_root_that_cannot_be_written_costs_only_the_next_run(monkeypatch, caplog):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert kept_outputs("key", lambda: OUTPUTS, sizes=SIZES) is OUTPUTS
    assert "cannot be kept" in caplog.text
