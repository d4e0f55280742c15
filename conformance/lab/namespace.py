"""The private network, mount and process namespaces of a run.

`enter` starts this program again inside them: own loopback with the standard ports free, own `/etc/resolv.conf`,
`/etc/hosts` and `/etc/ssl`, and a process tree that the kernel ends with its first process, whatever happens.
Nothing on the machine changes.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import paths

RESOLVER = "127.0.0.53"
# An address that is not loopback, or programs that resolve with AI_ADDRCONFIG (GLib) find nothing.
OUTER_ADDRESS = "192.0.2.1/32"


def enter(arguments, environment):
    """Runs `lab.inside` in new namespaces and returns its exit status."""
    python = paths.VENV / "bin" / "python3"
    command = [
        # Dies with this process, even when that is killed: and with it, everything in the namespaces.
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
        str(python if python.exists() else paths.SYSTEM_PYTHON), "-m", "lab.inside", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, cwd=paths.CONFORMANCE, env=environment).returncode


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def bind(source: Path, target: str):
    """Puts `source` in the place of `target` for this namespace only."""
    real = os.path.realpath(target)
    if not os.path.exists(real):
        return
    run("mount", "--bind", str(source), real)


def prepare(state: Path, ipv6_addresses):
    """Raises loopback and puts the lab's resolver and hosts files in place."""
    if os.getpid() != 1:
        sys.exit("the lab only runs in namespaces of its own")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", OUTER_ADDRESS, "dev", "lo")
    for address in ipv6_addresses:
        run("ip", "address", "add", f"{address}/128", "dev", "lo", "nodad")
    etc = state / "etc"
    etc.mkdir()
    files = {
        "resolv.conf": f"nameserver {RESOLVER}\noptions timeout:2 attempts:1\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    }
    for name, text in files.items():
        (etc / name).write_text(text)
        bind(etc / name, f"/etc/{name}")


def trust(state: Path, authority: Path):
    """Adds the lab's CA to what this namespace trusts: the bundle, and the folder that OpenSSL hashes."""
    copy = state / "ssl"
    shutil.copytree("/etc/ssl", copy, symlinks=True)
    certs = copy / "certs"
    pem = authority.read_text()
    with open(certs / "ca-certificates.crt", "a") as bundle:
        bundle.write(pem)
    (certs / "lab-ca.pem").write_text(pem)
    digest = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", str(authority)], check=True, capture_output=True, text=True
    ).stdout.strip()
    (certs / f"{digest}.0").unlink(missing_ok=True)
    (certs / f"{digest}.0").symlink_to("lab-ca.pem")
    bind(copy, "/etc/ssl")
