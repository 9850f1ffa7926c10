"""Search nodes of the tests' own: real ones, from Maven Central."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_LOGGING = Path(__file__).with_name("log4j2.properties")

#: A node lives for minutes, and most queries run once: the quick compiler and collector halve what it costs.
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class Node:
    """A node to talk to."""

    def __init__(self, url: str) -> None:
        """Take the node's address."""
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; return the answer, or raise AssertionError with what the node says is wrong."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:2000]}") from error

    def fill(self, index: str, documents: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """Add documents to an index; return those that it does not take, as their fields are of other types there."""
        refused: list[dict[str, Any]] = []
        while batch := list(islice(documents, 10_000)):
            lines = [line for document in batch for line in (b'{"create":{}}', json.dumps(document).encode())]
            answer = self.call("POST", f"/{index}/_bulk", b"\n".join(lines) + b"\n")
            for document, item in zip(batch, answer["items"], strict=True):
                if "error" in item["create"]:
                    assert item["create"]["status"] == 400, item
                    refused.append(document)
        self.call("POST", f"/{index}/_refresh")
        return refused


@contextmanager
def started(classes: Path, main: str, marker: str, java: str = "java", options: Iterable[str] = ()) -> Iterator[str]:
    """Start a node on a free loopback port, yield its address, and stop it.

    Nothing is left behind, even if this process is killed: the node ends, and removes its folder, when its standard
    input is closed.

    :param classes: folder of the classes; the jars are in `lib` beside it.
    :param main: the class that starts the node.
    :param marker: what it prints in front of the address when it is ready.
    :param java: the JVM, if it is not that on the PATH.
    :param options: for the JVM, besides those that all nodes have.
    """
    with TemporaryDirectory(prefix="keywatch-node-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log"
        # The heap is small on purpose: what fits here fits on a real node.
        command = [java, "-Xms256m", "-Xmx1g", *_QUICK, f"-Dlog4j2.configurationFile={_LOGGING}", *options]
        command += ["-cp", f"{classes}:{classes.parent / 'lib'}/*", main, folder, "0"]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)
            try:
                yield _wait_for(process, log, f"{marker} ")
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait_for(process: subprocess.Popen[bytes], log: Path, marker: str) -> str:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith(marker):
                return line.removeprefix(marker)
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError(f"the node did not start: {log.read_text(errors='replace')[-2000:]}")
