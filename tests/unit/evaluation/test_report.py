import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from stages.evaluation.examples import cut
from stages.evaluation.facts import visible
from stages.evaluation.params import EvaluationParams
from stages.evaluation.report import headline
from stages.evaluation.run import run

PARAMS = EvaluationParams(macro_score_leaves_out=("WNLI",), clear_difference_deviations=2.0)
VOID = {"meta", "br", "col"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def made(workspace: Any) -> str:
    run(PARAMS, workspace.paths, workspace.journal())
    return workspace.paths["report"].read_text(encoding="utf-8")


def test_hashes_of_files_are_for_machines_alone(made: str) -> None:
    assert "d41d8cd98f00b204e9800998ecf8427e" not in made


def count(*words: str) -> dict[str, Any]:
    return {"tasks": {str(number): {"verdict": word} for number, word in enumerate(words)}}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("ahead", "ahead", "not distinguishable"),
            "The encoder is ahead of its random twin on 2 of 3 tasks, "
            "not distinguishable from it on 1.",
        ),
        (("ahead",), "The encoder is ahead of its random twin on 1 of 1 task."),
        (
            ("not distinguishable", "behind"),
            "The encoder is not distinguishable from its random twin on 1 of 2 tasks, "
            "behind it on 1.",
        ),
        (("behind", "behind"), "The encoder is behind its random twin on 2 of 2 tasks."),
    ],
)
def test_the_headline_counts_the_verdicts(words, sentence):
    assert headline(count(*words)) == sentence


def test_the_page_is_well_formed_and_its_identities_are_unique(made):
    page = Page(made)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_the_page_loads_nothing_and_runs_nothing(made):
    page = Page(made)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed"}
    targets = [value for name, value in page.attributes if name in ("href", "src", "xlink:href")]
    assert targets
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r"url\(|@import|https?://", made)


def test_excerpts_of_dropped_documents_are_shown_but_never_interpreted(made):
    assert "<script" not in made
    page = Page(made)
    assert "<b>bold</b> & <script>alert(1)</script>\u2400\u241b" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", made)


def test_sample_tasks_are_named_so_and_no_score_is_called_glue(made):
    text = Page(made).text
    assert "Mean of 3 sample tasks" in text
    assert "GLUE tasks" not in text


def test_verdicts_means_and_spread_are_there(made):
    text = " ".join(Page(made).text.split())
    assert "\u25b2 ahead" in text
    assert "\u25cf not distinguishable" in text
    assert "33.0 \u00b1 2.0" in text or "33.0\u00b1 2.0" in text


def test_statistics_settings_and_lineage_are_shown(made):
    text = " ".join(Page(made).text.split())
    for expected in ("fertility", "1.532", "15.02 %", "too short", "4.8 MB", "learning_rate"):
        assert expected in text
    assert "to compare with what was set: mlm 0.15." in text
    assert "masking.dir" in text
    assert "finetuningsample-similarity.dir" in text


def test_a_manifest_that_says_little_is_shown_as_it_is(workspace):
    for stage in ("corpus", "tokenizer", "encoding", "masking", "pretraining"):
        workspace.write_manifest(stage, {"surprise": {"deep": {"deeper": 3}}})
    run(PARAMS, workspace.paths, workspace.journal())
    text = Page(workspace.paths["report"].read_text(encoding="utf-8")).text
    assert text.count("deeper") == 5
    assert "No document was dropped." in text


def test_an_encoder_that_was_not_trained_has_no_curve(workspace):
    workspace.write_json(workspace.paths["pretraining"] / "curve.json", [])
    run(PARAMS, workspace.paths, workspace.journal())
    assert "No step was trained" in workspace.paths["report"].read_text(encoding="utf-8")


def render(workspace: Any) -> str:
    run(PARAMS, workspace.paths, workspace.journal())
    return workspace.paths["report"].read_text(encoding="utf-8")


def page_of(text: str, name: str) -> str:
    """The part of the report that is one task's page."""
    _, _, page = text.partition(f'<article class="task-page" id="task-{name}">')
    return page.partition("</article>")[0]


def test_every_task_has_a_page_that_a_link_of_the_overview_opens(workspace, made):
    overview = made.split("<article")[0]
    for name in workspace.tasks:
        assert f'href="#task-{name}"' in overview
        page = page_of(made, name)
        for expected in ("Every seed", "Learning curves", "Settings", "text 8 of " + name):
            assert expected in page


def test_a_page_shows_what_its_kind_of_task_has(made):
    classes = page_of(made, "sample-continuation")
    assert "3 examples only the encoder gets right, 0 only the random twin (p = 0.250)" in " ".join(
        classes.split()
    )
    assert "not beyond chance" in classes
    assert "Expected calibration error" in classes
    assert 'class="facts matrix encoder"' in classes
    scores = page_of(made, "sample-similarity")
    assert "root mean square" in scores
    assert "matrix" not in scores


HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "\u202eover\u05e9\u05dc\u05d5\u05dd",
    "\u65e5\u672c\u8a9e" * 300,
    "x" * 10_000,
    "]]></pre></article></style>{{ 7 * 7 }}",
    "\x00\x1b[31mred",
]


@pytest.mark.parametrize("shift", [0, 1])  # examples 0, 4 and 8 are shown: three of the six
def test_hostile_examples_are_shown_as_they_are_and_harm_nothing(workspace, shift):
    texts = (HOSTILE[shift:] + HOSTILE[:shift]) * 2
    workspace.write_examples("sample-continuation", texts)
    made = render(workspace)
    page = Page(made)
    assert page.open == []
    assert not page.tags & {"script", "img"}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", made)
    for index in (0, 4, 8):
        assert visible(cut(texts[index])) in page.text
    assert "x" * 401 not in made


def test_published_scores_stand_beside_glue_tasks_alone_and_are_called_not_comparable(workspace):
    assert "BERT-tiny" not in render(workspace)
    one = {"accuracy": [0.61, 0.64, 0.60]}
    workspace.add_task("RTE", one, one, is_glue=True)
    made = render(workspace)
    assert "<dt>BERT-tiny</dt><dd>64.2</dd>" in made
    assert "<dt>BERT-large</dt><dd>82.1</dd>" in made
    assert "The two are not comparable" in " ".join(Page(made).text.split())


def test_the_champion_is_pointed_to(made):
    text = " ".join(Page(made).text.split())
    assert "reports/promotion.html, which python -m pipelines gate makes" in text


def test_a_searched_grid_is_shown_with_its_warning(workspace):
    path = workspace.paths["finetuning"] / "sample-continuation" / "metrics.json"
    member = {"settings": {"learning_rate": 1e-4}, "seed": 1, "dev_score": 0.66, "is_chosen": True}
    one = {"rule": "the best of the grid", "members": [member]}
    content = json.loads(path.read_text()) | {"selection": {"encoder": one, "twin": one}}
    workspace.write_json(path, content)
    made = render(workspace)
    text = " ".join(Page(page_of(made, "sample-continuation")).text.split())
    assert "encoder: 1 setting, the best of the grid" in text
    assert "learning_rate 0.0001" in text
    assert "<b>66.0</b> <small>chosen</small>" in made
    assert "a score chosen on the development set is optimistic on that set" in text
    assert "settings were chosen on the development set" in made.split("<article")[0]
    assert "optimistic" not in page_of(made, "sample-similarity")


def test_a_frozen_encoder_is_said_to_be_one(workspace):
    facts = {"task": "sample-continuation", "train_examples": 4000, "mode": "frozen"}
    workspace.write_manifest("finetuning", facts, "sample-continuation")
    assert "the encoder is frozen: only the output layer learnt" in render(workspace)


def test_questions_are_a_family_of_their_own(workspace):
    workspace.add_extraction("SQuAD")
    made = render(workspace)
    text = " ".join(Page(made).text.split())
    assert "One SQuAD task: SQuAD" in text
    assert "Exact match and F1 as SQuAD's own scorer has them; no part of GLUE." in text
    page = page_of(made, "SQuAD")
    assert "what is 4?" in page
    assert "gold 4" in page
    assert "matrix" not in page
    assert "Calibration" not in page
