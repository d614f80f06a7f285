"""Learning rates by layer: the head at the full rate, the embeddings at the least."""

import pytest
from transformers import BertConfig, BertForSequenceClassification

from stages.finetuning.layerwise import layerwise_groups


def model():
    shape = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 16, "vocab_size": 20}
    return BertForSequenceClassification(BertConfig(num_hidden_layers=3, **shape))


def factors(made, groups):
    names = {id(weight): name for name, weight in made.named_parameters()}
    return {
        names[id(weight)]: group["rate_factor"] for group in groups for weight in group["params"]
    }


def test_the_rate_falls_from_the_head_to_the_embeddings():
    made = model()
    found = factors(made, layerwise_groups(made, 0.01, 0.5))
    assert found["classifier.weight"] == 1
    assert found["bert.pooler.dense.bias"] == 1
    layer = "bert.encoder.layer.{}.attention.self.query.weight"
    assert [found[layer.format(n)] for n in range(3)] == pytest.approx([0.5**4, 0.5**3, 0.5**2])
    assert found["bert.embeddings.word_embeddings.weight"] == pytest.approx(0.5**5)


def test_every_weight_is_in_one_group_and_keeps_its_decay():
    made = model()
    groups = layerwise_groups(made, 0.01, 0.8)
    weights = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(weights) == sorted(id(weight) for weight in made.parameters())
    decays = {id(w): group["weight_decay"] for group in groups for w in group["params"]}
    assert decays[id(made.classifier.weight)] == 0.01
    assert decays[id(made.classifier.bias)] == 0


def test_a_decay_of_one_leaves_all_rates_alike():
    groups = layerwise_groups(model(), 0.01, 1.0)
    assert [group["rate_factor"] for group in groups] == [1.0, 1.0]  # what decays, and what not
