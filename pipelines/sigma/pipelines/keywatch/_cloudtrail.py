"""What all pipelines share. A pipeline is a field table, and the few transformations that its schema needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass

from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaTransformationError
from sigma.pipelines.keywatch._fields import OPTIONAL, FieldTable, cloudtrail
from sigma.pipelines.keywatch._mapping import StrictFieldMapping
from sigma.pipelines.keywatch._pack import GUIDE, guides
from sigma.pipelines.keywatch._values import FillPlaceholders, OneCondition, OneSpelling, RefuseUnclearText
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import SetStateTransformation
from sigma.processing.transformations.base import PreprocessingTransformation
from sigma.rule import SigmaDetection, SigmaRule


@dataclass
class OnlyCloudTrail(PreprocessingTransformation):
    """Refuse a rule of another log source."""

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Look at a rule's log source.

        :raises SigmaTransformationError: for any other than CloudTrail, with or without its product; its case is
            ignored, as that of Sigma's values is.
        """
        super().apply(rule)
        if not isinstance(rule, SigmaRule):
            return
        source = rule.logsource
        product, service = (str(name or "").casefold() for name in (source.product, source.service))
        if service != "cloudtrail" or product not in ("", "aws") or source.category is not None:
            raise SigmaTransformationError(
                f"rule '{rule.title}': it is for another log source than product: aws, service: cloudtrail",
                source=rule.source,
            )


@dataclass
class AttachGuide(PreprocessingTransformation):
    """Give a rule its evidence: that of its triage guide, or what every alert of CloudTrail needs where it says none.

    SigmaHQ takes no `fields:` in a rule; so that stock `sigma convert` gets them too, the pipeline adds them.
    """

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Add the guide that names this rule, if any, and evidence fields."""
        super().apply(rule)
        guide = guides().get(rule.name or "")
        if guide is not None:
            rule.fields = [*rule.fields, *(name for name in guide.fields if name not in rule.fields)]
            rule.custom_attributes[GUIDE] = guide
        elif not rule.fields:
            rule.fields = list(cloudtrail()["evidence"])
            rule.custom_attributes[OPTIONAL] = cloudtrail()["evidence"]


@dataclass
class OwnDetections(PreprocessingTransformation):
    """Give each rule detections of its own.

    pySigma 1.5 puts the same objects of a Sigma filter into every rule: what is mapped for one is mapped for all. Their
    names begin with an underscore there.
    """

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Copy the detections, as far as transformations change them."""
        super().apply(rule)
        if isinstance(rule, SigmaRule):
            rule.detection.detections |= {
                name: _own(d) for name, d in rule.detection.detections.items() if name.startswith("_")
            }


def _own(detection: SigmaDetection) -> SigmaDetection:
    own = copy(detection)
    own.detection_items = []
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            own.detection_items.append(_own(item))
        else:
            own_item = copy(item)
            own_item.value = list(item.value)
            own.detection_items.append(own_item)
    return own


def cloudtrail_pipeline(
    name: str,
    backends: Iterable[str],
    table: FieldTable,
    transformations: Iterable[PreprocessingTransformation] = (),
    state: Mapping[str, str] | None = None,
) -> ProcessingPipeline:
    """Build the pipeline of a schema.

    :param name: the pipeline's identifier, as sigma-cli lists it.
    :param backends: identifiers of the backends it is meant for.
    :param table: the field table.
    :param transformations: what the schema needs besides, applied before the field names are mapped.
    :param state: values for the backend, such as the index.
    """
    steps: list[PreprocessingTransformation] = [
        OnlyCloudTrail(),
        OwnDetections(),
        OneCondition(),
        AttachGuide(),
        FillPlaceholders(),
        RefuseUnclearText(),
        OneSpelling(),
        *transformations,
        StrictFieldMapping(table=table, pipeline=name),
        *(SetStateTransformation(key, value) for key, value in (state or {}).items()),
    ]
    return ProcessingPipeline(
        name=name,
        priority=20,
        allowed_backends=frozenset(backends),
        items=[ProcessingItem(transformation=step) for step in steps],
    )
