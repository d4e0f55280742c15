"""Installs what the run needs, outside the lab's network.

Debian's packages give the peer (Prosody), the lab's DNS and two clients; PyPI gives slixmpp; cargo builds the
tokio-xmpp client and the server. Nothing that apt installs may start: a `policy-rc.d` forbids it meanwhile.
What cannot be had is remembered with its reason, and the checks that need it say so.
"""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from . import paths

# Each tool: what shows that it is there, and the packages that bring it.
APT = {
    "prosody": ("/usr/bin/prosody", ["prosody", "lua-unbound", "lua-dbi-sqlite3"]),
    "dnsmasq": ("/usr/sbin/dnsmasq", ["dnsmasq-base"]),
    "openssl": ("/usr/bin/openssl", ["openssl", "ca-certificates"]),
    "ip": ("/usr/sbin/ip", ["iproute2"]),
    "setpriv": ("/usr/bin/setpriv", ["util-linux"]),
    "venv": ("/usr/share/python-wheels", ["python3", "python3-venv"]),
    "go-sendxmpp": ("/usr/bin/go-sendxmpp", ["go-sendxmpp"]),
    "nbxmpp": (
        "/usr/lib/python3/dist-packages/nbxmpp/client.py",
        ["python3-nbxmpp", "python3-gi", "gir1.2-glib-2.0", "gir1.2-soup-3.0", "glib-networking"],
    ),
}
SLIXMPP = "slixmpp==1.17.0"
POLICY = Path("/usr/sbin/policy-rc.d")


@contextmanager
def services_stay_stopped():
    """Forbids package scripts to start services, and puts the former policy back."""
    former = POLICY.read_bytes() if POLICY.exists() else None
    mode = POLICY.stat().st_mode if former is not None else None
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        if former is None:
            POLICY.unlink(missing_ok=True)
        else:
            POLICY.write_bytes(former)
            POLICY.chmod(mode)


def quietly(command, log, **options):
    """Runs a command with its output in a log file; returns whether it succeeded."""
    with open(log, "ab") as output:
        output.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        return subprocess.run(command, stdout=output, stderr=output, **options).returncode == 0


def tail(log, lines=5):
    """The last lines of a log, as one string."""
    try:
        return " | ".join(Path(log).read_text(errors="replace").strip().splitlines()[-lines:])
    except OSError:
        return ""


def install_packages(missing):
    """Installs Debian packages; returns {tool: reason} of what could not be had."""
    wanted = {tool: packages for tool, (proof, packages) in APT.items() if not Path(proof).exists()}
    if not wanted:
        return
    if os.geteuid() != 0:
        missing.update({tool: "not installed, and only root can install it" for tool in wanted})
        return
    log = paths.WORK / "install.log"
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    print(f"installing {', '.join(sorted(wanted))}", flush=True)
    with services_stay_stopped():
        quietly(["apt-get", "update"], log, env=environment)
        command = ["apt-get", "install", "-y", "--no-install-recommends"]
        everything = sorted({package for packages in wanted.values() for package in packages})
        if not quietly(command + everything, log, env=environment):
            # One package that is not to be had must not take the others with it.
            for packages in wanted.values():
                quietly(command + packages, log, env=environment)
    for tool in wanted:
        if not Path(APT[tool][0]).exists():
            missing[tool] = f"apt could not install it: {tail(log, 2)}"


def install_slixmpp(missing):
    """Puts slixmpp into a virtual environment that also sees the system's packages (GLib bindings)."""
    python = paths.VENV / "bin" / "python3"
    log = paths.WORK / "install.log"
    probe = [str(python), "-c", f"import slixmpp; assert slixmpp.__version__ == '{SLIXMPP.split('==')[1]}'"]
    if python.exists() and subprocess.run(probe, capture_output=True).returncode == 0:
        return
    print("installing slixmpp", flush=True)
    made = quietly([paths.SYSTEM_PYTHON, "-m", "venv", "--clear", "--system-site-packages", str(paths.VENV)], log)
    if not (made and quietly([str(python), "-m", "pip", "install", "-q", SLIXMPP], log)):
        missing["slixmpp"] = f"pip could not install it: {tail(log, 2)}"


def cargo(arguments, directory, log, environment=None):
    """Runs cargo, where there is one."""
    executable = shutil.which("cargo") or str(Path.home() / ".cargo" / "bin" / "cargo")
    if not Path(executable).exists():
        return False
    return quietly([executable, *arguments], log, cwd=directory, env=environment or os.environ)


def build_tokio_client(missing):
    """Builds the tokio-xmpp client with its own lock file; returns its path."""
    log = paths.WORK / "tokio-client.log"
    target = paths.WORK / "tokio-target"
    log.unlink(missing_ok=True)
    print("building the tokio-xmpp client", flush=True)
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    if not cargo(["build", "--locked"], paths.TOKIO_CLIENT, log, environment):
        missing["tokio-xmpp"] = f"cargo could not build it: {tail(log)}"
    return target / "debug" / "conformance-tokio-client"


def build_server(missing):
    """Builds the server under test in release mode; returns its path."""
    log = paths.WORK / "server-build.log"
    log.unlink(missing_ok=True)
    print("building stonechat (release)", flush=True)
    if not cargo(["build", "--release", "--locked", "--bin", "stonechat"], paths.PROJECT, log):
        missing["stonechat"] = f"cargo could not build it: {tail(log)}"
    target = Path(os.environ.get("CARGO_TARGET_DIR", paths.PROJECT / "target"))
    return target / "release" / "stonechat"
