"""The lab's certificate authority, and certificates from it or signed by themselves.

`BOTH` is what peers of 2022 to 2024 carry; `SERVER_ONLY` is all that public authorities issue since 2026.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

BOTH = "serverAuth,clientAuth"
SERVER_ONLY = "serverAuth"


@dataclass(frozen=True)
class Certificate:
    """PEM files of a chain and its key."""

    chain: Path
    key: Path
    names: tuple
    self_signed: bool = False


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Issues certificates into one folder, readable by the servers' own users."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.certificate = folder / "ca.pem"
        self.key = folder / "ca.key"
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30,
            "-subj", "/CN=Conformance lab CA", "-keyout", self.key, "-out", self.certificate,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def _names(self, names):
        return "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)

    def issue(self, label, names, usages=BOTH):
        """A certificate of this authority for DNS names."""
        key, request, chain, extensions = (
            self.folder / f"{label}{end}" for end in (".key", ".csr", ".pem", ".ext")
        )
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request,
        )  # fmt: skip
        extensions.write_text(
            f"{self._names(names)}\nextendedKeyUsage={usages}\nbasicConstraints=CA:FALSE\n"
            "keyUsage=critical,digitalSignature\n"
        )
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
            "-days", 20, "-extfile", extensions, "-out", chain,
        )  # fmt: skip
        return self._published(chain, key, names)

    def self_signed(self, label, names):
        """A certificate that nobody vouches for."""
        key, chain = self.folder / f"{label}.key", self.folder / f"{label}.pem"
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 20,
            "-subj", f"/CN={names[0]}", "-keyout", key, "-out", chain, "-addext", self._names(names),
            "-addext", f"extendedKeyUsage={BOTH}", "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        return self._published(chain, key, names, self_signed=True)

    def _published(self, chain, key, names, self_signed=False):
        # The folder exists for one run, inside one lab: Prosody's own user must read its key.
        key.chmod(0o644)
        chain.chmod(0o644)
        return Certificate(chain, key, tuple(names), self_signed)
