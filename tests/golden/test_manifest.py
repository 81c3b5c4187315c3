"""The folder is what its manifest says, and every case in it is checked by some test."""

from __future__ import annotations

import hashlib


def test_files_are_those_of_the_manifest(golden) -> None:
    for entry in golden.manifest["files"]:
        content = (golden.folder / entry["file"]).read_bytes()
        assert len(content) == entry["bytes"], entry["file"]
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["file"]


def test_case_has_a_checker(any_case: str, checkers: dict[str, tuple[str, ...]]) -> None:
    checked = {name for names in checkers.values() for name in names}
    assert any_case in checked, (
        f"no test reproduces the case {any_case!r}; there are tests for {sorted(checked)}"
    )


def test_every_case_is_listed_with_its_files(golden) -> None:
    listed = {entry["file"] for entry in golden.manifest["files"]}
    assert {f"{case}.{kind}" for case in golden.cases for kind in ("json", "safetensors")} == listed
