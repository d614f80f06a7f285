"""A model folder as an MLflow model: what `load_model` and `mlflow models serve` will find.

In: a transformers checkpoint with its tokenizer. Out: a LoggedModel of the transformers flavour.
Requirements are stated, not inferred: MLflow would infer them through torchvision, which has no
CPU build. Inputs are named columns (`text`, `text_pair`): MLflow evaluates an unnamed text as a
Python literal, so that the text `42` would reach the tokenizer as a number. The hub is never asked.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError
from stages.registration.candidates import CONTENT_HASH, Candidate
from stages.registration.evidence import EXTRACTION

_REQUIRED = ("mlflow", "torch", "transformers")
_UNBOUNDED = 1_000_000  # transformers' mark for a tokenizer without a longest input is above


def log_candidate(
    candidate: Candidate, *, run_id: str, experiment_id: str, tags: Mapping[str, str]
) -> str:
    """Log the model with its evidence below the run `run_id` and return its URI.

    Raises: ArtifactError: the folder does not load with transformers.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    import mlflow
    from mlflow.entities import LoggedModelOutput

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it looks for a model card on the hub
    use = use_of(candidate)
    model, tokenizer = _load(candidate, use)
    logged = mlflow.initialize_logged_model(
        candidate.name,
        source_run_id=run_id,
        experiment_id=experiment_id,
        model_type="task" if candidate.task else "encoder",
        tags={**tags, CONTENT_HASH: candidate.content_hash},
    )
    client = mlflow.MlflowClient()
    if use in _KEPT_AS_THEY_ARE:
        client.log_model_artifacts(logged.model_id, str(candidate.folder))
        mlflow.finalize_logged_model(logged.model_id, "READY")
    else:
        _log_pipeline(candidate, use, model, tokenizer, logged.model_id)
    if candidate.evidence is not None:
        for file in candidate.evidence.files:
            client.log_model_artifact(logged.model_id, str(file))
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return f"models:/{logged.model_id}"


def _log_pipeline(
    candidate: Candidate, use: "Use", model: Any, tokenizer: Any, model_id: str
) -> None:
    import mlflow

    signature, example = _interface(candidate, tokenizer.mask_token, use)
    mlflow.transformers.log_model(
        {"model": model, "tokenizer": tokenizer},
        name=candidate.name,
        task=use.task,
        signature=signature,
        input_example=example,
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _REQUIRED],
        model_config=_pipeline_options(candidate, use, _longest_input(model, tokenizer)),
        model_id=model_id,
    )


@dataclass(frozen=True)
class Use:
    """How a checkpoint is loaded and served: transformers' class, and its pipeline."""

    kind: str
    task: str


_CLASSIFY = Use("AutoModelForSequenceClassification", "text-classification")
_FILL_MASK = Use("AutoModelForMaskedLM", "fill-mask")
_FEATURES = Use("AutoModel", "feature-extraction")
# transformers 5 has no pipeline that answers questions: the checkpoint is kept as it is.
_EXTRACT = Use("AutoModelForQuestionAnswering", "question-answering")
# Neither has it one for a head on pooled layers (finetuning.features: mean, weighted).
_POOLED = Use("AutoModel", "pooled-classification")
_KEPT_AS_THEY_ARE = (_EXTRACT, _POOLED)
POOLED_FILE = "pooled_head.json"
# ELECTRA's encoder tells replaced tokens; it has no masked-LM head, and none may be made up.
_WITHOUT_MASKED_LM = ("ElectraForPreTraining",)


def use_of(candidate: Candidate) -> Use:
    """A task model classifies or extracts; an encoder fills masks if it learnt to, else embeds."""
    if candidate.kind == EXTRACTION:
        return _EXTRACT
    if candidate.is_pooled:
        return _POOLED
    if candidate.task:
        return _CLASSIFY
    trained_as = read_json(candidate.folder / "config.json").get("architectures") or [""]
    return _FEATURES if trained_as[0] in _WITHOUT_MASKED_LM else _FILL_MASK


def _load(candidate: Candidate, use: Use) -> tuple[Any, Any]:
    import transformers

    transformers.logging.set_verbosity_error()  # the heads that this kind leaves out are no fault
    transformers.logging.disable_progress_bar()
    try:
        model = getattr(transformers, use.kind).from_pretrained(candidate.folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(candidate.folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{candidate.folder}: does not load as {use.kind} with its tokenizer ({error}); run "
            "the stage that makes it again"
        ) from error
    return model.eval(), tokenizer


def _longest_input(model: Any, tokenizer: Any) -> int:
    """Tokens that the model takes; longer texts are cut."""
    if tokenizer.model_max_length < _UNBOUNDED:
        return int(tokenizer.model_max_length)
    return int(model.config.max_position_embeddings)


def _pipeline_options(candidate: Candidate, use: Use, longest_input: int) -> dict[str, Any]:
    """What the served pipeline is called with."""
    cut = {"truncation": True, "max_length": longest_input}
    if use is not _CLASSIFY:
        return {"tokenizer_kwargs": cut} if use is _FILL_MASK else {"tokenize_kwargs": cut}
    return {**cut, "function_to_apply": "none"} if candidate.kind == "regression" else cut


def _interface(candidate: Candidate, mask_token: str, use: Use) -> tuple[Any, Any]:
    """The signature and an example of the input."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    example = {"text": f"The weather is {mask_token} today."}
    outputs = Schema([ColSpec("string")])
    if candidate.task:
        example = {"text": "The weather is fine today."}
        outputs = Schema([ColSpec("string", "label"), ColSpec("double", "score")])
    if use is _FEATURES:
        example, outputs = {"text": "The weather is fine today."}, None
    if candidate.is_pair:
        example["text_pair"] = "It has been sunny since the morning."
    inputs = Schema([ColSpec("string", name) for name in example])
    return ModelSignature(inputs=inputs, outputs=outputs), [example]


def model_folder(finetuning: Path, task: str) -> Path:
    """Where the fine-tuning of a task left its model."""
    return finetuning / task / "model"
