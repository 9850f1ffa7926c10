"""What is wrong with a rule, in one line that names the file and the line."""

from __future__ import annotations

import re

import yaml
from sigma.backends.keywatch._correlation import Rule
from sigma.exceptions import SigmaError, SigmaRuleLocation, SigmaTransformationError
from sigma.pipelines.keywatch._fields import ELEMENTS, cloudtrail_names

from keywatch.errors import UserError, line_of

#: What pySigma adds to what is wrong: the file, which we name in front, and types as Python writes them.
_STAGE = re.compile(r" \(while (?:converting|applying)[^()]* rule .*\)$", re.DOTALL)
_TYPE = re.compile(r"<(?:class ')?(?:\w+\.)*(\w+)(?:'| object at 0x[0-9a-f]+)>")


def problem_of(error: Exception, rule: Rule) -> UserError:
    """Say in one line what a conversion found wrong with a rule, with CloudTrail's names of fields."""
    message = message_of(error)
    # Pipelines speak of fields as rules do: what is no field of CloudTrail may be one of the schema's.
    names = {} if isinstance(error, SigmaTransformationError) else cloudtrail_names(rule)
    for name, original in names.items():
        for written in (name, name.removeprefix(ELEMENTS)):
            message = message.replace(f"'{written}'", f"'{original}'")
    if rule.title not in message:
        message = f"rule '{rule.title}': {message}"
    return located(message, rule.source, message.replace(f"'{rule.title}'", ""))


def located(message: str, source: SigmaRuleLocation | None, words: str | None = None) -> UserError:
    """Return a problem with the line that it is about.

    :param words: what the line is looked for with, if it is another text than the message.
    """
    if source is None:
        return UserError(message)
    return UserError(message, source.path, line_of(source.path, words or message, source.line or 1))


def message_of(error: Exception) -> str:
    """Say what an error says, without the file that pySigma adds: we name it in front, with the line."""
    if isinstance(error, SigmaError):
        said = str(error.args[0]) if error.args else type(error).__name__
        return _TYPE.sub(r"\1", _STAGE.sub("", said))
    if isinstance(error, yaml.MarkedYAMLError):
        return str(error.problem)
    if isinstance(error, RecursionError):
        return "its condition is nested too deeply"
    said = _STAGE.sub("", str(error))
    return f"{type(error).__name__}: {said}" if not isinstance(error, NotImplementedError) else said
