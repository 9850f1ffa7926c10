"""The field tables: what each schema makes of CloudTrail's field names, strictly applied.

A table is a YAML file beside a pipeline's module. It says how the schema spells a field, by a template for all that are
spelt alike and by an entry for each that is not; and how it spells a path below an object of which the service decides
what is in it, such as requestParameters. `cloudtrail.yml` has what CloudTrail itself has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Self

from sigma.correlations import SigmaCorrelationRule
from sigma.pipelines.keywatch._pack import read_yaml
from sigma.rule import SigmaRule

#: In front of a name: it holds a list, or a text that may be one, of which one element has to match.
ELEMENTS = "[]"
#: What a key in CloudTrail's objects may hold, so that it needs no escape in any of the languages.
_KEY = re.compile(r"[\w:@/-]+", re.ASCII)
#: Ways through lists that are spelt out, where a schema spells a list otherwise than an object.
_MOST_WAYS = 64
#: Where a rule carries which CloudTrail field each name of the schema stands for.
NAMES = "keywatch_names"


@cache
def cloudtrail() -> dict[str, list[str]]:
    """Return what CloudTrail has: `fields` and `objects`; the `evidence` that every alert needs, and its `outcome`."""
    known: dict[str, list[str]] = read_yaml(Path(__file__).with_name("cloudtrail.yml"))
    return known


class NotStoredError(Exception):
    """A field that CloudTrail has and a schema does not; the text says why, if there is something to say."""


@dataclass(frozen=True)
class FieldTable:
    """What a schema makes of CloudTrail's names."""

    #: Where the names were read, with the version.
    source: str
    #: Template of the names that are not listed; none if all that the schema has are listed.
    default: str | None = None
    #: CloudTrail's name → the schema's; None for what it does not store.
    fields: dict[str, str | None] = field(default_factory=dict)
    #: An object, or * for all → templates: `text`, the whole object as text; `below`, a path in it; `shown`, what is
    #: shown of a path, if that is something else.
    objects: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Why the schema does not have a path of several keys below an object, if it does not.
    deep: str | None = None
    #: CloudTrail's name of a field, or of an object that is asked for as a whole, or * for all objects → why the schema
    #: does not have it, if there is something to say.
    reasons: dict[str, str] = field(default_factory=dict)
    #: What was looked up before: a pack asks for the same few names again and again.
    _spelt: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def beside(cls, module: str) -> Self:
        """Read the table that lies beside a module, under the same name.

        :param module: the module's `__file__`.
        """
        return cls(**read_yaml(Path(module).with_suffix(".yml")))

    def overlaid(self, other: FieldTable) -> FieldTable:
        """Return this table with the entries of another in place of its own."""
        return replace(other, fields=self.fields | other.fields, objects=self.objects | other.objects)

    @staticmethod
    def known() -> list[str]:
        """Return the names of CloudTrail's fields and objects."""
        return [*cloudtrail()["fields"], *cloudtrail()["objects"]]

    def names(self, name: str) -> list[str]:
        """Return how the schema spells a field; several spellings where it depends on what is a list.

        :raises NotStoredError: if it does not have it.
        :raises KeyError: if CloudTrail does not.
        """
        if name not in self._spelt:
            self._spelt[name] = self._spellings(name)
        return self._spelt[name]

    def _spellings(self, name: str) -> list[str]:
        if name in self.fields:
            listed = self.fields[name]
            if listed is None:
                raise NotStoredError(self.reasons.get(name, ""))
            return [listed]
        if name in cloudtrail()["fields"]:
            if self.default is None:
                raise NotStoredError
            return [self.default.format(name=name)]
        for root in cloudtrail()["objects"]:
            if name == root:
                return [self._template(root, "text").format(object=root)]
            if name.startswith(f"{root}."):
                return self._below(root, name.removeprefix(f"{root}.").split("."))
        raise KeyError(name)

    def shown(self, name: str) -> str:
        """Return the name of what is shown of a field.

        :raises NotStoredError: if the schema does not have it.
        :raises KeyError: if CloudTrail does not.
        """
        root, _, below = name.partition(".")
        templates = self.objects.get(root, self.objects.get("*", {}))
        if root not in cloudtrail()["objects"] or "shown" not in templates:
            return self.names(name)[0]
        # Where a path is spelt by itself, it is shown so.
        return templates["shown"].format(object=root) if not below or self.deep else self.names(name)[0]

    def _below(self, root: str, keys: list[str]) -> list[str]:
        template = self._template(root, "below")
        if not all(map(_KEY.fullmatch, keys)):
            raise NotStoredError("a key in it holds a sign that no schema's path can say")
        if self.deep and len(keys) > 1:
            raise NotStoredError(self.deep)
        if "{way}" in template:
            ways = list(product(*((key, f"{key}{{}}") for key in keys)))
            if len(ways) > _MOST_WAYS:
                raise NotStoredError(
                    "any of its keys may be a list, which is spelt otherwise there: too many spellings"
                )
            return [template.format(object=root, way=".".join(way)) for way in ways]
        variables = {
            "object": root,
            "path": ".".join(keys),
            "key": keys[0],
            "rest": "".join(f'."{key}"' for key in keys[1:]),
            "jsonpath": ".".join(f'"{key}"' for key in keys),
            "brackets": "".join(f'["{key}"]' for key in keys),
        }
        return [template.format(**variables)]

    def _template(self, root: str, kind: str) -> str:
        templates = self.objects.get(root, self.objects.get("*", {}))
        if kind not in templates:
            raise NotStoredError(self.reasons.get(root, self.reasons.get("*", "")))
        return templates[kind]


#: Where a correlation carries the spellings of fields that it groups by or counts: the first → all of them.
SPELLINGS = "keywatch_spellings"
#: Where a rule carries the evidence that it was given, and that need not be there.
OPTIONAL = "keywatch_optional"


def below(rule: SigmaRule | SigmaCorrelationRule) -> list[SigmaRule | SigmaCorrelationRule]:
    """Return the rules that a rule stands on, directly or not, each once and after those that it stands on itself."""
    found: dict[int, SigmaRule | SigmaCorrelationRule] = {}

    def visit(one: SigmaRule | SigmaCorrelationRule) -> None:
        for reference in getattr(one, "referenced_rules", ()):
            if id(reference.rule) not in found:
                visit(reference.rule)
                found[id(reference.rule)] = reference.rule

    visit(rule)
    return list(found.values())


def cloudtrail_names(rule: SigmaRule | SigmaCorrelationRule) -> dict[str, str]:
    """Return name in the schema → CloudTrail's name, of the fields of a mapped rule and of those that it refers to."""
    names: dict[str, Any] = {}
    for one in [*below(rule), rule]:
        names |= one.custom_attributes.get(NAMES, {})
    return names
