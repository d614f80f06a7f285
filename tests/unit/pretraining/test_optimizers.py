"""A sharded optimiser is the same training for less memory; its checkpoints are everybody's."""

import pytest
import torch

from stages.pretraining.optimizers import make_optimizer, whole_state
from tests.conformance.batches import objective_of, params_of
from tests.golden.curves import write_artefacts
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage

CPU = torch.device("cpu")
TWO = {"CLOZE_PROCESSES": "2"}
SHARDED = TWO | {"CLOZE_SHARD_OPTIMIZER": "1", "CLOZE_CHECKPOINT_INTERVAL_STEPS": "5"}


@pytest.mark.parametrize("name", ["adamw", "bert-adam"])
def test_one_rank_has_nothing_to_shard(name):
    params = params_of("bert", optimizer=name)
    made = make_optimizer(params, objective_of("bert"), CPU, is_sharded=True)
    assert type(made).__name__ == {"adamw": "AdamW", "bert-adam": "BertAdam"}[name]
    assert [group["weight_decay"] for group in made.param_groups] == [0.01, 0.0]
    assert whole_state(made).keys() == {"state", "param_groups"}


@pytest.mark.slow
def test_sharded_ranks_train_like_whole_ones_and_one_process_goes_on_from_them(tmp_path):
    write_artefacts(tmp_path, "electra")
    settings = settings_of("electra")
    stages = {}
    for name, variables in (("whole", TWO), ("sharded", SHARDED)):
        (tmp_path / name).mkdir()
        stages[name] = Stage(tmp_path, tmp_path / name)
        result = stages[name].run_here(settings, **variables)
        assert result.returncode == 0, result.stderr
    expected = stages["whole"].weights
    sharded = stages["sharded"]

    def gap():
        found = sharded.weights
        return max(float((expected[key] - found[key]).abs().max()) for key in expected)

    assert gap() < 1e-6
    # Step 8's checkpoint is damaged, so that one process goes on from what sharded ranks saved.
    (sharded.checkpoints[-1] / "checkpoint.json").write_text('{"step": 8, "content": "damaged"}')
    result = sharded.run_here(settings)
    assert "resumed step=5" in result.stderr
    assert gap() < 2e-5


@pytest.mark.slow
def test_a_profiled_training_leaves_a_trace(tmp_path):
    write_artefacts(tmp_path, "roberta")
    stage = Stage(tmp_path, tmp_path)
    settings = settings_of("roberta", budget={"unit": "steps", "amount": 13})
    result = stage.run_here(settings, CLOZE_PROFILE="1")
    assert result.returncode == 0, result.stderr
    (trace,) = stage.state.glob("checkpoints/*/trace-rank-0.json")
    assert "aten::addmm" in trace.read_text()
