"""The comparison as files: numbers, a table, and a page with one plot of all seeds."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.core.artifacts import write_json
from stages.evaluation.charts import Lane, Series, line_chart, nice_axis, strip, strip_axis
from stages.evaluation.comparison import Member, compare, read_members, table
from stages.evaluation.pair_table import pair_sentences, pair_table
from stages.evaluation.pairwise import lacks_predictions, pairs

_TEMPLATE = "comparison.html.jinja"
_TERA = 1e12


def write_comparison(members_folder: Path, out: Path) -> dict[str, Any]:
    """Write comparison.json, comparison.csv, comparison.md and comparison.html into `out`.

    Raises: ArtifactError: a member is missing or does not fit.
    """
    members = read_members(members_folder)
    compared = compare(members) | {
        "pairs": pairs(members),
        "without_predictions": [one.name for one in members if lacks_predictions(one)],
    }
    header, rows = table(compared)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "comparison.json", compared)
    (out / "comparison.csv").write_text(_csv([header, *rows]), encoding="utf-8")
    (out / "comparison.md").write_text(_text(compared, header, rows), encoding="utf-8")
    (out / "comparison.html").write_text(_page(members, compared, header, rows), encoding="utf-8")
    return compared


def _csv(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _text(compared: Mapping[str, Any], header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table, then the pairs with what is beyond chance in them."""
    parts = [_markdown(header, rows)]
    pair_header, pair_rows = pair_table(compared["pairs"])
    if pair_rows:
        parts.append(_markdown(pair_header, pair_rows))
    return "\n".join([*parts, *(f"{sentence}\n" for sentence in pair_sentences(compared))])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _page(
    members: Sequence[Member],
    compared: Mapping[str, Any],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    ranking, _, caveats = compared["headline"].partition(". ")
    return environment.get_template(_TEMPLATE).render(
        headline=f"{ranking}.",
        caveats=caveats,
        header=header,
        rows=rows,
        plots=_plots(compared),
        curve=_curve(members),
        rules=list(compared["macro_rules"].values()),
        pairs=pair_table(compared["pairs"]),
        pair_sentences=pair_sentences(compared),
    )


def _plots(compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per family of tasks a dot plot: a row an objective, a dot a seed, encoder above twin."""
    systems = compared["systems"]
    plots = []
    for family in next(iter(systems.values()))["macro"]:
        values = [
            100 * value
            for system in systems.values()
            for entry in system["macro"][family].values()
            for value in entry["seeds"]
        ]
        axis = nice_axis(min(values), max(values))
        rows = [
            (name, strip(f"{family}-{name}", f"{name}, macro {family}", "", lanes, axis))
            for name, lanes in (
                (name, _lanes(system["macro"][family])) for name, system in systems.items()
            )
        ]
        plots.append({"family": family, "rows": rows, "axis": strip_axis(axis)})
    return plots


def _lanes(macro: Mapping[str, Mapping[str, Any]]) -> list[Lane]:
    return [
        Lane(
            style=system,
            name=system,
            mean=100 * entry["mean"],
            values=[100 * value for value in entry["seeds"]],
            labels=[f"{system}: {100 * value:.1f}" for value in entry["seeds"]],
        )
        for system, entry in macro.items()
    ]


def _curve(members: Sequence[Member]) -> str:
    """The common masked-LM loss over the FLOPs spent, a line a member."""
    order = list(dict.fromkeys(member.objective for member in members))
    series = [
        Series(
            f"line{order.index(member.objective)}",
            member.objective,
            [
                (point["flops"] / _TERA, point["comparison_mlm_loss"])
                for point in member.curve
                if "comparison_mlm_loss" in point
            ],
        )
        for member in members
    ]
    drawn = [line for line in series if line.points]
    if not drawn:
        return ""
    heading = "Masked-LM loss on the common text"
    return line_chart(
        "comparison-curve", heading, heading, unit="nats", series=drawn, x_name="TFLOPs"
    )
