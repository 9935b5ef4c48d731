"""The doctor's findings on this machine, and on stores that do not work."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.allotment import machine_bytes
from pipeline.errors import ResourceError


def test_this_machine_with_a_store(tmp_path: Path) -> None:
    stream = io.StringIO()
    assert doctor.examine(str(tmp_path / "store"), stream) == 0
    lines = stream.getvalue().splitlines()
    assert all(line[:4] in ("ok  ", "warn") for line in lines)
    for name in (
        "python",
        "numpy",
        "ray",
        "cpu",
        "memory",
        "kernel cache",
        "temporary files",
        "open files",
        "store",
    ):
        assert any(line[6:].startswith(f"{name} ") for line in lines), name
    assert not [file for file in (tmp_path / "store").rglob("*") if file.is_file()]


def test_a_store_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    stream = io.StringIO()
    with pytest.raises(ResourceError, match="not fit for a run: store"):
        doctor.examine(str(tmp_path / "file"), stream)
    assert "fail  store" in stream.getvalue()


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"no-such-package": "gpu"})
    finding = list(doctor.packages())[-1]
    assert (finding.status, finding.text) == (
        "warn",
        "not installed; pip install 'tamis[gpu]' if you need it",
    )


def test_little_disk_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 1 << 62)
    assert doctor._writable(tmp_path, "x")[0] == "warn"


def test_a_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    status, text = doctor._writable(tmp_path / "file" / "below", "set TMPDIR")
    assert status == "fail"
    assert text.endswith("; set TMPDIR")


def test_memory_is_not_more_than_the_machine_has() -> None:
    memory = machine_bytes()
    assert memory is not None
    assert 0 < memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
