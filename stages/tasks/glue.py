"""GLUE as declared data: the nine tasks, in the classic glue_data layout.

In: nothing. Out: `GLUE`, name -> TaskSpec. The layout's quirks are entries here: CoLA's train and
dev have no header, MNLI has two dev and two test sets, SST-2's test has other columns than its
train, and the diagnostic set AX is a further split of MNLI. Class ids are those of the label order
that the leaderboard and the Hugging Face copy use.
Source: Wang et al. 2019, table 1; sizes: gluebenchmark.com.
"""

from collections.abc import Mapping

from stages.tasks.params import Metric
from stages.tasks.specs import Column, SplitSpec, TaskSpec

AX = "ax"
"""The split of MNLI that is GLUE's diagnostic set: no model but MNLI's predicts it."""
_NLI = ("entailment", "neutral", "contradiction")
_ENTAILMENT = ("entailment", "not_entailment")
_BINARY = ("0", "1")
# The official QQP has a few rows broken by line ends inside a question; everybody leaves them out.
_QQP_BROKEN_ROW_FRACTION = 0.001


def _splits(folder: str, texts: tuple[Column, ...], label: Column) -> dict[str, SplitSpec]:
    """The usual three files: train and dev with labels, test without."""
    return {
        "train": SplitSpec((f"{folder}/train.tsv",), texts, label),
        "dev": SplitSpec((f"{folder}/dev.tsv",), texts, label),
        "test": SplitSpec((f"{folder}/test.tsv",), texts, None, is_required=False),
    }


def _sizes(train: int, dev: int, test: int) -> dict[str, int]:
    return {"train": train, "dev": dev, "test": test}


_ACCURACY: tuple[Metric, ...] = ("accuracy",)
_TASKS = (
    TaskSpec(
        name="CoLA",
        kind="classification",
        metrics=("matthews_correlation",),
        labels=("unacceptable", "acceptable"),
        label_values=_BINARY,
        splits={
            "train": SplitSpec(("CoLA/train.tsv",), (3,), 1, has_header=False),
            "dev": SplitSpec(("CoLA/dev.tsv",), (3,), 1, has_header=False),
            "test": SplitSpec(("CoLA/test.tsv",), ("sentence",), None, is_required=False),
        },
        is_glue=True,
        published_sizes=_sizes(8551, 1043, 1063),
    ),
    TaskSpec(
        name="SST-2",
        kind="classification",
        metrics=_ACCURACY,
        labels=("negative", "positive"),
        label_values=_BINARY,
        splits=_splits("SST-2", ("sentence",), "label"),
        is_glue=True,
        published_sizes=_sizes(67349, 872, 1821),
    ),
    TaskSpec(
        name="MRPC",
        kind="classification",
        metrics=("f1", "accuracy"),
        labels=("not_equivalent", "equivalent"),
        label_values=_BINARY,
        splits=_splits("MRPC", ("#1 String", "#2 String"), "Quality"),
        is_glue=True,
        published_sizes=_sizes(3668, 408, 1725),
    ),
    TaskSpec(
        name="STS-B",
        kind="regression",
        metrics=("pearson", "spearman"),
        score_range=(0.0, 5.0),
        splits=_splits("STS-B", ("sentence1", "sentence2"), "score"),
        is_glue=True,
        published_sizes=_sizes(5749, 1500, 1379),
    ),
    TaskSpec(
        name="QQP",
        kind="classification",
        metrics=("f1", "accuracy"),
        labels=("not_duplicate", "duplicate"),
        label_values=_BINARY,
        splits=_splits("QQP", ("question1", "question2"), "is_duplicate"),
        is_glue=True,
        published_sizes=_sizes(363846, 40430, 390965),
        max_broken_row_fraction=_QQP_BROKEN_ROW_FRACTION,
    ),
    TaskSpec(
        name="MNLI",
        kind="classification",
        metrics=_ACCURACY,
        labels=_NLI,
        splits={
            "train": SplitSpec(("MNLI/train.tsv",), ("sentence1", "sentence2"), "gold_label"),
            "dev": SplitSpec(("MNLI/dev_matched.tsv",), ("sentence1", "sentence2"), "gold_label"),
            **{
                f"{split}_mismatched": SplitSpec(
                    (f"MNLI/{split}_mismatched.tsv",),
                    ("sentence1", "sentence2"),
                    label,
                    is_required=False,
                )
                for split, label in (("dev", "gold_label"), ("test", None))
            },
            "test": SplitSpec(
                ("MNLI/test_matched.tsv",), ("sentence1", "sentence2"), None, is_required=False
            ),
            AX: SplitSpec(
                ("AX/test.tsv", "AX/AX.tsv", "diagnostic/diagnostic.tsv"),
                ("sentence1", "sentence2"),
                None,
                is_required=False,
            ),
        },
        is_glue=True,
        published_sizes={
            **_sizes(392702, 9815, 9796),
            "dev_mismatched": 9832,
            "test_mismatched": 9847,
            AX: 1104,
        },
    ),
    TaskSpec(
        name="QNLI",
        kind="classification",
        metrics=_ACCURACY,
        labels=_ENTAILMENT,
        splits=_splits("QNLI", ("question", "sentence"), "label"),
        is_glue=True,
        published_sizes=_sizes(104743, 5463, 5463),
    ),
    TaskSpec(
        name="RTE",
        kind="classification",
        metrics=_ACCURACY,
        labels=_ENTAILMENT,
        splits=_splits("RTE", ("sentence1", "sentence2"), "label"),
        is_glue=True,
        published_sizes=_sizes(2490, 277, 3000),
    ),
    TaskSpec(
        name="WNLI",
        kind="classification",
        metrics=_ACCURACY,
        labels=("not_entailment", "entailment"),
        label_values=_BINARY,
        splits=_splits("WNLI", ("sentence1", "sentence2"), "label"),
        is_glue=True,
        published_sizes=_sizes(635, 71, 146),
    ),
)

GLUE: Mapping[str, TaskSpec] = {task.name: task for task in _TASKS}
