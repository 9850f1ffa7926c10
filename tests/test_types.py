"""The page of the correlation types says what the tests compare, and what each target refuses with which words."""

from __future__ import annotations

import os
from pathlib import Path

from test_correlations import CASES, COMMON, LACKS, correlated, needs

from packs import attempted, written

PAGE = Path(__file__).parent.parent / "docs" / "correlations.md"
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->"
#: Engine of the tests → what it is called on the page, and what is converted for it.
ENGINES = {
    "duckdb": ("DuckDB, hunt", "duckdb", "sql"),
    "athena": ("Athena", "athena", "sql"),
    "lake": ("CloudTrail Lake", "athena", "sql-lake"),
    "securitylake": ("Security Lake", "securitylake", "sql"),
    "spl": ("Splunk", "splunk", "spl"),
    "spl-far-end-out": ("Splunk, window's far end out", "splunk", "spl"),
    "opensearch": ("OpenSearch", "opensearch", "dsl"),
    "sentinel": ("Sentinel", "sentinel", "kql"),
    "esql": (r"ES\|QL", "elasticsearch", "esql"),
    "datadog": ("Datadog", "datadog", None),
}
#: What a case asks of an engine → what the page calls it.
ROWS = {
    "event_count": "event_count",
    "value_count": "value_count",
    "a list of fields": "value_count of a list of fields",
    "value_sum": "value_sum",
    "value_avg": "value_avg",
    "temporal": "temporal",
    "a condition over rules": "temporal with a condition over its rules",
    "temporal_ordered": "temporal_ordered",
    "a chain of three": "temporal_ordered of three rules",
    "ungrouped": "no group-by",
    "aliases": "aliases",
    "a correlation of correlations": "a correlation among the rules",
}


def reason(engine: str, need: str, folder: Path) -> str:
    """Return why what some case needs is refused: of the simplest that has nothing else which the engine lacks."""
    case = min(
        (says for says in CASES.values() if need in needs(says)),
        key=lambda says: (len(needs(says) & LACKS[engine]), len(correlated(says, COMMON))),
    )
    _, target, output_format = ENGINES[engine]
    [problem, *_] = attempted(target, output_format, rules=[written(correlated(case, COMMON), folder)]).problems
    return problem.message.removeprefix("rule 'Correlation': ")


def page(folder: Path) -> str:
    """Return the table and the reasons."""
    lines = [f"| | {' | '.join(name for name, *_ in ENGINES.values())} |", f"|---|{'---|' * len(ENGINES)}"]
    reasons: dict[tuple[str, str], str] = {}
    for need, row in ROWS.items():
        cells = []
        for engine, (name, target, _) in ENGINES.items():
            if need in LACKS[engine]:
                cells.append("refused")
                reasons.setdefault((row, target), f"- *{row}*, {name}: {reason(engine, need, folder)}.")
            else:
                compared = [says for says in CASES.values() if need in needs(says) and not needs(says) & LACKS[engine]]
                cells.append(f"{len(compared)} agree")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Refused:", "", *reasons.values()]) + "\n"


def test_the_page_of_the_types_is_what_is_compared_and_refused(tmp_path: Path) -> None:
    assert {*ENGINES} == {*LACKS}
    assert {*ROWS} == {need for says in CASES.values() for need in needs(says)}
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    kept, _, after = rest.partition(_END)
    made = page(tmp_path)
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        PAGE.write_text(f"{before}{_BEGIN}{made}{_END}{after}", encoding="utf-8")
    else:
        assert kept == made
