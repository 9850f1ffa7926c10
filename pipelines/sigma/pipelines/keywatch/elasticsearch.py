"""CloudTrail as Elastic's AWS integration stores it."""

from __future__ import annotations

from dataclasses import dataclass

from sigma.exceptions import SigmaTransformationError
from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline
from sigma.processing.transformations.base import ValueTransformation
from sigma.types import SigmaBool, SigmaNumber, SigmaString, SigmaType, SpecialChars


@dataclass
class MatchInJavaText(ValueTransformation):
    """Match a value inside the text that the integration makes of an object: `{key=value, key=value}`.

    The text is Java's `Map.toString()`: it has no quotes, so a value that holds `, key=` itself can pass for a key.
    """

    keys: dict[str, str]

    def apply_value(self, field: str | None, val: SigmaType) -> SigmaType | list[SigmaType] | None:
        """Turn a value of one of the `keys` into the patterns that say: the key's value, between its neighbours."""
        key = self.keys.get(field or "")
        if key is None:
            return None
        if isinstance(val, SigmaBool | SigmaNumber):
            val = SigmaString(str(val).lower())
        if not isinstance(val, SigmaString):
            raise SigmaTransformationError(
                f"field '{field}' lies in a text in Elastic's integration; compare it with texts, numbers, true "
                "and false only"
            )
        return [
            SpecialChars.WILDCARD_MULTI + (before + key + "=" + val + after) + SpecialChars.WILDCARD_MULTI
            for before in ("{", " ")
            for after in (",", "}")
        ]


def cloudtrail_elasticsearch(index: str = "logs-aws.cloudtrail-*") -> ProcessingPipeline:
    """Build the pipeline for `keywatch_elasticsearch` and `keywatch_lucene`.

    :param index: the data streams, or a pattern of them, that hold CloudTrail.
    """
    table = field_table(__file__)
    texts = {name: entry for name, entry in table.items() if isinstance(entry, dict)}
    return cloudtrail_pipeline(
        "cloudtrail_elasticsearch",
        backends=["keywatch_elasticsearch", "keywatch_lucene"],
        mapping={name: texts[name]["field"] if name in texts else entry for name, entry in table.items()},
        transformations=[MatchInJavaText({name: entry["key"] for name, entry in texts.items()})],
        state={"index": index},
    )
