"""Certificates for tests, made with the openssl command: an authority, and a key and certificate signed by it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(folder: Path, command: str) -> None:
    """Runs `openssl COMMAND` in a directory."""
    subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, timeout=60, check=True)


def make(folder: Path, *, name: str = "relctl", san: str = "IP:127.0.0.1") -> Path:
    """ca.pem, cert.pem and key.pem in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "san").write_text(f"subjectAltName={san}")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    openssl(folder, f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN={name}-ca -days 2")
    openssl(folder, f"req {key} -keyout key.pem -out csr.pem -subj /CN={name}")
    openssl(folder, "x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile san")
    return folder
