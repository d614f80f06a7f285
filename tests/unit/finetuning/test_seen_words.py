"""Embeddings of seen words: the training of all of them, and a checkpoint like any other."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from stages.finetuning.classifier import Classifier, load_encoder
from stages.finetuning.features import load_tokenizer
from stages.finetuning.seen_words import SeenWords, learn_seen_words, restore_words
from stages.finetuning.task import read_task
from stages.finetuning.training import predict, train
from tests.unit.finetuning.builders import training, write_start, write_task


@pytest.fixture(scope="module", params=["bert", "roberta", "electra"])
def start(request, tmp_path_factory):
    return write_start(tmp_path_factory.mktemp("start") / "encoder", request.param)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_task(tmp_path_factory.mktemp("task")), 24)


@pytest.fixture(scope="module")
def features(start, task):
    tokenizer = load_tokenizer(start, 32)
    return {split: tokenizer.encode(task.splits[split]) for split in ("train", "dev")}


def words_of(model):
    return model.base_model.embeddings.word_embeddings


def trained(start, task, features, **changes):
    learner = Classifier(load_encoder(start, task, 1), task)
    for _ in train(learner, features["train"], training(num_epochs=2, **changes), seed=1):
        pass
    return learner


def test_a_training_is_that_of_all_embeddings(start, task, features, monkeypatch):
    settings = {"weight_decay": 0.1, "layerwise_lr_decay": 0.9}
    ours = trained(start, task, features, **settings)
    assert isinstance(words_of(ours.model), SeenWords)
    outputs = predict(ours, features["dev"])
    restore_words(ours.model)
    monkeypatch.setattr(Classifier, "begin", lambda self, features: None)
    plain = trained(start, task, features, **settings)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert outputs == pytest.approx(predict(plain, features["dev"]), rel=1e-3, abs=1e-4)


def test_unseen_words_decay_and_seen_ones_are_learnt(start, task, features):
    before = words_of(load_encoder(start, task, 1)).weight.detach().clone()
    learner = trained(start, task, features, weight_decay=0.5)
    kept = words_of(learner.model).kept.item()
    restore_words(learner.model)
    after = words_of(learner.model).weight.detach()
    seen = np.unique(features["train"].ids)
    unseen = np.setdiff1d(np.arange(len(before)), seen)
    assert len(unseen)
    assert 0.5 < kept < 1.0
    assert torch.allclose(after[unseen], before[unseen] * kept)
    assert not torch.allclose(after[seen], before[seen] * kept)


def test_words_that_no_training_example_holds_are_predicted_with(start, task, features):
    learner = trained(start, task, features)
    encoded = features["dev"]
    assert set(encoded.ids) - set(features["train"].ids)
    while_learning = predict(learner, encoded)
    restore_words(learner.model)
    assert np.array_equal(predict(learner, encoded), while_learning)


def test_the_saved_model_is_one_of_transformers(start, task, features, tmp_path):
    learner = trained(start, task, features)
    learner.save(tmp_path / "model")
    loaded, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not any(report.values())
    for name, value in learner.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert all(weight.requires_grad for weight in learner.model.parameters())


def test_a_model_that_goes_on_keeps_what_it_learnt(start, task, features):
    model = load_encoder(start, task, 1)
    first = learn_seen_words(model, np.array([5, 7]))
    with torch.no_grad():
        first.rows += 1.0
    second = learn_seen_words(model, np.array([7, 9]))
    assert torch.equal(second.rows[0], first.rows[1])
    assert torch.equal(second.eval()(torch.tensor([5]))[0], first.rows[0])
