"""The report: everything read upstream, arranged for a reader, as one self-contained HTML page.

Strict about scores, generous about the rest: what a stage put into its manifest is shown whatever
its name. Corpus excerpts hold HTML, control characters and worse; all text goes through autoescape
and `visible`. The page loads nothing and holds no script.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.evaluation import facts
from stages.evaluation.anchors import GLUE_TEST_SCORES, NOT_COMPARABLE
from stages.evaluation.charts import strip_axis
from stages.evaluation.curves import learning_curves
from stages.evaluation.examples import cut
from stages.evaluation.finetuned import Finetuned
from stages.evaluation.score_table import TaskRows, shared_axis, task_rows
from stages.evaluation.scores import SYSTEMS, TaskScores
from stages.evaluation.selection import OPTIMISM
from stages.evaluation.summary import AHEAD, BEHIND, FAMILIES, LEVEL
from stages.evaluation.task_pages import TaskPage, anchor, task_page

_TEMPLATE = "report.html.jinja"
# Shown elsewhere on the page, or of no use to a reader.
_HIDDEN = frozenset(
    {
        "stage",
        "content",
        "files",
        "tokenizer_hash",
        "tokenizer_content",
        "special_token_ids",
        "statistics",
        "dropped",
        "dropped_samples",
        "cleaning",
    }
)
_SECTIONS = ("corpus", "tokenizer", "encoding", "masking", "pretraining")


@dataclass(frozen=True)
class Upstream:
    """What the report shows beside the scores."""

    manifests: Mapping[str, Mapping[str, Any]]
    """Stage -> its manifest."""
    task_notes: Mapping[str, Sequence[str]]
    """Task -> what a reader must know to read its scores."""
    curve: Any
    """The points of pre-training."""
    curve_path: str
    """Where they were read, for messages."""
    settings: Mapping[str, Mapping[str, Any]]
    """Section of params.yaml -> its values as they stand there."""
    lineage: Mapping[str, str]
    """Artefact -> the hash of its content."""


def render(evaluation: Mapping[str, Any], tasks: Sequence[Finetuned], upstream: Upstream) -> str:
    """The page."""
    scores = [task.scores for task in tasks]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    environment.filters["anchor"] = anchor
    page = environment.get_template(_TEMPLATE)
    return page.render(
        headline=headline(evaluation),
        summary=_summary(upstream),
        macros=_macros(evaluation),
        families=_families(evaluation, scores, upstream),
        verdict_rule=evaluation["verdict_rule"],
        axis=strip_axis(shared_axis(scores)),
        pages=_pages(evaluation, tasks, upstream),
        anchors=list(GLUE_TEST_SCORES.items()) if "glue" in evaluation["macro"] else [],
        anchors_note=NOT_COMPARABLE,
        optimism=OPTIMISM,
        curves=learning_curves(upstream.curve, upstream.curve_path),
        sections=_sections(upstream),
        masking_set=_probabilities(upstream.settings["masking"]),
        drops=_drops(upstream.manifests["corpus"]),
        settings=[(name, facts.settings(values)) for name, values in upstream.settings.items()],
        lineage=list(upstream.lineage.items()),
    )


def _pages(
    evaluation: Mapping[str, Any], tasks: Sequence[Finetuned], upstream: Upstream
) -> list[TaskPage]:
    """A page for each task, in the order of the settings."""
    listed = upstream.settings["finetuning"]["tasks"]
    return [
        task_page(
            task,
            evaluation["tasks"][task.name],
            upstream.task_notes[task.name],
            listed[task.name],
        )
        for task in tasks
    ]


def _finalize(value: Any) -> Any:
    return facts.visible(value) if type(value) is str else value


def headline(evaluation: Mapping[str, Any]) -> str:
    """The verdicts counted, as one sentence."""
    words = [entry["verdict"] for entry in evaluation["tasks"].values()]
    verbs = {AHEAD: "ahead of", LEVEL: "not distinguishable from", BEHIND: "behind"}
    counts = [(verb, words.count(word)) for word, verb in verbs.items() if word in words]
    (verb, number), *others = counts
    tasks = "task" if len(words) == 1 else "tasks"
    parts = [f"The encoder is {verb} its random twin on {number} of {len(words)} {tasks}"]
    parts += [f"{verb} it on {number}" for verb, number in others]
    return f"{', '.join(parts)}."


def _summary(upstream: Upstream) -> str:
    """What was trained, on what, in one line; it names only what the artefacts state."""
    pretraining, corpus = upstream.manifests["pretraining"], upstream.manifests["corpus"]
    model = upstream.settings["pretraining"].get("model")
    parts = [
        f"Objective {pretraining['objective']}" if "objective" in pretraining else "",
        f"size {model['size']}" if isinstance(model, Mapping) and "size" in model else "",
        f"{pretraining['parameters']:,} parameters" if "parameters" in pretraining else "",
        f"{pretraining['steps']:,} training steps" if "steps" in pretraining else "",
        f"corpus {corpus['source']}{_corpus_size(corpus)}" if "source" in corpus else "",
    ]
    return " \u00b7 ".join(part for part in parts if part)


def _corpus_size(corpus: Mapping[str, Any]) -> str:
    num_bytes = corpus.get("bytes")
    train = num_bytes.get("train") if isinstance(num_bytes, Mapping) else None
    return f" ({facts.size(train)})" if isinstance(train, int) else ""


def _macros(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The macro scores in display form."""
    shown = []
    for key, macro in evaluation["macro"].items():
        systems = {
            system: (
                facts.points(macro[system]),
                facts.deviation(macro[f"{system}_sd"]),
                " to ".join(facts.points(end) for end in macro[f"{system}_interval"]),
                facts.points(macro[f"{system}_median"]),
            )
            for system in SYSTEMS
        }
        low, high = (facts.signed_points(end) for end in macro["interval"])
        difference = (facts.signed_points(macro["difference"]), "", f"{low} to {high}")
        names, kind = macro["tasks"], FAMILIES[key]
        one = f"One {kind.removesuffix('s')}: {names[0]}"
        name = one if len(names) == 1 else f"Mean of {len(names)} {kind}"
        shown.append({"name": name, "rule": macro["rule"], "difference": difference, **systems})
    return shown


def _families(
    evaluation: Mapping[str, Any], tasks: Sequence[TaskScores], upstream: Upstream
) -> list[tuple[str, list[TaskRows]]]:
    """Family -> its tasks; families in their fixed order, tasks as listed in the settings."""
    axis = shared_axis(tasks)
    groups: dict[str, list[TaskRows]] = {key: [] for key in FAMILIES}
    for number, task in enumerate(tasks):
        entry, notes = evaluation["tasks"][task.name], upstream.task_notes[task.name]
        rows = task_rows(task, entry["verdict"], notes, axis, f"task{number}")
        groups[entry["family"]].append(rows)
    return [(f"{FAMILIES[key]}", rows) for key, rows in groups.items() if rows]


def _sections(upstream: Upstream) -> dict[str, list[facts.Table]]:
    """Stage -> the tables of its manifest: its properties, then its statistics."""
    sections = {}
    for stage in _SECTIONS:
        manifest = upstream.manifests[stage]
        statistics = manifest.get("statistics")
        shown = facts.tables("properties", manifest, _HIDDEN)
        if isinstance(statistics, Mapping):
            shown += facts.tables("statistics", statistics)
        sections[stage] = shown
    return sections


def _probabilities(masking: Mapping[str, Any]) -> str:
    """The shares that were set, beside which the drawn ones are read."""
    shares = [
        (key.removesuffix("_probability"), value)
        for key, value in masking.items()
        if key.endswith("_probability")
    ]
    return ", ".join(f"{facts.label(name)} {value}" for name, value in shares)


@dataclass(frozen=True)
class Drop:
    """Documents dropped for one reason, with a sample of them."""

    reason: str
    number: str
    share: float
    samples: tuple[tuple[str, str], ...]


def _drops(corpus: Mapping[str, Any]) -> list[Drop]:
    """The corpus's dropped documents by reason, most frequent first; `share` is of the largest."""
    dropped = corpus.get("dropped")
    if not isinstance(dropped, Mapping):
        return []
    samples = corpus.get("dropped_samples")
    samples = samples if isinstance(samples, Mapping) else {}
    most = max([1, *dropped.values()])
    counted = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    drops = [
        Drop(facts.label(reason), f"{number:,}", number / most, _excerpts(samples.get(reason)))
        for reason, number in counted
    ]
    uncounted = [
        Drop(facts.label(reason), facts.NOTHING, 0.0, _excerpts(samples[reason]))
        for reason in sorted(set(samples) - set(dropped))
    ]
    return drops + uncounted


def _excerpts(samples: Any) -> tuple[tuple[str, str], ...]:
    """(id, excerpt) of each sample, whatever the sample's text is called."""
    shown = []
    for sample in samples if isinstance(samples, list) else []:
        if isinstance(sample, Mapping):
            rest = [str(value) for key, value in sample.items() if key != "id"]
            shown.append((str(sample.get("id", "")), cut("\n".join(rest))))
        else:
            shown.append(("", cut(str(sample))))
    return tuple(shown)
