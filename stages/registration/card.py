"""The model card: what a stranger must know before using a model, in Hugging Face's format.

A pure function of what the stages wrote into their manifests, of the scores, and of what the
tracking run of pre-training measured. A fact that nobody stated is called unknown, never guessed.
Format: https://huggingface.co/docs/hub/model-cards, its metadata as a YAML header.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from ruamel.yaml import YAML

from stages.registration.candidates import Candidate
from stages.registration.card_facts import UNKNOWN, CardFacts
from stages.registration.card_scores import COLUMNS, limit_lines, score_lines, score_rows, tasks_of
from stages.registration.card_sections import (
    compute_lines,
    corpus_lines,
    pretraining_lines,
    tokenizer_lines,
)
from stages.registration.evidence import EXTRACTION

_TEMPLATE = "card.md.jinja"
_HUB_METRICS = {"macro_f1": "f1", "pearson": "pearsonr", "spearman": "spearmanr"}


def model_card(candidate: Candidate, facts: CardFacts) -> str:
    """The text of README.md for one model."""
    return card_header(candidate, facts) + card_body(candidate, facts)


def card_header(candidate: Candidate, facts: CardFacts) -> str:
    """The card's YAML header, which the hub reads."""
    return f"---\n{_metadata(candidate, facts)}---\n\n"


def card_body(candidate: Candidate, facts: CardFacts) -> str:
    """The card without its YAML header."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - markdown; what is inserted goes through `plain`
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = Markup
    dropped = facts.of("corpus").get("dropped") or {}
    return environment.get_template("card.md.jinja").render(
        title=candidate.name,
        what=_what(candidate, facts),
        call=_call(candidate, facts),
        sections=[
            ("Data", list(corpus_lines(facts))),
            ("Tokenizer", list(tokenizer_lines(facts))),
            ("Pre-training", list(pretraining_lines(facts))),
            ("Compute", list(compute_lines(facts))),
            ("Scores", list(score_lines(candidate, facts))),
            ("Limits", list(limit_lines(candidate, facts))),
        ],
        columns=COLUMNS,
        rows=list(score_rows(candidate, facts)),
        drops=[(name.replace("_", " "), f"{dropped[name]:,}") for name in sorted(dropped)],
    )


def plain(text: str) -> str:
    """A text that stays on its line, in its cell and outside HTML, whatever a source put in."""
    for character, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;")):
        text = text.replace(character, shown)
    return " ".join(text.splitlines())


def _metadata(candidate: Candidate, facts: CardFacts) -> str:
    """The YAML header: language, library, pipeline, metrics, results."""
    objective = facts.of("pretraining").get("objective")
    data: dict[str, Any] = {}
    if language := facts.of("corpus").get("language"):
        data["language"] = language
    data["library_name"] = "transformers"
    data["pipeline_tag"] = _pipeline_tag(candidate, facts)
    data["tags"] = ["cloze", *([objective] if objective else [])]
    results = list(_results(candidate, facts))
    if results:
        names = [metric["type"] for result in results for metric in result["metrics"]]
        data["metrics"] = list(dict.fromkeys(names))
        data["model-index"] = [{"name": candidate.name, "results": results}]
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 1000
    yaml.dump(data, stream)
    return stream.getvalue()


def _pipeline_tag(candidate: Candidate, facts: CardFacts) -> str:
    if candidate.task is None:
        return facts.pipeline
    return "question-answering" if candidate.kind == EXTRACTION else "text-classification"


def _results(candidate: Candidate, facts: CardFacts) -> Iterator[dict[str, Any]]:
    for name, entry in tasks_of(candidate, facts).items():
        metrics = [
            {
                "type": _HUB_METRICS.get(metric.rpartition("/")[2], metric.rpartition("/")[2]),
                "name": f"{metric.replace('_', ' ')}, mean over the seeds",
                "value": spread["mean"],
            }
            for metric, spread in entry.get("encoder", {}).items()
        ]
        if metrics:
            yield {
                "task": {"type": _task_type(entry)},
                "dataset": {"name": name, "type": name.lower(), "split": "validation"},
                "metrics": metrics,
            }


def _task_type(entry: Mapping[str, Any]) -> str:
    return "question-answering" if "exact_match" in entry["encoder"] else "text-classification"


def _what(candidate: Candidate, facts: CardFacts) -> str:
    pretraining = facts.of("pretraining")
    parameters = pretraining.get("parameters")
    size = f"{parameters:,} parameters" if parameters else f"{UNKNOWN} number of parameters"
    encoder = f"{pretraining.get('objective', UNKNOWN)} encoder, {size}"
    if candidate.task is None:
        return f"A pre-trained {encoder}."
    seeds = candidate.evidence.seeds if candidate.evidence else ()
    of_seeds = f" of {len(seeds)}" if len(seeds) > 1 else ""
    median = candidate.evidence.median_seed if candidate.evidence else UNKNOWN
    return (
        f"Task {candidate.task}, learnt by a pre-trained {encoder}. These are the weights of the "
        f"median seed{of_seeds} on the development set (seed {median}); the scores below are means "
        "over the seeds."
    )


def _call(candidate: Candidate, facts: CardFacts) -> str:
    """Code that loads the champion and calls it once."""
    address = f'"models:/{candidate.name}@champion"'
    fetched = f"folder = mlflow.artifacts.download_artifacts({address})\n"
    if candidate.is_pooled:
        return (
            "from pathlib import Path\n\n"
            "from stages.finetuning.pooled import load_pooled  # in a checkout of Cloze\n\n"
            f"{fetched}encoder, head, facts = load_pooled(Path(folder))"
        )
    if candidate.kind == EXTRACTION:
        return (
            "from transformers import AutoModelForQuestionAnswering\n\n"
            f"{fetched}model = AutoModelForQuestionAnswering.from_pretrained(folder)"
        )
    called = 'model("The weather is fine today.")'
    if candidate.is_pair:
        called = 'model({"text": "The weather is fine.", "text_pair": "The sun shines."})'
    elif candidate.task is None and facts.pipeline == "fill-mask":
        called = 'model(f"The weather is {model.tokenizer.mask_token} today.")'
    return f"model = mlflow.transformers.load_model({address})\n{called}"
