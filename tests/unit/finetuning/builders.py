"""A tiny exported encoder with its tokenizer, and small tasks, in the artefacts' formats."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining
from transformers.models.electra.configuration_electra import ElectraConfig
from transformers.models.electra.modeling_electra import ElectraForPreTraining
from transformers.models.roberta.configuration_roberta import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaForMaskedLM

from stages.core.artifacts import write_json, write_manifest
from stages.core.settings import parse_section
from stages.finetuning.params import Training

WORDS = [f"{kind}{number}" for kind in ("good", "bad", "word") for number in range(20)]
SETTINGS = {
    "start": "artifacts/pretraining/encoder",
    "protocol": "toy",
    "max_train_examples": None,
    "max_seq_length": 32,
}
PROTOCOL = {
    "batch_sequences": 8,
    "num_epochs": 3,
    "learning_rate": 5e-3,
    "warmup_fraction": 0.1,
    "weight_decay": 0.01,
    "layerwise_lr_decay": 1.0,
    "early_stop_epochs": None,
}
_CLASSES = {
    "bert": (BertConfig, BertForPreTraining),
    "roberta": (RobertaConfig, RobertaForMaskedLM),
    "electra": (ElectraConfig, ElectraForPreTraining),
}
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def section(seeds=(1, 2, 3), mode="full", features=None, **changes):
    """The section `finetuning` for the task `toy`; changes go where the setting is."""
    of_task = {name: changes.pop(name) for name in (*SETTINGS, "extraction") if name in changes}
    return {
        "mode": mode,
        "features": features,
        "seeds": list(seeds),
        "protocols": {"toy": PROTOCOL | changes},
        "tasks": {"toy": SETTINGS | of_task},
    }


def training(**changes) -> Training:
    """Settings of one training."""
    return parse_section(Training, PROTOCOL | changes, where="test")


def write_start(folder, kind="bert"):
    """A checkpoint as pre-training exports it, of BERT, RoBERTa or ELECTRA."""
    vocabulary = {word: number for number, word in enumerate(SPECIALS + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 33 if kind == "roberta" else 32,
        "pad_token_id": 0,
    }
    if kind == "electra":
        shape["embedding_size"] = 16
    config_class, model_class = _CLASSES[kind]
    model_class(config_class(**shape)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    return folder


def copied_start(start, folder, change):
    """The start with other weights."""
    shutil.copytree(start, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_task(folder, *, kind="classification", is_pair=False, num_classes=2, sizes=None, **facts):
    """A task whose label can be read off the words; further facts replace the manifest's."""
    generator = np.random.default_rng(0)
    splits = {}
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (sizes or {"train": 160, "dev": 40, "test": 20}).items():
        labels = generator.integers(0, num_classes, size)
        texts = []
        for label in labels:
            words = generator.choice(WORDS[40:], generator.integers(2, 9)).tolist()
            marks = [f"{('good', 'bad', 'word')[label % 3]}{generator.integers(0, 20)}"] * 2
            texts.append(" ".join(generator.permutation(words + marks).tolist()))
        is_labelled = not split.startswith("test")
        values = labels.astype(float) * 2.5 if kind == "regression" else labels
        table = {
            "index": pa.array(range(size), pa.int64()),
            "text_a": pa.array(texts, pa.string()),
            "text_b": pa.array(texts[::-1] if is_pair else [None] * size, pa.string()),
            "label": pa.array(
                values.tolist() if is_labelled else [None] * size,
                pa.float64() if kind == "regression" else pa.int64(),
            ),
        }
        pq.write_table(pa.table(table), folder / f"{split}.parquet")
        splits[split] = {"examples": size, "is_labelled": is_labelled}
    metrics = ["pearson", "spearman"] if kind == "regression" else ["accuracy", "f1"]
    names = None if kind == "regression" else [f"class{n}" for n in range(num_classes)]
    manifest = {
        "name": "toy",
        "kind": kind,
        "labels": names,
        "metrics": metrics,
        "is_pair": is_pair,
        "is_glue": False,
        "note": "",
        "splits": splits,
    }
    write_manifest(folder, "tasks", manifest | facts)
    return folder
