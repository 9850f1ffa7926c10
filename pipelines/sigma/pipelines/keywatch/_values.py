"""Values before the backends see them: one spelling for one meaning, and nothing that engines differ on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionIdentifier,
    ConditionItem,
    ConditionNOT,
    ConditionOR,
    ConditionSelector,
    SigmaCondition,
)
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaConditionError, SigmaError, SigmaValueError
from sigma.processing.transformations import ValueListPlaceholderTransformation
from sigma.processing.transformations.base import DetectionItemTransformation, PreprocessingTransformation
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaRule
from sigma.types import (
    Placeholder,
    SigmaExists,
    SigmaExpansion,
    SigmaNull,
    SigmaRegularExpression,
    SigmaString,
    SigmaType,
    SpecialChars,
)

#: Regular expressions that every value matches.
_ANY_VALUE = re.compile(r"\^?\(?\.[*+]\??\)?\$?")


@dataclass
class OneSpelling(DetectionItemTransformation):
    """Bring the ways to say that a field has a value, or has none, to one: whether it exists.

    It has a value: `*`, an empty contains, `exists: true`, `re: .+`. It has none: `null`, `exists: false`, an empty
    text (Elastic's integration drops those). And a value that stands for several, of which one has to match (as with
    windash), is those.
    """

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> SigmaDetection | None:
        """Replace the values of a field."""
        if detection_item.field is None:
            return None
        forms = [
            [_spelt(one) for one in (value.values if isinstance(value, SigmaExpansion) else [value])]
            for value in detection_item.value or [SigmaNull()]
        ]
        if detection_item.value_linking is ConditionOR or len(forms) == 1:
            detection_item.value = list(chain.from_iterable(forms))
            detection_item.value_linking = ConditionOR if len(forms[0]) > 1 else detection_item.value_linking
            return None
        if all(len(form) == 1 for form in forms):
            detection_item.value = [form[0] for form in forms]
            return None
        parts: list[SigmaDetectionItem | SigmaDetection] = [
            replace(detection_item, modifiers=[], value=form, value_linking=ConditionOR) for form in forms
        ]
        return SigmaDetection(parts, item_linking=ConditionOR if detection_item.negated else ConditionAND)


def _spelt(value: SigmaType) -> SigmaType:
    if isinstance(value, SigmaNull):
        return SigmaExists(False)
    if isinstance(value, SigmaString) and all(part is SpecialChars.WILDCARD_MULTI for part in value.s):
        return SigmaExists(bool(value.s))
    if isinstance(value, SigmaRegularExpression) and _ANY_VALUE.fullmatch(str(value.regexp)):
        return SigmaExists(True)
    return value


@dataclass
class OneCondition(PreprocessingTransformation):
    """Join a list of conditions by or: a rule is one detection, with one name and one id.

    Operators may be in capitals, as in other languages.
    """

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Join the conditions of a rule."""
        super().apply(rule)
        if isinstance(rule, SigmaRule):
            joined = [_lower(condition, rule.detection.detections) for condition in rule.detection.condition]
            if len(joined) > 1:
                joined = [" or ".join(f"({condition})" for condition in joined)]
            rule.detection.condition = joined
            rule.detection.parsed_condition = [_Condition(one, rule.detection, rule.source) for one in joined]


#: Operators as they are written in other languages.
_OPERATOR = re.compile(r"\b(?:AND|OR|NOT)\b")


def _lower(condition: str, detections: Container[str]) -> str:
    """Return a condition with its operators as Sigma writes them; a detection may be called so."""
    return _OPERATOR.sub(lambda found: found[0] if found[0] in detections else found[0].lower(), condition)


class _Condition(SigmaCondition):
    """A condition of which pySigma 1.5 and 2.0 copy the tree with `deepcopy`, as slow as all else of a parse."""

    def parse(self, postprocess: bool = True) -> Any:
        """Parse the condition, the same text once.

        :raises sigma.exceptions.SigmaConditionError: for one that every event meets, or none.
        """
        try:
            tree = _copy(_tree(self.condition))
        except SigmaError:
            return super().parse(postprocess)  # raises it again, with its place
        if not postprocess:
            return tree
        tree = self._without_missing(tree)
        if isinstance(tree, bool):
            met = "every event meets" if tree else "none meets"
            raise SigmaConditionError(f"its condition asks for detections that are not there, so {met} it")
        return tree.postprocess(self.detections, source=self.source)

    def _without_missing(self, node: Any) -> Any:
        """Return a condition without `1 of name*` where none is called so; if nothing is left, whether it is met.

        pySigma writes `None` in its place, or nothing, by which more would match.
        """
        if isinstance(node, ConditionSelector):
            return bool(node.resolve_referenced_detections(self.detections)) and node
        if isinstance(node, ConditionIdentifier):
            return node
        parts = [self._without_missing(part) for part in node.args]
        if isinstance(node, ConditionNOT):
            return not parts[0] if isinstance(parts[0], bool) else ConditionNOT(parts)
        decisive = isinstance(node, ConditionOR)
        left = [part for part in parts if not isinstance(part, bool)]
        if decisive in parts or not left:
            return decisive if decisive in parts else not decisive
        return type(node)(left) if len(left) > 1 else left[0]


@lru_cache(1000)
def _tree(condition: str) -> Any:
    no_detections: Any = None  # a tree has their names only
    return SigmaCondition(condition, no_detections).parse(postprocess=False)


def _copy(tree: Any) -> Any:
    return type(tree)([_copy(part) for part in tree.args]) if isinstance(tree, ConditionItem) else tree


@dataclass
class FillPlaceholders(ValueListPlaceholderTransformation):
    """Put the pipeline's variables in place of `%name%` in values with the modifier expand."""

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> SigmaDetectionItem | None:
        """Fill in the values of a field.

        :raises SigmaValueError: for a regular expression that is no text, which pySigma lets through.
        """
        for value in detection_item.value:
            if isinstance(value, SigmaRegularExpression) and not isinstance(value.regexp, SigmaString):
                raise SigmaValueError(
                    f"field '{detection_item.field}': regular expression {value.regexp} is no text; put it in quotes",
                    source=detection_item.source,
                )
        return super().apply_detection_item(detection_item)

    def placeholder_replacements(self, p: Placeholder) -> Iterable[SigmaString]:
        """Return the values of a placeholder.

        :raises SigmaValueError: if there are none.
        """
        try:
            return super().placeholder_replacements(p)
        except SigmaValueError as error:
            raise SigmaValueError(
                f"placeholder '%{p.name}%' has no values; give it some in the settings "
                f"(placeholders: {{{p.name}: [value, …]}})"
            ) from error


@dataclass
class RefuseUnclearText(DetectionItemTransformation):
    """Refuse values with characters that engines differ on, and that CloudTrail's names have none of."""

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> None:
        """Look at the values of a field.

        :raises SigmaValueError: if one has a control character, or a letter whose case is folded in several ways.
        """
        for value in detection_item.value:
            text = "".join(part for part in getattr(value, "s", ()) if isinstance(part, str))
            text += str(getattr(value, "regexp", ""))
            for char in "" if text.isascii() and text.isprintable() else text:
                problem = (
                    "a control character, and CloudTrail has none"
                    if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
                    else f"the letter '{char}', and engines differ in how they ignore its case; put ? in its place"
                    if _folds_in_several_ways(char)
                    else None
                )
                if problem:
                    raise SigmaValueError(
                        f"field '{detection_item.field}': its value has {problem}", source=detection_item.source
                    )


def _folds_in_several_ways(char: str) -> bool:
    """Tell whether a letter has more than two forms that are the same but for the case, such as the Kelvin sign."""
    lower, upper = char.lower(), char.upper()
    one_pair = char.casefold() == lower == upper.lower() and upper == lower.upper()
    return char in "Σσ" or not one_pair
