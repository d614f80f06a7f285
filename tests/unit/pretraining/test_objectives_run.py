"""Every objective through the stage's command: ranks, resume, refusals, and what is exported."""

import pytest
from safetensors.torch import load_file

from stages.core.artifacts import content_hash, read_manifest
from tests.conformance.batches import ELECTRA, OBJECTIVES, WIDTH
from tests.golden.curves import write_artefacts
from tests.unit.pretraining.test_run import SETTINGS, Stage, steps

pytestmark = pytest.mark.slow
BESIDE = {
    "bert": [],
    "roberta": [],
    "spanbert": ["boundary_head.safetensors"],
    "electra": ["generator"],
}


def settings_of(name, **changes):
    model = SETTINGS["model"] | {
        "hidden_dropout_probability": 0.0,
        "attention_dropout_probability": 0.0,
    }
    phases = [{"max_seq_length": WIDTH, "share_of_budget": 1.0, "global_batch_sequences": 8}]
    block = {"electra": ELECTRA} if name == "electra" else {}
    own = {"objective": name, "model": model, "phases": phases, "budget": steps(8), **block}
    return SETTINGS | own | changes


@pytest.fixture(scope="module", params=OBJECTIVES)
def trained(request, tmp_path_factory):
    """The objective's name, its inputs, and one run of eight updates."""
    name = request.param
    inputs = tmp_path_factory.mktemp(name)
    write_artefacts(inputs, name)
    stage = Stage(inputs, tmp_path_factory.mktemp(f"{name}-one"))
    result = stage.run_here(settings_of(name), CLOZE_MICRO_BATCH_SEQUENCES="3")
    assert result.returncode == 0, result.stderr
    return name, inputs, stage


def test_two_processes_train_like_one(trained, tmp_path):
    name, inputs, one = trained
    two = Stage(inputs, tmp_path)
    result = two.run_here(settings_of(name), CLOZE_PROCESSES="2")
    assert result.returncode == 0, result.stderr
    assert one.weights.keys() == two.weights.keys()
    for key, weight in one.weights.items():
        assert (weight - two.weights[key]).abs().max() < 2e-5, key


def test_a_resumed_training_ends_with_the_same_bytes(trained, tmp_path):
    """Steps 1 to 5 and their checkpoint, then the newer ones deleted: 6 to 8 are trained again."""
    name, inputs, one = trained
    again = Stage(inputs, tmp_path)
    variables = {"CLOZE_MICRO_BATCH_SEQUENCES": "3", "CLOZE_CHECKPOINT_INTERVAL_STEPS": "5"}
    assert again.run_here(settings_of(name), **variables).returncode == 0
    newest = again.checkpoints[-1]
    (newest / "checkpoint.json").write_text('{"step": 8, "content": "damaged"}')
    result = again.run_here(settings_of(name), **variables)
    assert "resumed step=5" in result.stderr
    assert content_hash(tmp_path / "out") == content_hash(one.folder / "out")


def test_the_artefact_holds_what_was_trained_and_measured(trained):
    name, _, stage = trained
    out = stage.folder / "out"
    facts = read_manifest(out, "pretraining")
    assert (facts["objective"], facts["steps"], facts["initialised"]) == (name, 8, [])
    assert facts["flops"] > 0
    assert facts["tokens"] > 8 * 8 * 2
    assert facts["comparison"]["pseudo_perplexity_per_word"] > 1
    assert facts["comparison"]["mlm_perplexity"] > 1
    assert facts["trained_parameters"] >= facts["parameters"]
    for beside in BESIDE[name]:
        assert (out / beside).exists()


def test_a_start_of_the_same_kind_keeps_its_weights(trained, tmp_path):
    """Heads that the encoder's folder lacks are fresh, and named."""
    name, inputs, stage = trained
    encoder = stage.folder / "out" / "encoder"
    start = {"checkpoint": str(encoder), "revision": content_hash(encoder)}
    nothing = {"start": start, "budget": steps(0), "num_warmup_steps": 0}
    again = Stage(inputs, tmp_path)
    result = again.run_here(settings_of(name, **nothing))
    assert result.returncode == 0, result.stderr
    kept = load_file(tmp_path / "out" / "encoder" / "model.safetensors")
    assert all((kept[key] == weight).all() for key, weight in stage.weights.items())
    fresh = read_manifest(tmp_path / "out", "pretraining")["initialised"]
    assert bool(fresh) == bool(BESIDE[name])


def test_a_start_of_another_kind_is_refused(trained, tmp_path):
    name, inputs, stage = trained
    other = "roberta" if name != "roberta" else "spanbert"
    encoder = stage.folder / "out" / "encoder"
    start = {"checkpoint": str(encoder), "revision": content_hash(encoder)}
    result = Stage(inputs, tmp_path).run_here(settings_of(other, start=start))
    assert result.returncode in (2, 3)
    assert "holds a" in result.stderr or "does not fit pretraining.objective" in result.stderr


def test_masks_of_another_objective_are_refused(trained, tmp_path):
    name, inputs, _ = trained
    wrong = {"bert": "roberta", "roberta": "bert", "spanbert": "electra", "electra": "spanbert"}
    result = Stage(inputs, tmp_path).run_here(settings_of(wrong[name]))
    assert result.returncode == 3
    assert f"does not fit pretraining.objective '{wrong[name]}'" in result.stderr
    assert not (tmp_path / "out").exists()
