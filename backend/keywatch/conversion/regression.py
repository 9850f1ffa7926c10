"""SigmaHQ's `regression_data/`: for each rule of the pack, events that it has to match, and what says how many.

The form is that of sigma-specification, branch v2.2.0 at a5789968 (sigmahq/sigmahq-regression-convention.md), and of
what SigmaHQ/sigma runs since its pull request #6203 (regression_data/README.md at a8da5bad): samples of JSON, named by
the rule's id, in a folder that lies as the rule does. `keywatch regression` runs them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID, uuid5

from ruamel.yaml import YAML
from sigma.correlations import SigmaCorrelationTimespan
from sigma.pipelines.keywatch._pack import PACK, read_yaml

Event = dict[str, Any]
#: The key of a rule that says where its samples are described.
KEY = "regression_tests_path"
_FOLDER = PurePosixPath("regression_data")
#: The Regions that an account has without enabling any: the most that a threshold of Regions can ask for.
_REGIONS = (
    "us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1", "eu-central-1", "eu-north-1",
    "eu-west-1", "eu-west-2", "eu-west-3", "ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3",
    "ap-southeast-1", "ap-southeast-2",
)  # fmt: skip


def examples() -> dict[str, list[Event]]:
    """Read the example events of the pack, by the name of the rule that they match.

    The first of a rule stands in `cloudtrail.yaml`, and in `variations.yaml` what others have in place of it.
    """
    folder = PACK / "examples"
    variations = read_yaml(folder / "variations.yaml")
    return {
        name: [event, *(_again(event | other, number) for number, other in enumerate(variations.get(name, ()), 1))]
        for name, event in read_yaml(folder / "cloudtrail.yaml").items()
    }


def info_path(rule: Path) -> PurePosixPath:
    """Return where the samples of a rule are described, as the rule itself says it: from the repository's root."""
    return _FOLDER / rule.with_suffix("").as_posix() / "info.yml"


def regression(path: Path, rule: dict[str, Any], known: dict[str, list[Event]]) -> dict[Path, str]:
    """Return the files of a rule under `regression_data/`: its sample, and what describes it.

    :param path: of the rule, from the repository's root.
    :param known: the example events, by the names of the rules of single events.
    """
    correlation = rule.get("correlation")
    events = known[rule["name"]] if correlation is None else list(_raising(correlation, known))
    single = len(events) == 1
    sample = Path(info_path(path)).with_name(f"{rule['id']}.json")
    # SigmaHQ calls a sample `json` that is one object, and `ndjson` one that has an object a line.
    text = json.dumps(events[0], indent=4) if single else "\n".join(map(json.dumps, events))
    info = {
        "id": str(uuid5(UUID(rule["id"]), str(_FOLDER))),
        "description": f"Made-up events in the shape of CloudTrail's own records, for {rule['title']}",
        "date": rule.get("modified", rule["date"]),
        "author": rule["author"],
        "rule_metadata": [{"id": rule["id"], "title": rule["title"]}],
        "regression_tests_info": [
            {
                "name": "Positive Detection Test",
                "type": "json" if single else "ndjson",
                "provider": "AWS CloudTrail",
                "match_count": len(events) if correlation is None else 1,
                "path": sample.as_posix(),
            }
        ],
    }
    stream = io.StringIO()
    dumper = YAML()
    dumper.width = 1000
    dumper.indent(mapping=4, sequence=6, offset=4)
    dumper.dump(info, stream)
    return {Path(info_path(path)): stream.getvalue(), sample: f"{text}\n"}


def _raising(correlation: dict[str, Any], known: dict[str, list[Event]]) -> Iterator[Event]:
    """Yield the events that complete a correlation, all of one principal and well inside its timespan."""
    rules = correlation["rules"]
    condition = correlation.get("condition", {})
    count = condition.get("gte", len(rules))
    step = SigmaCorrelationTimespan(correlation["timespan"]).seconds // (2 * count)
    for number in range(count):
        event = known[rules[number % len(rules)]][0]
        time = datetime.fromisoformat(event["eventTime"]) + timedelta(seconds=step * number)
        event = _again(event, number) | {"eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ")}
        yield _with_another(event, condition["field"].split("."), number) if "field" in condition else event


def _again(event: Event, number: int) -> Event:
    """Return an event as another call of the same kind has it: with an id of its own."""
    return event | {key: f"{event[key][:-12]}{number:03}{event[key][-9:]}" for key in ("requestID", "eventID")}


def _with_another(event: Event, path: list[str], number: int) -> Event:
    """Return an event with another value in a field, that of its number."""
    key, *rest = path
    value = event[key]
    if rest:
        return event | {key: _with_another(value, rest, number)}
    return event | {key: _REGIONS[number] if key == "awsRegion" else f"{value}-{number}"}
