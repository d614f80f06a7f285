"""Each objective's losses and gradients against plain transformers, whatever ranks or pieces do."""

import copy
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, gelu
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    BertForMaskedLM,
    BertForPreTraining,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    RobertaForMaskedLM,
)

from stages.core.masks.draw import Masks
from stages.core.nn.body import ATTENTION, encode
from stages.pretraining.batches import build_batch
from stages.pretraining.objective import load_objective
from stages.pretraining.objectives.electra import sample
from stages.pretraining.weights import initialise
from tests.conformance.batches import (
    OBJECTIVES,
    SETTINGS,
    VOCAB,
    WIDTH,
    batch_of,
    objective_of,
    padded,
    params_of,
    sequences_of,
    starts_of,
    total_loss,
)

UNIT = {"spanbert": "span"}
PAIRS = {"bert": True}


def batch_for(name, **changes):
    kind = {
        "has_pairs": PAIRS.get(name, False),
        "unit": UNIT.get(name, "token"),
        "reads": load_objective(name).reads,
    }
    return batch_of(**{**kind, **changes})


@contextmanager
def stock_attention(made):
    """The objective's models as transformers has them."""
    models = [one for one in made.modules() if hasattr(one, "set_attn_implementation")]
    for model in models:
        model.config._attn_implementation = "sdpa"
    yield
    for model in models:
        model.config._attn_implementation = ATTENTION


def labels_of(inputs):
    """Labels at every position, -100 where nothing is to be predicted."""
    labels = torch.full(inputs["input_ids"].shape, -100).flatten()
    return labels.scatter(0, inputs["masked_index"], inputs["labels"]).view_as(inputs["input_ids"])


def encoded(inputs, *names):
    return {name: inputs[name] for name in ("input_ids", "attention_mask", *names)}


def bert_reference(made, inputs):
    return made.model(
        **encoded(inputs, "token_type_ids"),
        labels=labels_of(inputs),
        next_sentence_label=inputs["next_sentence_label"],
    ).loss


def roberta_reference(made, inputs):
    return made.model(**encoded(inputs), labels=labels_of(inputs)).loss


def spanbert_reference(made, inputs):
    """Masked LM by transformers, the boundary objective by a literal loop over the tokens."""
    output = made.model(
        **encoded(inputs, "token_type_ids"), labels=labels_of(inputs), output_hidden_states=True
    )
    hidden, ids = output.hidden_states[-1], labels_of(inputs)
    head, decoder = made.boundary_head, made.model.cls.predictions.decoder.weight
    special = torch.isin(inputs["input_ids"], torch.tensor([0, 2, 3]))
    losses = []
    for row in range(ids.shape[0]):
        for column in range(ids.shape[1]):
            if ids[row, column] == -100:
                continue
            first = last = column
            while ids[row, first - 1] != -100:
                first -= 1
            while ids[row, last + 1] != -100:
                last += 1
            if special[row, first - 1] or special[row, last + 1]:
                continue
            place = head.positions.weight[column - first]
            joined = torch.cat([hidden[row, first - 1], hidden[row, last + 1], place])
            state = head.first_norm(gelu(head.first(joined)))
            state = head.second_norm(gelu(head.second(state)))
            scores = decoder @ state + head.bias
            losses.append(cross_entropy(scores[None], ids[row, column][None]))
    assert losses
    return output.loss + torch.stack(losses).mean()


def electra_reference(made, inputs):
    """MLM + 50 RTD of two transformers models that hold the same weights, embeddings shared."""
    labels = labels_of(inputs)
    generated = made.generator(**encoded(inputs, "token_type_ids"), labels=labels)
    rows = inputs["masked_index"]
    logits = generated.logits.flatten(0, 1)[rows]
    original = inputs["input_ids"].flatten().scatter(0, rows, inputs["labels"])
    shown = original.scatter(0, rows, sample(logits.detach(), inputs["sampling_draws"]))
    flags = made.discriminator(
        input_ids=shown.view_as(labels),
        attention_mask=inputs["attention_mask"],
        token_type_ids=inputs["token_type_ids"],
    ).logits.flatten()
    is_token = inputs["attention_mask"].flatten()
    detection = binary_cross_entropy_with_logits(
        flags[is_token], (shown != original)[is_token].to(flags.dtype)
    )
    return generated.loss + 50 * detection


REFERENCES = {
    "bert": bert_reference,
    "roberta": roberta_reference,
    "spanbert": spanbert_reference,
    "electra": electra_reference,
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 2e-6)])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_equal_transformers(name, dtype, tolerance):
    """In float64 the losses are still summed in float32 by design: compared at its precision."""
    made, inputs = objective_of(name, dtype), batch_for(name).inputs
    loss = total_loss(made, made(inputs))
    loss.backward()
    ours = {key: weight.grad.clone() for key, weight in made.named_parameters()}
    made.zero_grad()
    with stock_attention(made):
        expected = REFERENCES[name](made, padded(inputs))
        expected.backward()
    scale = 50 if name == "electra" else 1
    assert loss.item() == pytest.approx(expected.item(), abs=tolerance * scale)
    for key, weight in made.named_parameters():
        assert torch.allclose(ours[key], weight.grad, atol=tolerance * scale), key


@pytest.mark.parametrize("name", OBJECTIVES)
def test_counts_are_known_before_the_forward_pass(name):
    made, batch = objective_of(name), batch_for(name)
    terms = made(batch.inputs)
    assert made.counts(batch.work) == {key: term.count for key, term in terms.items()}
    assert set(made.terms) == set(terms)
    for key, term in terms.items():
        assert set(term.tallies) == set(made.terms[key].tallies)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_accumulated_pieces_give_the_gradient_of_the_whole_batch(name):
    """Sums over global counts, masks and samples by example: pieces of unequal size add up."""
    made, whole = objective_of(name), batch_for(name)
    terms = made(whole.inputs)
    counts = {key: term.count for key, term in terms.items()}
    total_loss(made, terms).backward()
    expected = [weight.grad.clone() for weight in made.parameters()]
    made.zero_grad()
    for rows in (slice(0, 1), slice(1, 6)):
        piece = made(batch_for(name, rows=rows).inputs)
        sum(made.terms[k].weight * t.loss_sum / counts[k] for k, t in piece.items()).backward()
    for weight, gradient in zip(made.parameters(), expected, strict=True):
        assert torch.allclose(weight.grad, gradient, atol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_without_a_masked_position_is_no_nan(name):
    made, sequences = objective_of(name), sequences_of(has_pairs=PAIRS.get(name, False))
    nothing = np.zeros_like(sequences.attention_mask)
    batch = build_batch(
        sequences,
        Masks(chosen=nothing, shown=sequences.input_ids),
        sampling_draws=np.zeros(nothing.shape),
        next_sentence_label=np.zeros(len(nothing), dtype=np.int64),
        reads=made.reads,
    )
    assert batch.work.masked == 0
    terms = made(batch.inputs)
    assert terms["mlm"].loss_sum.item() == 0
    sum(term.loss_sum for term in terms.values()).backward()
    assert all(torch.isfinite(w.grad).all() for w in made.parameters() if w.grad is not None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_sequence_sees_another(name):
    """Other words in one sequence change no logit of the others, and its own ones."""
    made, inputs = objective_of(name), batch_for(name).inputs
    starts = starts_of(inputs)
    other = dict(inputs)
    other["input_ids"] = inputs["input_ids"].clone()
    other["input_ids"][starts[2] + 1 : starts[3] - 1] = 7
    is_third = (inputs["masked_index"] >= starts[2]) & (inputs["masked_index"] < starts[3])
    before, after = made.masked_lm_logits(inputs), made.masked_lm_logits(other)
    assert torch.equal(before[~is_third], after[~is_third])
    assert not torch.allclose(before[is_third], after[is_third])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_flops_equal_those_that_torch_counts(name):
    """Over one sequence: matrix products forward, and twice as many backward."""
    dropped = {**SETTINGS["model"], "attention_dropout_probability": 0.1}  # counts its products
    made = objective_of(name, torch.float32, model=dropped)
    batch = batch_for(name, size=1, shortest=WIDTH)
    with FlopCounterMode(display=False) as forward:
        terms = made(batch.inputs)
    assert made.forward_flops(batch.work) == forward.get_total_flops()
    with FlopCounterMode(display=False) as backward:
        sum(term.loss_sum for term in terms.values()).backward()
    assert made.flops(batch.work) == forward.get_total_flops() + backward.get_total_flops()


LOADED_AS = {
    "bert": BertForPreTraining,
    "roberta": RobertaForMaskedLM,
    "spanbert": BertForMaskedLM,
    "electra": ElectraForPreTraining,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_saved_loads_whole_with_transformers(name, tmp_path):
    made, inputs = objective_of(name, torch.float32).eval(), batch_for(name).inputs
    made.save(tmp_path)
    loaded, report = LOADED_AS[name].from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    stock = AutoModel.from_pretrained(tmp_path / "encoder")
    expected = encode(made.encoder.base_model, inputs, reads_all=True)
    grid = padded(inputs)
    given = encoded(grid) if name == "roberta" else encoded(grid, "token_type_ids")
    for model in (loaded.base_model, stock):
        hidden = model.eval()(**given).last_hidden_state[grid["attention_mask"]]
        assert torch.allclose(hidden, expected, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_saved_is_restored_with_every_head(name, tmp_path):
    made, inputs = objective_of(name, torch.float32).eval(), batch_for(name).inputs
    made.save(tmp_path)
    restored, missing = type(made).load(tmp_path, params_of(name))
    assert missing == []
    loss, again = (total_loss(one, one.eval()(inputs)) for one in (made, restored))
    assert torch.equal(loss, again)


def test_electras_generator_loads_as_a_masked_lm(tmp_path):
    made, inputs = objective_of("electra", torch.float32).eval(), batch_for("electra").inputs
    made.save(tmp_path)
    folder = tmp_path / "generator"
    loaded, report = ElectraForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    grid = padded(inputs)
    logits = loaded.eval()(**encoded(grid, "token_type_ids")).logits.flatten(0, 1)
    expected = made.masked_lm_logits(inputs)
    assert torch.allclose(logits[grid["masked_index"]], expected, atol=1e-6)


def test_electra_shares_its_embeddings_and_sums_their_gradients():
    made, inputs = objective_of("electra"), batch_for("electra").inputs
    shared = made.discriminator.electra.embeddings
    assert made.generator.electra.embeddings is shared
    assert made.generator.generator_lm_head.weight is shared.word_embeddings.weight
    terms = made(inputs)
    gradients = []
    for name in ("mlm", "rtd"):
        made.zero_grad()
        terms[name].loss_sum.backward(retain_graph=True)
        gradients.append(shared.word_embeddings.weight.grad.clone())
    made.zero_grad()
    (terms["mlm"].loss_sum + terms["rtd"].loss_sum).backward()
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert torch.allclose(shared.word_embeddings.weight.grad, sum(gradients))


def test_nothing_flows_through_electras_sampling():
    """The detection loss reaches the shared embeddings, and nothing else of the generator."""
    made, inputs = objective_of("electra"), batch_for("electra").inputs
    made(inputs)["rtd"].loss_sum.backward()
    shared = {id(weight) for weight in made.discriminator.parameters()}
    own = [weight for weight in made.generator.parameters() if id(weight) not in shared]
    assert own
    assert all(weight.grad is None for weight in own)


def test_samples_follow_the_softmax():
    torch.manual_seed(0)
    logits = torch.randn(1, 12).expand(200_000, -1)
    draws = torch.from_numpy(np.random.default_rng(0).random(200_000))
    counts = torch.bincount(sample(logits, draws), minlength=12).double()
    expected = torch.softmax(logits[0].double(), dim=0) * 200_000
    # Chi-square with 11 degrees of freedom exceeds 31.3 once in a thousand.
    assert ((counts - expected) ** 2 / expected).sum().item() < 31.3


def test_samples_stay_in_the_vocabulary_at_the_ends_of_the_draw():
    logits = torch.zeros(2, 5)
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert sample(logits, ends).tolist() == [0, 4]


def test_a_token_guessed_right_counts_as_original():
    made, inputs = objective_of("electra"), batch_for("electra").inputs
    head = made.generator.generator_lm_head
    with torch.no_grad():
        made.generator.generator_lm_head.bias.fill_(-1e4)
        head.bias[inputs["labels"][0]] = 1e4  # the generator always says this word
    terms = made(inputs)
    wrong = (inputs["labels"] != inputs["labels"][0]).sum()
    assert terms["rtd"].tallies["replaced"] == wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_small_batch_is_learnt_by_heart(name):
    made, inputs = objective_of(name, torch.float32), batch_for(name).inputs
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    first = None
    for _ in range(250):
        optimizer.zero_grad()
        terms = made(inputs)
        loss = total_loss(made, terms)
        loss.backward()
        optimizer.step()
        first = first or copy.copy({k: t.loss_sum.item() / t.count for k, t in terms.items()})
    last = {key: term.loss_sum.item() / term.count for key, term in terms.items()}
    for key, value in last.items():
        assert value < 0.25 * first[key], (key, first[key], value)


def test_initial_weights_are_the_originals():
    made = objective_of("bert", torch.float32)
    model = BertForPreTraining(
        type(made.encoder.config)(**{**made.encoder.config.to_dict(), "vocab_size": 3000})
    )
    initialise(model, 0.02)
    weight = model.bert.embeddings.word_embeddings.weight
    assert weight.abs().max() <= 0.04
    # A normal cut at two deviations keeps 0.8796 of its deviation.
    assert weight.std().item() == pytest.approx(0.02 * 0.8796, rel=0.02)
    assert model.cls.predictions.decoder.weight is weight
    assert model.bert.pooler.dense.bias.abs().max() == 0


def test_the_vocabulary_is_projected_at_masked_positions_only():
    for name in OBJECTIVES:
        batch = batch_for(name)
        logits = objective_of(name).masked_lm_logits(batch.inputs)
        assert logits.shape == (batch.work.masked, VOCAB), name
