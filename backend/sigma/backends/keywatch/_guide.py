"""Render a triage guide in a target's field names and template syntax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import Formatter

from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.pipelines.keywatch._pack import GUIDE, Guide


def guide_steps(
    rules: Sequence[Rule], field: Callable[[str], str], plain: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """Return the headings and texts of the guide of a rule, or of rules that share one; none if there is no guide.

    :param field: writes an alert's value of a field, given by the target's name, in the target's template syntax.
    :param plain: writes the name of a field.
    """
    guide: Guide | None = rules[0].custom_attributes.get(GUIDE)
    if guide is None:
        return []
    steps = {title: _fill(text, field) for title, text in guide.steps.items()}
    return [*steps.items(), ("Why this threshold?", f"{_thresholds(rules, plain)}{guide.threshold}")]


def untemplated(text: str) -> str:
    """Return a text in one line in which no template's variable stands: targets know no escape for theirs."""
    return " ".join(text.replace("{", "(").replace("}", ")").split())


def _thresholds(rules: Sequence[Rule], plain: Callable[[str], str]) -> str:
    said = [
        f"{found.least} or more {_counted(found, plain)} within {found.rule.timespan.spec}"
        for found in map(Correlation.of, rules)
        if found is not None and found.least is not None
    ]
    return f"Set here: {'; '.join(said)}. Why the default: " if said else ""


def _counted(correlation: Correlation, plain: Callable[[str], str]) -> str:
    if not correlation.counted:
        return "rules" if correlation.over_rules else "events"
    if correlation.parts:
        return f"distinct combinations of {' and '.join(map(plain, correlation.parts))}"
    return f"distinct {plain(correlation.counted)}"


def _fill(text: str, field: Callable[[str], str]) -> str:
    return "".join(literal + (field(name) if name else "") for literal, name, _, _ in Formatter().parse(text))
