"""Java programs of the tests, with what they need from Maven Central."""

from __future__ import annotations

import os
from pathlib import Path

import programs
from programs import jdk

NAMES = ("trino", "elasticsearch", "opensearch_node", "opensearch_monitor", "pth")
#: Program → the version of Java that it needs at least, where that on the PATH may be too old.
NEWER = {"trino": 25}
#: For programs that run for seconds, of which the JVM's second compiler would take half.
_SHORT = {
    "JAVA_TOOL_OPTIONS": f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


def missing(name: str) -> list[str]:
    """Return what a program needs and that is not there."""
    if name not in NEWER:
        return programs.missing("java", "javac", "mvn")
    return [*programs.missing("mvn"), *([] if jdk.find(NEWER[name]) else [f"JDK {NEWER[name]}"])]


def java(name: str, tool: str = "java") -> str:
    """Return the JVM, or another tool of the JDK, that a program needs; nothing that it needs may be missing."""
    if name not in NEWER:
        return tool
    home = jdk.find(NEWER[name])
    assert home
    return str(home / "bin" / tool)


def parse(name: str, queries: list[str], folder: Path) -> list[str]:
    """Parse queries with a program; return what is wrong with each, an empty text for nothing."""
    classes = build(name)
    paths = []
    for number, query in enumerate(queries):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(query, encoding="utf-8")
    command = [java(name), "-cp", f"{classes}:{classes.parent / 'lib'}/*", "Parse", *map(str, paths)]
    return programs.run(command, environment=_SHORT).splitlines()


def build(name: str) -> Path:
    """Bring the jars of a program's pom.xml and compile its one Java file, once for each version of both.

    :return: the folder of the classes; the jars are in `lib` beside it.
    """
    source = programs.SOURCES / name
    sources = [source / "pom.xml", *source.rglob("*.java")]
    folder = programs.folder_for(name, sources)
    classes = folder / "classes"
    with programs.building("mvn"):
        if not classes.exists():
            where = [f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime"]
            mvn = ["mvn", "-q", "-B", "-f", str(source / "pom.xml"), "dependency:copy-dependencies", *where]
            programs.run(mvn, environment=_SHORT)
            partial = folder / "classes.partial"
            compiler = [java(name, "javac"), "-nowarn", "-d", str(partial), "-cp", f"{folder / 'lib'}/*"]
            programs.run([*compiler, str(sources[-1])], environment=_SHORT)
            partial.rename(classes)
    return classes
