"""A system in outline: vocabulary and shapes from settings, artefacts or a checkpoint."""

import pytest

from stages.core.artifacts import content_hash
from stages.core.errors import SettingsError
from stages.pretraining.objective import Vocabulary, load_objective
from stages.pretraining.outline import empty_objective, outlined, with_layers
from stages.pretraining.weights import num_weights
from tests.builders import SPECIAL_TOKEN_IDS, write_tokenizer
from tests.conformance.batches import OBJECTIVES, VOCAB, objective_of, params_of

SECTION = {"kind": "wordpiece", "vocab_size": 30522, "pad_to_multiple_of": 64}


def test_the_vocabulary_is_the_artefacts_or_what_the_section_will_make(tmp_path):
    write_tokenizer(tmp_path / "tokenizer", VOCAB)
    params = params_of("bert")
    assert outlined(params, None, SECTION)[1].vocab_size == 30528
    assert outlined(params, tmp_path / "tokenizer", SECTION)[1] == Vocabulary(
        VOCAB, SPECIAL_TOKEN_IDS
    )
    assert outlined(params, None, SECTION | {"kind": "bpe"})[1].special_token_ids["pad"] == 1


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_start_from_a_checkpoint_has_its_shapes(name, tmp_path):
    """The settings' own model is another one, and counts for nothing."""
    made = objective_of(name)
    made.save(tmp_path / "out")
    start = {"checkpoint": str(tmp_path / "out"), "revision": content_hash(tmp_path / "out")}
    other = {"size": "mini", "overrides": {}}
    model = params_of(name).model.model_dump() | other
    params, vocabulary = outlined(params_of(name, start=start, model=model), None, SECTION)
    assert vocabulary.vocab_size == VOCAB
    assert num_weights(empty_objective(params, vocabulary)) == num_weights(made)
    loaded, _ = load_objective(name).load(tmp_path / "out", params_of(name))
    config, found = loaded.encoder.config, empty_objective(params, vocabulary).encoder.config
    assert found.max_position_embeddings == config.max_position_embeddings


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    objective_of("roberta").save(tmp_path)
    start = {"checkpoint": str(tmp_path), "revision": content_hash(tmp_path)}
    with pytest.raises(SettingsError, match="holds a roberta model, expected bert"):
        outlined(params_of("bert", start=start), None, SECTION)


def test_layers_can_be_taken_off():
    empty = empty_objective(with_layers(params_of("bert"), 1), Vocabulary(VOCAB, SPECIAL_TOKEN_IDS))
    assert empty.encoder.config.num_hidden_layers == 1
