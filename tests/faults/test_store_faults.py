"""Damaged, full and read-only stores and exports: refused by name or computed again, never just used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from whole_runs import corpus, digests, write_config, write_cut

from pipeline.cli import main
from pipeline.errors import ResourceError
from pipeline.export import placed
from pipeline.store import Store

DAG = """
    source: {path: in/*.parquet, text: text, id: id, shard_bytes: 1}
    seed: 7
    nodes:
      exact: {op: exact_dedup}
      fuzzy: {op: minhash_dedup, threshold: 0.8}
      long:  {op: length_filter, unit: words, min: 5}
      under: {op: undersample, by: domain, ratio: 0.5}
      order: {op: curriculum, difficulty: length, pacing: root}
    export: {path: out/, format: parquet, file_bytes: 4KB}
"""
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "gone": lambda data: None,
}
NAMED = re.compile(r"(/\S+/\.tamis/\S+?)(?: |:|;|$)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cut(tmp_path / "in", corpus(120), files=2, group=30)
    write_config(tmp_path, DAG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_of_each(store: Path) -> list[str]:
    """The first file of every kind: what folder depth and ending it has in which node."""
    kinds: dict[tuple[str, ...], str] = {}
    for path in sorted(p for p in store.rglob("*") if p.is_file() and p.parent.name != "tmp"):
        parts = path.relative_to(store).parts
        kind = (parts[0], parts[1] if parts[0] == "nodes" else "", str(len(parts)), path.suffix)
        kinds.setdefault(kind, str(path.relative_to(store)))
    return list(kinds.values())


def check_damage(folder: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After the damage a run gives the undisturbed bytes, at once or once what it names is deleted."""
    data = DAMAGES[damage]((folder / ".tamis" / name).read_bytes())
    if data is None:
        (folder / ".tamis" / name).unlink()
    else:
        (folder / ".tamis" / name).write_bytes(data)
    shutil.rmtree(folder / "out")
    code = main(["run", "c.yaml"])
    error = capsys.readouterr().err
    if code:
        assert code == 3, f"{damage} {name}: {code}\n{error}"
        assert "damaged" in error, f"{damage} {name}:\n{error}"
        node = "/".join(name.split("/")[:2])
        assert node in error, f"{damage} {name} is not named:\n{error}"
        target = folder / ".tamis" / (node if "delete the folder" in error else name)
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        shutil.rmtree(folder / "out", ignore_errors=True)
        assert main(["run", "c.yaml"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.slow
def test_every_kind_of_damaged_file_is_found(
    folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "c.yaml"]) == 0
    undisturbed = digests(folder, "out")
    shutil.copytree(folder / ".tamis", folder / "whole")
    wrong = []
    for name in one_of_each(folder / "whole"):
        try:
            check_damage(folder, name, damage, capsys)
            if digests(folder, "out") != undisturbed:
                wrong.append(f"{damage} {name}: other bytes")
        except AssertionError as error:
            wrong.append(str(error))
        shutil.rmtree(folder / ".tamis")
        shutil.rmtree(folder / "out", ignore_errors=True)
        shutil.copytree(folder / "whole", folder / ".tamis")
        assert main(["run", "c.yaml"]) == 0
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """small_disk(name, size) mounts a file system of so many bytes there."""
    mounted: list[Path] = []

    def mount(name: str, size: str) -> Path:
        (tmp_path / name).mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path / name)]
        if (
            os.getuid()
            or shutil.which("mount") is None
            or subprocess.run(command, capture_output=True).returncode
        ):
            pytest.skip("file systems cannot be mounted here")
        mounted.append(tmp_path / name)
        return mounted[-1]

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


@pytest.mark.parametrize(("place", "size"), [(".tamis", "64k"), (".tamis", "256k"), ("out", "4k")])
def test_a_full_disk_is_4_and_the_run_goes_on_once_there_is_space(
    folder: Path,
    small_disk: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    place: str,
    size: str,
) -> None:
    assert main(["run", "c.yaml"]) == 0
    undisturbed = digests(folder, "out")
    for name in (".tamis", "out"):
        shutil.rmtree(folder / name)
    disk = small_disk(place, size)
    capsys.readouterr()
    assert main(["run", "c.yaml"]) == 4
    error = capsys.readouterr().err
    assert str(disk) in error
    assert "space" in error
    assert "resume with: tamis run c.yaml" in error
    remount(disk, "size=64m")
    assert main(["run", "c.yaml"]) == 0
    assert digests(folder, "out") == undisturbed


@pytest.mark.parametrize(
    ("place", "what"), [(".tamis", "give another with --store"), ("out", "choose another")]
)
def test_a_read_only_folder_is_refused_before_the_run(
    folder: Path,
    small_disk: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    place: str,
    what: str,
) -> None:
    disk = small_disk(place, "64m")
    remount(disk, "ro")
    assert main(["run", "c.yaml"]) == 2
    error = capsys.readouterr().err
    assert str(disk) in error
    assert what in error
    remount(disk, "rw")
    assert main(["run", "c.yaml"]) == 0


def test_a_disk_that_turns_read_only_under_a_run_is_named(
    small_disk: Callable[[str, str], Path],
) -> None:
    disk = small_disk("disk", "1m")
    store = Store(str(disk))
    assert store.commit("nodes/n/0.json", b"{}")
    remount(disk, "ro")
    for write in (partial(store.commit, "nodes/n/1.json", b"{}"), partial(store.write, "runs/r/x", b"")):
        with pytest.raises(ResourceError, match=rf"cannot write to the store {disk} .*make it writable"):
            write()
    refused = pytest.raises(ResourceError, match=rf"cannot write part-0 to {disk} .*make it writable")
    with refused, placed(str(disk), "part-0") as temporary:
        Path(temporary).write_bytes(b"rows")
    remount(disk, "rw")
    assert store.commit("nodes/n/1.json", b"{}")
