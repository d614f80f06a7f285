"""Feature extraction: the encoder does not move, its vectors are what transformers gives."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from stages.core.errors import SettingsError
from stages.finetuning import frozen
from stages.finetuning.batches import padded_batch
from stages.finetuning.classifier import load_encoder
from stages.finetuning.features import load_tokenizer
from stages.finetuning.frozen import FrozenClassifier, PooledClassifier
from stages.finetuning.pooled import load_pooled
from stages.finetuning.task import read_task
from stages.finetuning.training import predict, train
from tests.unit.finetuning.builders import training, write_start, write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_task(tmp_path_factory.mktemp("task")), None)


def learner_of(start, task, kind, seed=1):
    model = load_encoder(start, task, seed)
    if kind == "last":
        return FrozenClassifier(model, task, start)
    return PooledClassifier(model.base_model, task, is_weighted=kind == "weighted", seed=seed)


def encoded(start, task, split="train"):
    return load_tokenizer(start, 32).encode(task.splits[split])


def test_vectors_are_first_token_mean_and_layer_means_of_transformers(start, task):
    features = encoded(start, task, "dev")
    body = AutoModel.from_pretrained(start).eval()
    found = {kind: learner_of(start, task, kind).fixed(features) for kind in ("last", "mean")}
    layers = learner_of(start, task, "weighted").fixed(features).vectors
    assert layers.shape == (40, 3, 32)  # the embeddings and two layers
    for n in range(0, 40, 9):
        batch = padded_batch(features, np.array([n]))
        with torch.no_grad():
            given = body(**batch, output_hidden_states=True)
        last = given.last_hidden_state[0]
        torch.testing.assert_close(found["last"].vectors[n, 0], last[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(found["mean"].vectors[n, 0], last.mean(0), atol=1e-5, rtol=0)
        means = torch.stack([one[0].mean(0) for one in given.hidden_states])
        torch.testing.assert_close(layers[n], means, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["last", "mean", "weighted"])
def test_only_the_head_learns_and_it_does(start, task, kind):
    learner = learner_of(start, task, kind)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    features = learner.fixed(encoded(start, task))
    rates = training(num_epochs=30, learning_rate=2e-2, batch_sequences=16)
    losses = [update.loss for update in train(learner, features, rates, seed=1)]
    # the toy's random encoder says little at its first token
    assert np.mean(losses[-10:]) < (1.0 if kind == "last" else 0.8) * np.mean(losses[:10])
    moved = {
        name
        for name, value in learner.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    head = {"classifier.weight", "classifier.bias"}
    assert moved == head | ({"mix", "scale"} if kind == "weighted" else set())


def test_a_pooler_that_no_pretraining_has_made_learns_too(task, tmp_path):
    start = write_start(tmp_path / "roberta", "roberta")
    learner = learner_of(start, task, "last")
    learnt = {name for name, one in learner.model.named_parameters() if one.requires_grad}
    assert learnt == {
        f"classifier.{layer}.{kind}"
        for layer in ("dense", "out_proj")
        for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("kind", ["mean", "weighted"])
def test_a_saved_pooled_model_predicts_as_before(start, task, kind, tmp_path):
    learner = learner_of(start, task, kind)
    features = encoded(start, task, "dev")
    fixed = learner.fixed(encoded(start, task))
    for _ in train(learner, fixed, training(num_epochs=1), seed=1):
        pass
    outputs = predict(learner, learner.fixed(features))
    learner.save(tmp_path / "model")
    body, head, facts = load_pooled(tmp_path / "model")
    again = PooledClassifier(body, task, is_weighted=kind == "weighted", seed=0)
    again.model = head
    assert predict(again, again.fixed(features)) == pytest.approx(outputs, abs=1e-5)
    assert facts["problem_type"] == "single_label_classification"


def test_an_architecture_that_is_not_packed_is_told_what_fits(start, task, monkeypatch):
    monkeypatch.setattr(frozen, "PACKED", ("electra",))
    with pytest.raises(SettingsError, match="features 'last' know electra and not bert"):
        learner_of(start, task, "last")
