"""Java programs of the tests, with what they need from Maven Central."""

from __future__ import annotations

import os
from pathlib import Path

from engines import programs

#: For programs that run for seconds, of which the JVM's second compiler would take half.
_SHORT = {
    "JAVA_TOOL_OPTIONS": f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


def missing() -> list[str]:
    """Return the programs that are needed and that are not there."""
    return programs.missing("java", "javac", "mvn")


def parse(source: Path, queries: list[str], folder: Path) -> list[str]:
    """Parse queries with the program of a folder; return what is wrong with each, an empty text for nothing."""
    classes = build(source, source.name)
    paths = []
    for number, query in enumerate(queries):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(query, encoding="utf-8")
    command = ["java", "-cp", f"{classes}:{classes.parent / 'lib'}/*", "Parse", *map(str, paths)]
    return programs.run(command, environment=_SHORT).splitlines()


def build(source: Path, name: str, javac: str = "javac") -> Path:
    """Bring the jars of a folder's pom.xml and compile its one Java file, once for each version of both.

    :param javac: the compiler, if it is not that on the PATH.
    :return: the folder of the classes; the jars are in `lib` beside it.
    """
    sources = [source / "pom.xml", *source.rglob("*.java")]
    folder = programs.folder_for(name, sources)
    classes = folder / "classes"
    with programs.building():
        if not classes.exists():
            where = [f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime"]
            mvn = ["mvn", "-q", "-B", "-f", str(source / "pom.xml"), "dependency:copy-dependencies", *where]
            programs.run(mvn, environment=_SHORT)
            partial = folder / "classes.partial"
            compiler = [javac, "-nowarn", "-d", str(partial), "-cp", f"{folder / 'lib'}/*", str(sources[-1])]
            programs.run(compiler, environment=_SHORT)
            partial.rename(classes)
    return classes
