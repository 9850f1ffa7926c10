"""A Splunk app of the saved searches, with index and sourcetype in a macro. The same bytes for the same searches."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

from sigma.backends.keywatch.splunk.saved_search import conf_stanza

APP = "keywatch"
MACRO = "keywatch_cloudtrail"
_VERSION = "0.1.0"
_DESCRIPTION = "Detections of stolen AWS keys and abused Bedrock models in CloudTrail"
_README = f"""Keywatch: detections of stolen AWS keys and abused Bedrock models in CloudTrail.

Set the macro {MACRO} (Settings > Advanced search > Search macros) to the index and sourcetype of your CloudTrail.
The saved searches are enabled and run on their schedule. With Enterprise Security they raise notables and risk;
without it, triggered alerts.
"""
_MANIFEST = {
    "schemaVersion": "2.0.0",
    "info": {
        "title": "Keywatch",
        "id": {"group": None, "name": APP, "version": _VERSION},
        "author": [{"name": "Keywatch", "email": None, "company": None}],
        "description": _DESCRIPTION,
    },
    "supportedDeployments": ["_standalone", "_distributed", "_search_head_clustering"],
    "targetWorkloads": ["_search_heads"],
}
_CONF = {
    "install": {"is_configured": "0", "state": "enabled", "build": "1"},
    "package": {"id": APP, "check_for_updates": "0"},
    "id": {"name": APP, "version": _VERSION},
    "ui": {"is_visible": "0", "label": "Keywatch"},
    "launcher": {"author": "Keywatch", "description": _DESCRIPTION, "version": _VERSION},
}


def app_files(saved_searches: str, source: str) -> dict[str, bytes]:
    """Return the files of the app, by their paths.

    :param saved_searches: savedsearches.conf.
    :param source: the terms that find CloudTrail, which the macro stands for.
    """
    texts = {
        "default/app.conf": "\n".join(conf_stanza(name, settings) for name, settings in _CONF.items()),
        "default/macros.conf": conf_stanza(MACRO, {"definition": source, "iseval": "0"}),
        "default/savedsearches.conf": saved_searches,
        "metadata/default.meta": "[]\naccess = read : [ * ], write : [ admin, sc_admin ]\nexport = system\n",
        "README.txt": _README,
        "app.manifest": json.dumps(_MANIFEST, indent=2) + "\n",
    }
    return {f"{APP}/{name}": text.encode() for name, text in sorted(texts.items())}


def archive(files: dict[str, bytes]) -> bytes:
    """Pack files as Splunk installs an app."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as packed:
        for folder in sorted({name.rpartition("/")[0] for name in files}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            packed.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            packed.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)
