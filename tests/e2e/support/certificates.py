"""Certificates of a test, made by openssl in the test's own folder."""

import subprocess
from pathlib import Path

CLIENT = ("extendedKeyUsage=clientAuth",)
SERVER = ("extendedKeyUsage=serverAuth", "subjectAltName=IP:127.0.0.1")
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self._name = name
        self._key, self.certificate = self._folder / "ca-key.pem", self._folder / "ca.pem"
        own = ("-keyout", self._key, "-out", self.certificate)
        _openssl("req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}", *own)

    def issue(self, purpose: tuple[str, ...], name: str, trusts: Path | None = None) -> Path:
        """A folder as Docker's clients want it: `cert.pem`, `key.pem` and the CA they trust."""
        folder = self._folder / name
        folder.mkdir()
        request, extensions = folder / "request.pem", folder / "extensions.cnf"
        extensions.write_text("\n".join(purpose) + "\n")
        subject = ("-subj", f"/CN={name}")
        _openssl("req", "-new", *KEY, *subject, "-keyout", folder / "key.pem", "-out", request)
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2")
        wanted = ("-in", request, "-extfile", extensions, "-out", folder / "cert.pem")
        _openssl("x509", "-req", *signed, *wanted)
        (folder / "ca.pem").write_bytes((trusts or self.certificate).read_bytes())
        return folder


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"
