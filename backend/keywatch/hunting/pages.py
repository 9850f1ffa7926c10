"""What the pages share: templates that escape all that is put into them."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from keywatch.words import counted


def template(name: str) -> Template:
    """Return a template of this folder."""
    environment = Environment(
        loader=PackageLoader("keywatch.hunting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template(name)
