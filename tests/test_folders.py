"""The folders that conversions write into: what is there afterwards, and what is never touched."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sigma.pipelines.keywatch._pack import guides

from keywatch.conversion.manifest import alone_in, keep
from keywatch.conversion.targets import TARGETS
from packs import keywatch, one_rule, written


def test_rules_of_one_file_name_in_two_folders_are_both_written(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        written([one_rule({"eventName": f"Call{number}"}, title=f"Rule {number}", name=f"rule{number}")], folder)
    options = [option for folder in folders for option in ("--rules", folder)]
    result = keywatch("convert", "splunk", "--format", "spl", *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    texts = {path.name: path.read_text() for path in (tmp_path / "out").glob("[!.]*")}
    assert set(texts) == {"rules.spl", "rules_2.spl", "rules_3.spl"}
    assert all(f"Call{number}" in text for number, text in enumerate(texts[name] for name in sorted(texts)))
    assert result.stdout.splitlines() == [str(tmp_path / "out" / name) for name in sorted(texts)]


@pytest.mark.parametrize("out", [None, "out"])
def test_what_is_no_longer_written_is_removed_and_nothing_else(
    out: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(out or "build/athena")
    options = ["--out", out] if out else []
    assert keywatch("convert", "athena", *options).exit_code == 0
    assert keywatch("convert", "athena", "--format", "sql-lake", *options).exit_code == 0
    before = {path.name: path.read_text() for path in folder.glob("[!.]*")}
    (folder / "mine.sql").write_text("")
    (folder / "keywatch").mkdir()
    changed, gone = list(guides())[:2]
    (folder / f"{changed}.sql").write_text("changed by hand")
    off = tmp_path / "settings.yaml"
    off.write_text("\n".join(["rules:", *(f"    {name}: {{enabled: false}}" for name in (changed, gone))]))
    assert keywatch("convert", "athena", "--settings", off, *options).exit_code == 0
    left = {path.name: path.read_text() for path in folder.glob("[!.]*") if path.is_file()}
    assert left.pop("mine.sql") == ""
    assert left.pop(f"{changed}.sql") == "changed by hand"
    del before[f"{changed}.sql"], before[f"{gone}.sql"]
    assert left == before
    assert (folder / "keywatch").is_dir()


def test_a_run_in_which_nothing_converts_leaves_nothing(tmp_path: Path) -> None:
    good = written([one_rule({"eventName": "x"})], tmp_path)
    out = tmp_path / "out"
    assert keywatch("convert", "splunk", "--format", "app", "--rules", good, "--out", out).exit_code == 0
    (out / "keywatch" / "local").mkdir()
    (out / "keywatch" / "local" / "macros.conf").write_text("mine")
    written([one_rule({"nosuch": "x"})], tmp_path)
    assert keywatch("convert", "splunk", "--format", "app", "--rules", good, "--out", out).exit_code == 2
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(files) == [".keywatch.json", "keywatch/local/macros.conf"]


def test_two_conversions_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        result = keywatch("convert", "splunk", "--out", tmp_path)
    assert result.exit_code == 2
    assert result.output == f"{tmp_path}: another conversion writes into this folder; try again\n"


def test_an_app_has_no_more_of_what_an_older_one_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("build/splunk")
    old, mine = folder / "keywatch/old/old.conf", folder / "keywatch/local/mine.conf"
    for path in (old, mine):
        path.parent.mkdir(parents=True)
        path.write_text("old")
    keep(folder, "splunk app", {old.relative_to(folder).as_posix(): b"old"})
    names = keywatch("convert", "splunk", "--format", "app").stdout.splitlines()
    assert not old.parent.exists()
    there = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert there == {*names, str(mine), str(folder / ".keywatch.json")}


@pytest.mark.parametrize("target", TARGETS)
def test_a_folder_that_a_person_names_keeps_what_is_in_it(target: str, tmp_path: Path) -> None:
    for output_format in TARGETS[target].formats:
        folder = tmp_path / output_format
        assert keywatch("convert", target, "--format", output_format, "--out", folder).stdout
        for path in list(folder.rglob("[!.]*")):
            path.with_name(f"mine{''.join(path.suffixes)}").write_text("mine")
        assert keywatch("convert", target, "--format", output_format, "--out", folder).stdout
        mine = [path for path in folder.rglob("mine*") if path.is_file()]
        assert mine
        assert {path.read_text() for path in mine} == {"mine"}


def small_disk() -> None:
    """Let no file become larger than 4 kB, as a disk that is nearly full does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def on_a_small_disk(*arguments: str | Path) -> list[str]:
    """Run the program; return what it says, of a run that failed."""
    command = [sys.executable, "-m", "keywatch.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small_disk)
    assert done.returncode == 2
    return done.stderr.splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", TARGETS)
def test_on_a_full_disk_all_of_an_earlier_conversion_stays(target: str, tmp_path: Path) -> None:
    off = tmp_path / "settings.yaml"
    off.write_text(f"rules: {{{next(iter(guides()))}: {{enabled: false}}}}")
    out = tmp_path / "out"
    assert keywatch("convert", target, "--out", out).stdout
    before = contents(out)
    said = on_a_small_disk("convert", target, "--out", out, "--settings", off)
    assert contents(out) == before
    assert said[-1].startswith(f"{out}/")
    assert said[-1].endswith(": can't be written: File too large")
    assert said[-1].split(": ")[0] in {str(out / name) for name in before}


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_of_somebody_else_is_not_written_over(target: str, tmp_path: Path) -> None:
    output_format = next(iter(TARGETS[target].formats))
    names = keywatch("convert", target, "--format", output_format, "--out", tmp_path / "first").stdout.splitlines()
    mine = tmp_path / "out" / Path(names[-1]).relative_to(tmp_path / "first")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    result = keywatch("convert", target, "--format", output_format, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.output == (
        f"{mine}: there is such a file, which this conversion did not write; move it, or choose another folder\n"
    )
    assert contents(tmp_path / "out") == {mine.relative_to(tmp_path / "out").as_posix(): b"mine"}


@pytest.mark.parametrize("target", TARGETS)
def test_rules_named_like_a_bundle_or_like_each_other_are_all_written(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    stems = ("all", "All", "keywatch", "savedsearches", "terraform", "a\x1b[31m\nb", ".hidden", "x" * 240)
    for number, stem in enumerate(stems):
        path = written([one_rule({"eventName": f"Call{number}"}, title=f"Rule {number}", name=f"r{number}")], folder)
        path.rename(folder / f"{stem}.yml")
    for output_format in TARGETS[target].formats:
        out = tmp_path / output_format
        result = keywatch("convert", target, "--format", output_format, "--rules", folder, "--out", out)
        assert result.exit_code == 0, result.output
        there = contents(out)
        assert len({name.casefold() for name in there}) == len(there) == len(result.stdout.splitlines()) + 1
        if "app" not in output_format:  # which is packed
            everything = b"".join(there.values()).lower()
            assert all(f"call{number}".encode() in everything for number in range(len(stems)))
        assert "\x1b" not in result.output


def test_terminals_get_no_escapes_from_names(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31m\nb"
    result = keywatch("convert", "splunk", "--out", folder)
    assert result.stdout == f"{tmp_path}/a\\x1b[31m\\nb/savedsearches.conf\n"


def test_what_an_unfinished_conversion_left_is_known_to_the_next(tmp_path: Path) -> None:
    """The manifest comes first, so that what stands in it is replaced and removed, whether it was written or not."""
    keep(tmp_path, "athena sql", {"a.sql": b"a", "b.sql": b"b"})
    (tmp_path / "b.sql").write_bytes(b"of the run before")
    keep(tmp_path, "athena sql", {"b.sql": b"b"})
    assert contents(tmp_path).keys() == {".keywatch.json", "b.sql"}
    assert (tmp_path / "b.sql").read_bytes() == b"b"
