"""Prosody of Debian, as the peer, or in the place of the server under test (`--server prosody`)."""

import shutil
import subprocess

from . import paths
from .process import wait_for_port
from .server import COMPONENT_PORT, Server

MODULES = [
    "disco", "roster", "saslauth", "tls", "dialback", "private", "vcard", "version", "uptime", "time", "ping",
    "register", "lastactivity", "blocklist", "server_contact_info",
]  # fmt: skip
# A module of our own, for those of Debian that want a newer Prosody.
MODULE = paths.CONFORMANCE / "peers" / "mod_lab_newer.lua"
# What the server under test has and the peers do without.
MORE = [
    "mam",
    "smacks",
    "carbons",
    "csi",
    "csi_simple",
    "cloud_notify",
    "pep",
    "lab_newer",
    "sasl2",
    "sasl2_bind2",
    "sasl2_fast",
]


def quoted(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(values):
    return "{ " + "; ".join(str(v) if isinstance(v, int) else quoted(v) for v in values) + " }"


def truth(value):
    return "true" if value else "false"


class Prosody(Server):
    """One Prosody process, under its own user, in the foreground."""

    @property
    def log(self):
        return self.folder / "prosody.log"

    @property
    def configuration(self):
        return self.folder / "prosody.cfg.lua"

    def _lines(self):
        settings = self.settings
        has_tls = any(settings.domains.values())
        modules = MODULES if has_tls else [m for m in MODULES if m != "tls"]
        if settings.under_test:
            modules = modules + MORE
        elif settings.acknowledges:
            modules = modules + ["smacks"]
        yield f"modules_enabled = {listed(modules)}"
        yield f"plugin_paths = {listed([self.folder])}"
        yield f"data_path = {quoted(self.folder / 'data')}"
        yield f"pidfile = {quoted(self.folder / 'data' / 'prosody.pid')}"
        yield f"log = {{ debug = {quoted(self.log)} }}"
        yield f"interfaces = {listed(settings.addresses)}"
        yield 'authentication = "internal_hashed"'
        yield "c2s_ports = { 5222 }"
        yield f"s2s_ports = {listed(settings.s2s_ports)}"
        yield f"s2s_secure_auth = {truth(settings.valid_certificates)}"
        yield f"s2s_require_encryption = {truth(not settings.plaintext)}"
        yield f"c2s_require_encryption = {truth(has_tls)}"
        yield f"allow_unencrypted_plain_auth = {truth(not has_tls)}"
        yield f"allow_registration = {truth(settings.open_registration)}"
        yield "s2s_timeout = 20"
        yield 'contact_info = { admin = { "mailto:admin@example.org" } }'
        if settings.components:
            yield f"component_interfaces = {listed(settings.addresses)}"
            yield f"component_ports = {listed([COMPONENT_PORT])}"
        if has_tls and settings.direct_tls:
            yield "c2s_direct_tls_ports = { 5223 }"
            yield "s2s_direct_tls_ports = { 5270 }"
        first = next(iter(settings.domains.values()))
        if first:
            yield self._ssl(first)
        for domain, certificate in settings.domains.items():
            yield f"VirtualHost {quoted(domain)}"
            if certificate:
                yield "  " + self._ssl(certificate)
        for name, module in settings.services.items():
            yield f"Component {quoted(name)} {quoted(module)}"
        for name, secret in settings.components.items():
            yield f"Component {quoted(name)}"
            yield f"  component_secret = {quoted(secret)}"

    def _ssl(self, certificate):
        return f"ssl = {{ certificate = {quoted(certificate.chain)}; key = {quoted(certificate.key)} }}"

    def configure(self):
        shutil.copy(MODULE, self.folder)
        self.configuration.write_text("\n".join(self._lines()) + "\n")

    def start(self):
        (self.folder / "data").mkdir(exist_ok=True)
        subprocess.run(["chown", "-R", "prosody:prosody", str(self.folder)], check=True)
        command = ["prosody", "-F", "--config", str(self.configuration)]
        self.process = self.lab.processes.start(self.settings.name, command, user="prosody", cwd="/")
        for address in self.settings.addresses:
            wait_for_port(address, self.settings.s2s_ports[-1], self.process)
            wait_for_port(address, 5222, self.process)
            if any(self.settings.domains.values()) and self.settings.direct_tls:
                wait_for_port(address, 5223, self.process)

    def create(self, account):
        command = [
            "setpriv", "--reuid=prosody", "--regid=prosody", "--init-groups",
            "prosodyctl", "--config", str(self.configuration),
            "register", account.local, account.domain, account.password,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"prosodyctl register: {done.stdout}{done.stderr}")
