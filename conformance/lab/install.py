"""Installs what the run needs, outside the lab's network.

Debian's packages give the peer (Prosody), the lab's DNS and three clients; PyPI gives slixmpp and an nbxmpp that knows
SASL2; cargo builds the tokio-xmpp client and the server. The test suites of slixmpp and aioxmpp are fetched as source
from PyPI and Debian, and kept between runs. Nothing that apt installs may start: a `policy-rc.d` forbids it meanwhile.
What cannot be had is remembered with its reason, and the checks that need it say so.
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from . import paths

# Each tool: what shows that it is there, and the packages that bring it.
APT = {
    "prosody": ("/usr/bin/prosody", ["prosody", "lua-unbound", "lua-dbi-sqlite3"]),
    # Push notifications, for Prosody in the server's place.
    "prosody-modules": ("/usr/lib/prosody/modules/mod_cloud_notify", ["prosody-modules"]),
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
    "aioxmpp": ("/usr/lib/python3/dist-packages/aioxmpp/node.py", ["python3-aioxmpp", "python3-pytest"]),
    # Unlike the standard library it exports keying material: channel binding by tls-exporter.
    "pyopenssl": ("/usr/lib/python3/dist-packages/OpenSSL/SSL.py", ["python3-openssl"]),
}
# What the virtual environment holds: module, version.
PYPI = (("slixmpp", "1.17.0"), ("nbxmpp", "7.4.0"))
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


def install_from_pypi(missing):
    """Puts slixmpp and nbxmpp into a virtual environment that also sees the system's packages (GLib, OpenSSL)."""
    python = paths.VENV / "bin" / "python3"
    log = paths.WORK / "install.log"
    wanted = [f"{name}=={version}" for name, version in PYPI]
    probe = f"import sys; from importlib.metadata import version; sys.exit(any(version(n) != v for n, v in {PYPI}))"
    if python.exists() and subprocess.run([str(python), "-c", probe], capture_output=True).returncode == 0:
        return
    print(f"installing {', '.join(wanted)}", flush=True)
    quietly([paths.SYSTEM_PYTHON, "-m", "venv", "--clear", "--system-site-packages", str(paths.VENV)], log)
    for (name, _), requirement in zip(PYPI, wanted):
        # What nbxmpp depends on came from Debian; PyPI's bindings to GLib would have to be compiled.
        options = ["--no-deps"] if name == "nbxmpp" else []
        if not quietly([str(python), "-m", "pip", "install", "-q", *options, requirement], log):
            missing["nbxmpp-7" if name == "nbxmpp" else name] = f"pip could not install it: {tail(log, 2)}"


def fetch_suites(missing):
    """Fetches the sources that hold the libraries' own test suites; they are never part of this project."""
    for suite, fetch in (("slixmpp", fetch_from_pypi), ("aioxmpp", fetch_from_debian)):
        if paths.suite(suite).exists():
            continue
        print(f"fetching the test suite of {suite}", flush=True)
        with tempfile.TemporaryDirectory(dir=paths.WORK) as folder:
            archives = fetch(Path(folder))
            if not archives:
                missing[f"suite-{suite}"] = f"its source could not be fetched: {tail(paths.WORK / 'install.log', 2)}"
                continue
            unpacked = Path(folder) / "unpacked"
            unpacked.mkdir()
            unpack = ["tar", "--no-same-owner", "-xf", str(archives[0]), "-C", str(unpacked)]
            quietly(unpack, paths.WORK / "install.log")
            # PyPI's archives hold one folder, Debian's of aioxmpp hold the tree itself.
            inside = list(unpacked.iterdir())
            paths.suite(suite).parent.mkdir(exist_ok=True)
            (inside[0] if len(inside) == 1 else unpacked).rename(paths.suite(suite))


def fetch_from_pypi(folder):
    command = ["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "slixmpp==1.17.0", "-d", str(folder)]
    quietly([str(paths.VENV / "bin" / "python3"), *command], paths.WORK / "install.log")
    return list(folder.glob("slixmpp-*.tar.gz"))


def fetch_from_debian(folder):
    """Debian's source package, by a list of sources that only this call sees; PyPI's archive has no tests."""
    ask = [
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Created-By: Packages", "Origin: Debian",
    ]  # fmt: skip
    found = subprocess.run(ask, capture_output=True, text=True).stdout.splitlines()
    places = "".join(f"deb-src {line}\n" for line in sorted(set(found)) if line.split()[1:] == ["bookworm", "main"])
    (folder / "sources.list").write_text(places)
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists", "Dir::Cache": folder / "cache", "APT::Sandbox::User": "root",
    }  # fmt: skip
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    log = paths.WORK / "install.log"
    quietly(["apt-get", *options, "update"], log)
    wanted = ["source", "--tar-only", "--download-only", "python-aioxmpp=0.13.3-1"]
    quietly(["apt-get", *options, *wanted], log, cwd=folder)
    return list(folder.glob("python-aioxmpp_*.orig.tar.*"))


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
