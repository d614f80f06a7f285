"""A sweep: settings chosen on dev, results kept as they come, members side by side."""

import numpy as np
import pytest

from stages.core.errors import SettingsError
from stages.core.settings import parse_section
from stages.finetuning import sweep
from stages.finetuning.members import DivergedError, Job, MemberKeys, Result
from stages.finetuning.params import FinetuningParams
from stages.finetuning.sweep import Sweep, members_at_once
from stages.finetuning.task import read_task
from tests.unit.finetuning.builders import section, write_task

RATES = [1e-2, 1e-3, 1e-4]
SCORES = {
    ("encoder", 1e-2): 0.6,
    ("encoder", 1e-3): 0.8,
    ("encoder", 1e-4): 0.8,
    ("twin", 1e-2): 0.5,
    ("twin", 1e-3): 0.4,
    ("twin", 1e-4): 0.3,
}


@pytest.fixture
def world(start, tmp_path, monkeypatch):
    """A sweep whose trainings are looked up, and what was trained."""
    folder = write_task(tmp_path / "task")
    trained = []

    def train(order):
        trained.append(order)
        member = order.member
        score = SCORES[member.system, member.training.learning_rate]
        if score is None:
            return DivergedError(f"the loss is nan at {member.training.learning_rate:g}")
        if order.model_folder:
            order.model_folder.mkdir(parents=True)
        result = Result({"dev": np.zeros((40, 2)), "test": np.zeros((20, 2))}, [], score)
        sweep.keep(member, result)
        return result

    monkeypatch.setattr(sweep, "_train", train)
    monkeypatch.setattr(sweep, "_begin", lambda job: None)

    def learn(seeds=(1, 2), models="models", **changes):
        trained.clear()
        params = parse_section(FinetuningParams, section(seeds, **changes), where="test")
        task = read_task(folder, None)
        job = Job(start, task.without_texts(), tmp_path / "features", None, None, "test", 1)
        keys = MemberKeys(params, start, folder, "toy")
        made = Sweep(job, keys, tmp_path / models, 1)
        return made, made.learn(params.protocols["toy"], params.seeds)

    return learn, trained


def test_one_setting_is_trained_once_a_seed_and_system_without_a_search(world):
    learn, trained = world
    _, learnt = learn(learning_rate=1e-3)
    assert [(one.member.system, one.member.seed) for one in trained] == [
        ("encoder", 1),
        ("twin", 1),
        ("encoder", 2),
        ("twin", 2),
    ]
    assert learnt["encoder"].search == ()


def test_each_system_takes_its_own_best_on_dev_and_ties_go_to_the_first(world):
    learn, trained = world
    _, learnt = learn(learning_rate=RATES)
    assert learnt["encoder"].training.learning_rate == 1e-3
    assert learnt["twin"].training.learning_rate == 1e-2
    assert [one.dev_score for one in learnt["encoder"].search] == [0.6, 0.8, 0.8]
    # six searched with the first seed, then the second seed of both
    assert [one.member.seed for one in trained] == [1] * 6 + [2, 2]


def test_settings_whose_loss_is_no_number_lose(world, monkeypatch):
    learn, _ = world
    monkeypatch.setitem(SCORES, ("encoder", 1e-3), None)
    _, learnt = learn(learning_rate=RATES)
    assert learnt["encoder"].training.learning_rate == 1e-4
    assert [one.dev_score for one in learnt["encoder"].search] == [0.6, None, 0.8]


def test_a_search_in_which_every_loss_is_no_number_ends_with_that_error(world, monkeypatch):
    learn, _ = world
    for rate in RATES:
        monkeypatch.setitem(SCORES, ("encoder", rate), None)
    with pytest.raises(SettingsError, match=r"encoder: the loss is nan at 0.01"):
        learn(learning_rate=RATES)


def test_the_error_is_that_of_the_system_that_found_no_number(world, monkeypatch):
    learn, _ = world
    for rate in RATES:
        monkeypatch.setitem(SCORES, ("twin", rate), None)
    with pytest.raises(SettingsError, match=r"^twin: the loss is nan at 0.01$"):
        learn(learning_rate=RATES)


def test_a_diverged_seed_is_no_result(world, monkeypatch):
    learn, _ = world
    monkeypatch.setitem(SCORES, ("twin", 1e-3), None)
    with pytest.raises(DivergedError, match=r"the loss is nan at 0.001"):
        learn(learning_rate=1e-3)


def test_what_is_kept_is_not_trained_again_and_a_model_only_if_it_is_asked_for(world):
    learn, trained = world
    learn(learning_rate=1e-3)
    made, learnt = learn(learning_rate=1e-3, models="fresh")
    assert trained == []
    member = learnt["encoder"].members[2]
    assert made.model_of(member).is_dir()
    assert [one.member for one in trained] == [member]
    made.model_of(member)
    assert len(trained) == 1


def test_only_encoders_of_the_last_round_write_their_models(world):
    learn, trained = world
    learn(learning_rate=RATES)
    assert [one.model_folder is not None for one in trained] == [False] * 6 + [True, False]


def test_as_many_run_side_by_side_as_there_are_cores_members_and_memory(start, monkeypatch):
    monkeypatch.setattr(sweep, "_num_devices", lambda: 0)
    assert members_at_once(start, 6, 4) == 4
    assert members_at_once(start, 2, 4) == 2
    weights = sum(file.stat().st_size for file in start.glob("*.safetensors"))
    pages = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 3.5 * 8 * weights / 0.7}
    monkeypatch.setattr(sweep.os, "sysconf", pages.get)
    assert members_at_once(start, 6, 4) == 3
    pages["SC_PHYS_PAGES"] = 1
    assert members_at_once(start, 6, 4) == 1


def test_each_device_takes_one_at_a_time(start, monkeypatch):
    monkeypatch.setattr(sweep, "_num_devices", lambda: 2)
    assert members_at_once(start, 6, 16) == 2
