"""One training: fresh heads keyed by seed, the same order for both systems, NaN refused."""

import numpy as np
import pytest
import torch

from stages.core.errors import ArtifactError
from stages.finetuning.classifier import Classifier, load_encoder, make_twin
from stages.finetuning.features import load_tokenizer
from stages.finetuning.members import DivergedError
from stages.finetuning.task import read_task
from stages.finetuning.training import predict, train
from tests.unit.finetuning.builders import copied_start, training, write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return read_task(write_task(tmp_path_factory.mktemp("task")), None)


@pytest.fixture(scope="module")
def features(start, task):
    return load_tokenizer(start, 32).encode(task.splits["train"])


def test_the_encoder_keeps_its_weights_and_only_the_head_follows_the_seed(start, task):
    one, again, other = (load_encoder(start, task, seed).state_dict() for seed in (1, 1, 2))
    for name, value in one.items():
        assert torch.equal(value, again[name]), name
        assert torch.equal(value, other[name]) == (name != "classifier.weight"), name


def test_the_twin_has_the_same_shape_and_other_weights(start, task):
    encoder = load_encoder(start, task, 1).state_dict()
    one, again, other = (make_twin(start, task, seed).state_dict() for seed in (1, 1, 2))
    matrix = "bert.encoder.layer.1.output.dense.weight"
    assert {name: v.shape for name, v in one.items()} == {n: v.shape for n, v in encoder.items()}
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not torch.equal(one[matrix], other[matrix])
    assert not torch.equal(one[matrix], encoder[matrix])


def test_a_tasks_model_as_start_gives_its_encoder_and_not_its_head(start, task, tmp_path):
    first = load_encoder(start, task, 1)
    with torch.no_grad():
        first.bert.pooler.dense.bias += 1.0
    first.save_pretrained(tmp_path / "task-model")
    begun = load_encoder(tmp_path / "task-model", task, 2).state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, begun[name]) == (name != "classifier.weight"), name
    assert torch.equal(
        begun["classifier.weight"], load_encoder(tmp_path / "task-model", task, 2).classifier.weight
    )


def test_weights_of_another_size_are_refused(start, task, tmp_path):
    name = "bert.embeddings.word_embeddings.weight"
    cut = copied_start(start, tmp_path / "cut", lambda w: {**w, name: w[name][:-1].clone()})
    with pytest.raises(ArtifactError, match=f"lacks weights of the encoder .*{name}"):
        load_encoder(cut, task, 1)


def test_a_checkpoint_without_weights_is_refused(start, task, tmp_path):
    folder = copied_start(start, tmp_path / "start", lambda weights: weights)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"not readable as a checkpoint .* export the encoder"):
        load_encoder(folder, task, 1)


def test_damaged_weights_are_refused(start, task, tmp_path):
    folder = copied_start(start, tmp_path / "start", lambda weights: weights)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="not readable as a checkpoint"):
        load_encoder(folder, task, 1)


@pytest.mark.slow
def test_both_systems_see_the_same_examples_in_the_same_order(start, task, features, monkeypatch):
    seen = []
    original = Classifier.loss

    def watched(self, features, chosen):
        seen[-1].append(chosen.tolist())
        return original(self, features, chosen)

    monkeypatch.setattr(Classifier, "loss", watched)
    for model, seed in [
        (load_encoder(start, task, 1), 1),
        (make_twin(start, task, 1), 1),
        (make_twin(start, task, 2), 2),
    ]:
        seen.append([])
        list(train(Classifier(model, task), features, training(num_epochs=1), seed=seed))
    assert seen[0] == seen[1] != seen[2]


def test_every_update_is_reported_and_the_last_of_each_epoch_marked(start, task, features):
    changes = training(num_epochs=2, batch_sequences=64)  # 160 examples: 3 updates an epoch
    learner = Classifier(make_twin(start, task, 1), task)
    updates = list(train(learner, features, changes, seed=1))
    assert [(one.step, one.epoch, one.is_last_of_epoch) for one in updates] == [
        (1, 1, False),
        (2, 1, False),
        (3, 1, True),
        (4, 2, False),
        (5, 2, False),
        (6, 2, True),
    ]


def test_looking_at_the_model_between_updates_changes_nothing(start, task, features):
    def trained(is_watched):
        learner = Classifier(make_twin(start, task, 1), task)
        for _ in train(learner, features, training(num_epochs=1), seed=1):
            if is_watched:
                predict(learner, features)
        return learner.model.state_dict()

    one, other = trained(True), trained(False)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_loss_that_is_no_number_ends_the_training(start, task, features):
    model = make_twin(start, task, 1)
    with torch.no_grad():
        model.classifier.bias += np.nan
    with pytest.raises(
        DivergedError,
        match=r"loss of toy is nan in update 1 of 60, .* lower the learning_rate of the protocol",
    ):
        list(train(Classifier(model, task), features, training(), seed=1))
