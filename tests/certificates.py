"""Certificates for tests, made by the openssl command: an authority, and what it vouches for."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command")
        self._folder = folder
        self._name = name
        self._pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self._pair.key, "-out", self._pair.cert,
        )  # fmt: skip

    @property
    def cert(self) -> Path:
        return self._pair.cert

    def pair(self, name: str, *, hosts: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
        """A certificate for `name` at `hosts`, for servers and clients."""
        pair, request = (
            Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key"),
            self._folder / "request",
        )
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", pair.key, "-out", request,
        )  # fmt: skip
        extensions = self._folder / "extensions"
        extensions.write_text(f"subjectAltName={hosts}\n")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self._pair.cert, "-CAkey", self._pair.key, "-days", "2",
            "-CAcreateserial", "-extfile", extensions, "-out", pair.cert,
        )  # fmt: skip
        return pair


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
