"""Memory of a training on one device, from the shapes of its models and of its largest batch.

Activations are the tensors that autograd keeps from the forward pass for the backward one. Of a
layer over T tokens, in numbers of w bytes (4 in float32, 2 in bfloat16), with hidden size H and
feed-forward size I: its input, queries, keys, values, the context, the input of the feed-forward
and, I wide, what goes into gelu and what comes out. In 4 bytes: what goes into the two LayerNorms,
with their mean and deviation, and one number a head. Autocast adds a copy of the input for each of
the three projections, and one of every weight of a product. Dropout keeps its masks: on a CPU as
numbers, on a GPU as bytes; with dropout of attention weights a CPU keeps those too, as they were
and as they are dropped. In the last layer only the read positions count, but for its keys and
values. The tests hold the sum to what `torch.autograd.graph.saved_tensors_hooks` sees.

It is an upper bound for a GPU, where layers are compiled and some of it is computed anew, and it
leaves out what sequences of different lengths add: they are shorter than the full ones counted.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from stages.pretraining.objective import Objective, Work
from stages.pretraining.params import PretrainingParams

_FLOAT_BYTES = 4
# Weights of attention, and those left by dropout, for each pair and head; under autocast the latter
# are rounded.
_PAIR_BYTES = {4: 8, 2: 6}
_VOCABULARY_TERMS = ("mlm", "sbo")


@dataclass(frozen=True)
class Body:
    """One transformer in an objective."""

    config: Any
    reads_all: bool


@dataclass(frozen=True)
class Setting:
    """What decides how many bytes a number takes, and what is kept of it."""

    device_type: str
    """cpu or cuda."""
    product_bytes: int
    """Of an element that goes through a matrix product."""
    hidden_dropout: float
    attention_dropout: float

    @property
    def mask_bytes(self) -> int:
        """Of an element of a dropout mask over hidden states."""
        if not self.hidden_dropout:
            return 0
        return self.product_bytes if self.device_type == "cpu" else 1

    @property
    def pair_bytes(self) -> int:
        """Kept for each pair of tokens and head; GPUs have kernels that keep nothing."""
        is_kept = self.attention_dropout and self.device_type == "cpu"
        return _PAIR_BYTES[self.product_bytes] if is_kept else 0


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by what takes them."""

    weights: float
    gradients: float
    """With the buckets that several processes exchange them in."""
    optimizer: float
    """The two moments of Adam."""
    activations: float
    """Of the largest micro-batch, every sequence at full length."""
    logits: float
    """Of the vocabulary at the predicted positions, while the loss is computed."""
    workspace: float
    """What a backward pass holds for a moment: a layer's gradients, the largest weight's."""

    @property
    def total(self) -> float:
        """All of them, as if their peaks came together."""
        return float(sum(asdict(self).values()))


def setting_of(params: PretrainingParams, device_type: str) -> Setting:
    """The setting that these parameters make on a kind of device."""
    return Setting(
        device_type,
        product_bytes=2 if params.precision == "bfloat16" else _FLOAT_BYTES,
        hidden_dropout=params.model.hidden_dropout_probability,
        attention_dropout=params.model.attention_dropout_probability,
    )


def training_memory(
    objective: Objective, work: Work, setting: Setting, *, processes: int, is_sharded: bool
) -> Memory:
    """Memory of one device that trains `objective` in micro-batches of `work`.

    The objective may stand on the meta device. `is_sharded`: moments are spread over processes.
    """
    sizes = [parameter.numel() for parameter in objective.parameters()]
    weights = float(_FLOAT_BYTES * sum(sizes))
    copies = product_weight_bytes(objective, setting)
    kept = activation_bytes(objective, work, setting)
    return Memory(
        weights=weights + copies,
        gradients=weights * (2 if processes > 1 else 1),
        optimizer=2 * weights / (processes if is_sharded else 1),
        activations=kept,
        logits=logit_bytes(objective, work, setting),
        workspace=_workspace_bytes(objective, work, setting) + _FLOAT_BYTES * max(sizes),
    )


def bodies(objective: Objective) -> Iterator[Body]:
    """The transformers of an objective, the encoder first."""
    generator = getattr(objective, "generator", None)
    yield Body(objective.encoder.config, reads_all=generator is not None)
    if generator is not None:
        yield Body(generator.config, reads_all=False)


def activation_bytes(objective: Objective, work: Work, setting: Setting) -> float:
    """What autograd keeps of one forward pass, the logits of the vocabulary left out."""
    kept = sum(_body_bytes(body, work, setting) for body in bodies(objective))
    return kept + _head_bytes(objective, work, setting)


def logit_bytes(objective: Objective, work: Work, setting: Setting) -> float:
    """The vocabulary's logits at their peak.

    In float32 on a CPU two buffers, of which one is kept for the backward pass; elsewhere logits,
    logarithms of probabilities and their gradient.
    """
    is_fused = setting.device_type == "cpu" and setting.product_bytes == _FLOAT_BYTES
    rows = sum(_predicted(objective, work).values())
    buffers = 2 if is_fused and getattr(objective, "generator", None) is None else 3
    return float(buffers * _FLOAT_BYTES * rows * objective.encoder.config.vocab_size)


def product_weight_bytes(objective: Objective, setting: Setting) -> float:
    """The rounded copies of weights that autocast keeps until the backward pass is done."""
    if setting.product_bytes == _FLOAT_BYTES:
        return 0.0
    layers = [module for module in objective.modules() if isinstance(module, nn.Linear)]
    return float(setting.product_bytes * sum(layer.weight.numel() for layer in layers))


def _predicted(objective: Objective, work: Work) -> dict[str, int]:
    """How many words each term predicts."""
    counts = objective.counts(work)
    return {name: count for name, count in counts.items() if name in _VOCABULARY_TERMS}


def _body_bytes(body: Body, work: Work, setting: Setting) -> float:
    """Embeddings and layers of one transformer."""
    config, tokens = body.config, work.tokens
    width = getattr(config, "embedding_size", config.hidden_size)
    embedded = tokens * width * (_FLOAT_BYTES + (_FLOAT_BYTES if setting.mask_bytes else 0))
    if width != config.hidden_size:
        embedded += tokens * width * setting.product_bytes
    whole = _layer_bytes(config, tokens, tokens, work.squared_lengths, setting)
    last = _layer_bytes(config, work.read, tokens, work.read_lengths, setting)
    return embedded + (config.num_hidden_layers - 1) * whole + (whole if body.reads_all else last)


def _layer_bytes(config: Any, queries: int, keys: int, pairs: int, setting: Setting) -> float:
    """One layer over so many queries and keys, of which `pairs` attend."""
    hidden, heads, size = config.hidden_size, config.num_attention_heads, setting.product_bytes
    is_autocast = size != _FLOAT_BYTES
    inputs = keys * (2 if is_autocast else 1)  # for keys and values, one tensor in float32
    inputs += queries if is_autocast or queries != keys else 0
    products = size * hidden * (inputs + 2 * keys + 2 * queries)
    norms = 2 * _FLOAT_BYTES * (hidden + 2) * queries
    inner = size * (hidden + 2 * config.intermediate_size) * queries
    masks = 2 * setting.mask_bytes * hidden * queries
    attention = heads * (setting.pair_bytes * pairs or _FLOAT_BYTES * queries)
    return float(products + norms + inner + masks + attention)


def _head_bytes(objective: Objective, work: Work, setting: Setting) -> float:
    """Dense layers of the heads: numbers kept of each position that they look at."""
    generator = getattr(objective, "generator", None)
    config = objective.encoder.config if generator is None else generator.config
    hidden = config.hidden_size
    width = getattr(config, "embedding_size", hidden)
    kept = {"mlm": hidden + 3 * width, "sbo": 8 * hidden, "nsp": 2 * hidden}
    kept["rtd"] = 3 * objective.encoder.config.hidden_size
    counts = objective.counts(work)
    return float(
        setting.product_bytes * sum(kept.get(name, 2 * hidden) * counts[name] for name in counts)
    )


def _workspace_bytes(objective: Objective, work: Work, setting: Setting) -> float:
    config = objective.encoder.config
    widest = 2 * config.intermediate_size + 2 * config.hidden_size
    return float(setting.product_bytes * work.tokens * widest)
