"""Full and read-only disks, unreadable and damaged inputs: named in the error, nothing lost."""

import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError, StorageError
from stages.pretraining import checkpoints
from stages.pretraining.inputs import require_undamaged
from tests.conformance.batches import objective_of
from tests.golden.curves import write_artefacts
from tests.unit.pretraining.attempts import Attempt
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

SETTINGS = settings_of("bert", budget=steps(60))
OFTEN = {"CLOZE_CHECKPOINT_INTERVAL_STEPS": "5", "CLOZE_LOG_INTERVAL_STEPS": "1"}


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs takes root: no disk at hand that can be filled")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def artefacts(tmp_path):
    write_artefacts(tmp_path, "bert")
    return {name: tmp_path / name for name in ("encoding", "masking", "tokenizer")}


def fill(folder, leave_bytes=0):
    """Write a file that takes all room but `leave_bytes`."""
    room = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "filler").write_bytes(b"\0" * (room - leave_bytes))


def save(folder, step, state_bytes=1000):
    objective = objective_of("bert", torch.float32)
    state = {"optimizer": torch.zeros(state_bytes, dtype=torch.uint8)}
    return checkpoints.save(folder, step, objective.save, state)


@pytest.mark.parametrize(
    ("leave_bytes", "state_bytes"), [(0, 1000), (8 << 10, 1000), (1 << 20, 4 << 20)]
)
def test_a_full_disk_is_named_and_the_last_checkpoint_is_intact(
    small_disk, leave_bytes, state_bytes
):
    """At once, in the model's weights (safetensors), in the state (torch)."""
    first = save(small_disk, 1)
    fill(small_disk, leave_bytes)
    with pytest.raises(StorageError, match=r"step-00000002.*: cannot write: No space left"):
        save(small_disk, 2, state_bytes)
    assert checkpoints.newest(small_disk) == first
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "step-00000001"]
    (small_disk / "filler").unlink()
    assert checkpoints.newest(small_disk) != save(small_disk, 2)


@pytest.mark.slow
def test_a_training_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(
    small_disk, artefacts, tmp_path
):
    """The first of two ranks writes, so that it alone has the error."""
    stage = Stage(tmp_path, tmp_path)
    stage.state = small_disk / "state"
    attempt = Attempt(stage, SETTINGS, CLOZE_PROCESSES="2", **OFTEN)
    assert attempt.wait_for_checkpoint()
    fill(small_disk)
    assert attempt.finish() == 3
    assert attempt.text.count("cannot write: No space left on device; make room") == 1
    assert "Traceback" not in attempt.text
    good = checkpoints.newest(stage.checkpoints[0].parent)
    assert good is not None
    (small_disk / "filler").unlink()
    result = stage.run_here(SETTINGS, **OFTEN)
    assert result.returncode == 0, result.stderr
    assert f"resumed step={good.step} " in result.stderr


@pytest.mark.slow
def test_a_disk_that_may_not_be_written_to_is_named(artefacts, tmp_path):
    """Nobody, not even root, makes a folder below /sys."""
    stage = Stage(tmp_path, tmp_path)
    result = stage.run(SETTINGS, CLOZE_STATE="/sys/cloze")
    assert result.returncode == 3
    assert "/sys/cloze: the state root cannot be made: Operation not permitted" in result.stderr
    assert "Traceback" not in result.stderr
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "checkpoints").write_text("no folder")
    result = stage.run(SETTINGS)
    assert result.returncode == 3
    assert "cannot write: Not a directory" in result.stderr
    (tmp_path / "state" / "checkpoints").unlink()
    command = stage.command(SETTINGS)
    command[command.index("--out") + 1] = "/sys/cloze/out"
    environment = stage.environment()
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert "cannot write: Operation not permitted" in result.stderr


def spoil_hash(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def spoil_reading(path):
    """Reading this one is an input/output error, for root too."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("shard", "spoil", "message"),
    [
        ("encoding/train.tokens.bin", spoil_hash, "has the hash .*, expected"),
        ("masking/24/train/mask_positions.npy", spoil_hash, "has the hash .*, expected"),
        ("encoding/train.tokens.bin", spoil_reading, "cannot be read: Input/output error"),
        ("encoding/word_starts.npy", os.unlink, "is missing"),
        ("tokenizer/tokenizer.json", spoil_hash, "has the hash .*, expected"),
    ],
)
def test_a_damaged_shard_is_named(artefacts, tmp_path, shard, spoil, message):
    spoil(tmp_path / shard)
    with pytest.raises(ArtifactError, match=rf"{tmp_path / shard}:? {message}"):
        require_undamaged(artefacts, tmp_path)


@pytest.mark.slow
def test_a_damaged_shard_stops_a_training_before_its_first_step(artefacts, tmp_path):
    stage = Stage(tmp_path, tmp_path)
    spoil_hash(tmp_path / "encoding" / "train.tokens.bin")
    result = stage.run_here(SETTINGS)
    assert result.returncode == 3
    assert f"{tmp_path}/encoding/train.tokens.bin has the hash" in result.stderr
    assert "run encoding again" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_data_is_read_again_only_where_a_file_has_changed(artefacts, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "stages.pretraining.inputs.require_content", lambda _folder, stage: read.append(stage)
    )
    require_undamaged(artefacts, tmp_path)
    require_undamaged(artefacts, tmp_path)
    assert read == ["encoding", "masking", "tokenizer"]
    spoil_hash(tmp_path / "masking" / "24" / "train" / "examples.npy")
    require_undamaged(artefacts, tmp_path)
    assert read[3:] == ["masking"]


def test_damaged_checkpoints_of_later_steps_do_not_push_out_good_ones(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    for step in (3, 4):
        spoil_hash(tmp_path / f"step-0000000{step}" / "training.pt")
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.step == 2
    written = save(tmp_path, 3)
    pruned = checkpoints.prune(written)
    assert [path.name[-1] for path in pruned] == ["1", "4"]
    assert checkpoints.newest(tmp_path) == written


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    half = tmp_path / ".step-00000007.partial"
    half.mkdir()
    (half / "training.pt").write_bytes(b"half")
    assert checkpoints.newest(tmp_path) is None
    save(tmp_path, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000008"]


def test_manifests_of_before_name_the_folder(artefacts, tmp_path):
    """Their files have no hashes of their own."""
    manifest = tmp_path / "encoding" / "manifest.json"
    facts = SimpleNamespace(**read_json(manifest))
    del facts.files
    manifest.write_text(str(vars(facts)).replace("'", '"'))
    require_undamaged(artefacts, tmp_path)
    np.save(tmp_path / "encoding" / "word_starts.npy", np.zeros(3))
    with pytest.raises(ArtifactError, match=r"/encoding: its content is not what stage encoding"):
        require_undamaged(artefacts, tmp_path)
