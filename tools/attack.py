"""Write the backends' table of ATT&CK's names from a STIX bundle that MITRE publishes.

    make attack SOURCE=enterprise-attack-19.2.json

The bundles of Enterprise ATT&CK are in github.com/mitre-attack/attack-stix-data, one a version. The table is
backend/sigma/backends/keywatch/attack_<major version>.json; the converter reads it and asks no network.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).parents[1] / "backend/sigma/backends/keywatch"
#: What MITRE's terms of use ask to stand beside its names (attack.mitre.org/resources/legal-and-branding/terms-of-use).
NOTICE = (
    "© {} The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation."
)


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", help="Where the bundle is from, for the head of the table; default: its name and SHA-256.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=FOLDER, help="Folder of the table.")
def main(bundle: Path, source: str | None, out: Path) -> None:
    """Write the table of the names in BUNDLE."""
    content = bundle.read_bytes()
    source = source or f"{bundle.name}, SHA-256 {hashlib.sha256(content).hexdigest()}"
    try:
        table = names(json.loads(content)["objects"], source)
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"{bundle}: no STIX bundle of Enterprise ATT&CK as github.com/mitre-attack/attack-stix-data has them "
            f"({type(error).__name__}: {error})"
        ) from error
    path = out / f"attack_{table['version'].split('.')[0]}.json"
    path.write_text(_lines(table), encoding="utf-8")
    click.echo(f"{path}: {', '.join(f'{len(table[key])} {key}' for key in ('tactics', 'techniques', 'revoked'))}")


def names(objects: list[dict[str, Any]], source: str) -> dict[str, Any]:
    """Return the table of what is in a bundle.

    :param objects: STIX objects.
    :param source: where they are from.
    :return: version, source and notice; tactics by the short name that a tag has; techniques, deprecated ones too, by
        ID; and for each revoked ID the one that stands for it now.
    :raises ValueError: for a bundle without a version, without tactics or without techniques.
    """
    collections = [item for item in objects if item["type"] == "x-mitre-collection"]
    if len(collections) != 1:
        raise ValueError(f"{len(collections)} objects x-mitre-collection, which has the version; there should be one")
    patterns = [item for item in objects if item["type"] == "attack-pattern"]
    identifiers = {item["id"]: _identifier(item) for item in patterns}
    now = {
        item["source_ref"]: item["target_ref"]
        for item in objects
        if item["type"] == "relationship" and item["relationship_type"] == "revoked-by"
        if item["source_ref"] in identifiers
    }
    table = {
        "version": collections[0]["x_mitre_version"],
        "source": source,
        "notice": NOTICE.format(collections[0]["modified"][:4]),
        "tactics": {
            item["x_mitre_shortname"]: {"id": _identifier(item), "name": item["name"]}
            for item in objects
            if item["type"] == "x-mitre-tactic" and not item.get("revoked") and not item.get("x_mitre_deprecated")
        },
        "techniques": {
            identifiers[item["id"]]: {
                "name": item["name"],
                "tactics": sorted({phase["phase_name"] for phase in item.get("kill_chain_phases", [])}),
            }
            for item in patterns
            if not item.get("revoked")
        },
        "revoked": {
            identifiers[item["id"]]: identifiers[_successor(item["id"], now)]
            for item in patterns
            if item.get("revoked") and item["id"] in now
        },
    }
    if not table["tactics"] or not table["techniques"]:
        raise ValueError("no tactics, or no techniques")
    return table


def _identifier(item: dict[str, Any]) -> str:
    """Return ATT&CK's own ID of an object."""
    [identifier] = [
        reference["external_id"]
        for reference in item["external_references"]
        if reference["source_name"] == "mitre-attack"
    ]
    return str(identifier)


def _successor(identifier: str, now: dict[str, str]) -> str:
    """Follow what was revoked, and what has been revoked since, to what stands for it now."""
    passed = set()
    while identifier in now:
        if identifier in passed:
            raise ValueError(f"{identifier} is revoked by itself")
        passed.add(identifier)
        identifier = now[identifier]
    return identifier


def _lines(table: dict[str, Any]) -> str:
    """Write a table with a line for each name, sorted, so that a diff of two versions can be read."""
    parts = [
        f"{json.dumps(key)}: {json.dumps(table[key], ensure_ascii=False)}" for key in ("version", "source", "notice")
    ]
    for key in ("tactics", "techniques", "revoked"):
        entries = ",\n".join(
            f"  {json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}"
            for name, entry in sorted(table[key].items())
        )
        parts.append(f"{json.dumps(key)}: {{\n{entries}\n}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
