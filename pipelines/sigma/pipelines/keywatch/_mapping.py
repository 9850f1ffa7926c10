"""The field tables applied to rules, wherever a field stands in them."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import dataclass, field, replace
from string import Formatter

from sigma.conditions import ConditionAND, ConditionOR
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaTransformationError
from sigma.pipelines.keywatch._fields import NAMES, OPTIONAL, SPELLINGS, FieldTable, NotStoredError, below
from sigma.pipelines.keywatch._pack import GUIDE
from sigma.processing.transformations import FieldMappingTransformation
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaRule
from sigma.types import SigmaExists


@dataclass
class StrictFieldMapping(FieldMappingTransformation):
    """Map field names wherever they stand, in conditions, correlations, evidence and guide; refuse an unknown one."""

    mapping: dict[str | None, str | list[str]] = field(default_factory=dict)
    table: FieldTable = field(kw_only=True)
    pipeline: str = field(kw_only=True)
    _rule: SigmaRule | SigmaCorrelationRule | None = field(init=False, default=None, compare=False)
    #: What the correlations that the rule stands on call something.
    _made: set[str] = field(init=False, default_factory=set, compare=False)

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Map the field names of a rule.

        :raises SigmaTransformationError: if the rule can't do without a field that the table lacks; it names rule,
            field and pipeline. Of the evidence such a field is left out, with a warning.
        """
        self._rule = rule
        self._made = {alias.alias for one in below(rule) for alias in getattr(one, "aliases", ())}
        # Backends show the id of an event without being asked to.
        rule.custom_attributes[NAMES] = dict.fromkeys(self.table.names("eventID"), "eventID")
        evidence = [self._shown(name) for name in rule.fields if self._is_stored(name)]
        rule.fields = []
        super().apply(rule)
        rule.fields = evidence
        guide = rule.custom_attributes.get(GUIDE)
        if guide is not None:
            steps = {title: self._map_text(text) for title, text in guide.steps.items()}
            rule.custom_attributes[GUIDE] = replace(guide, steps=steps)

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> SigmaDetection | SigmaDetectionItem | None:
        """Map the field of a condition. Where it has several names, each condition holds of one of them.

        pySigma says `or` between the names, which is wrong where the condition is negated, or is several.
        """
        values, negated = detection_item.value, detection_item.negated
        none = [isinstance(value, SigmaExists) and not value for value in values]
        several = len(values) > 1 and detection_item.value_linking is ConditionAND
        if (
            detection_item.field is None
            or not (negated or any(none) or several)
            or isinstance(self.apply_field_name(detection_item.field), str)
        ):
            return super().apply_detection_item(detection_item)
        parts: list[SigmaDetectionItem | SigmaDetection] = []
        for value, is_none in zip(values, none, strict=True):
            part = replace(detection_item, modifiers=[], value=[value], negated=False)
            if is_none:
                part.value = [SigmaExists(True)]
            mapped = super().apply_detection_item(part) or part
            parts.append(_negated(mapped) if is_none is not negated else mapped)
        linked = detection_item.value_linking
        if negated:
            linked = ConditionAND if linked is ConditionOR else ConditionOR
        return SigmaDetection(parts, item_linking=linked)

    def apply_field_name(self, field: str | None) -> str | list[str]:
        """Look a field up in the table: its name, or several."""
        assert self._rule is not None
        if field is None:
            raise self._error(
                "a keyword without a field can't be searched for in CloudTrail events; name the field",
            )
        if field in self._made:
            return [field]
        try:
            names = self.table.names(field)
        except NotStoredError as error:
            reason = f" ({error})" if str(error) else ""
            raise self._error(
                f"pipeline '{self.pipeline}' has nothing for field '{field}', which the target does not store{reason}; "
                "turn the rule off if it can't do without it (settings: rules, enabled: false)"
            ) from error
        except KeyError as error:
            near = difflib.get_close_matches(field, FieldTable.known(), n=1)
            raise self._error(
                f"field '{field}' is not known to pipeline '{self.pipeline}'"
                + (f"; did you mean '{near[0]}'?" if near else "; CloudTrail has none of that name")
            ) from error
        self._rule.custom_attributes[NAMES] |= dict.fromkeys(names, field)
        if isinstance(self._rule, SigmaCorrelationRule) and len(names) > 1:
            self._rule.custom_attributes.setdefault(SPELLINGS, {})[names[0]] = names
            return names[0]
        return names[0] if len(names) == 1 else names

    def _shown(self, name: str) -> str:
        shown = self.table.shown(name)
        assert self._rule is not None
        self._rule.custom_attributes[NAMES].setdefault(shown, name)
        return shown

    def _is_stored(self, name: str) -> bool:
        """Tell whether evidence can be shown; a rule is not given up for a field that only decorates it."""
        try:
            self.table.names(name)
        except (NotStoredError, KeyError):
            assert self._rule is not None
            if name not in self._rule.custom_attributes.get(OPTIONAL, ()):
                warnings.warn(
                    f"rule '{self._rule.title}': its evidence is shown without field '{name}', which pipeline "
                    f"'{self.pipeline}' does not have",
                    stacklevel=2,
                )
            return False
        return True

    def _error(self, message: str) -> SigmaTransformationError:
        assert self._rule is not None
        return SigmaTransformationError(f"rule '{self._rule.title}': {message}", source=self._rule.source)

    def _map_text(self, text: str) -> str:
        return "".join(
            literal.replace("{", "{{").replace("}", "}}") + (f"{{{self._shown(name)}}}" if name else "")
            for literal, name, _, _ in Formatter().parse(text)
        )


def _negated(part: SigmaDetectionItem | SigmaDetection) -> SigmaDetectionItem | SigmaDetection:
    """Negate conditions of which one has to hold: none of them does."""
    if isinstance(part, SigmaDetectionItem):
        return replace(part, negated=not part.negated)
    return SigmaDetection([_negated(item) for item in part.detection_items], item_linking=ConditionAND)
