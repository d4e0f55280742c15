"""The server under test: the real binary, its configuration file and its command line."""

import json
import subprocess

from .namespace import RESOLVER
from .process import wait_for_port
from .server import Server


def text(value):
    """A TOML value; JSON's strings and lists are TOML's."""
    return json.dumps(value if not hasattr(value, "__fspath__") else str(value), ensure_ascii=False)


def host_port(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Stonechat(Server):
    """One `stonechat serve`."""

    @property
    def log(self):
        return self.lab.processes.logs / f"{self.settings.name}.log"

    @property
    def configuration(self):
        return self.folder / "stonechat.toml"

    def _lines(self):
        settings = self.settings

        def listen(*ports):
            return text([host_port(address, port) for address in settings.addresses for port in ports])

        yield f"domains = {text(list(settings.domains))}"
        yield f"data_dir = {text(self.folder / 'data')}"
        yield "[listen]"
        yield f"c2s = {listen(5222)}"
        yield f"c2s_tls = {listen(5223)}"
        yield f"s2s = {listen(*settings.s2s_ports)}"
        yield f"s2s_tls = {listen(5270)}"
        yield "https = []"
        yield "http = []"
        yield "component = []"
        main, *others = settings.domains.items()
        yield "[tls]"
        yield f"cert = {text(main[1].chain)}"
        yield f"key = {text(main[1].key)}"
        for domain, certificate in others:
            yield f"[tls.domains.{text(domain)}]"
            yield f"cert = {text(certificate.chain)}"
            yield f"key = {text(certificate.key)}"
        yield "[s2s]"
        yield f"require_valid_certificate = {text(settings.valid_certificates)}"
        yield f"allow_plaintext = {text(settings.plaintext)}"
        # The lab is a network of its own.
        yield "allow_private = true"
        yield f"extra_roots = {text([str(self.lab.authority.certificate)])}"
        if settings.extra.get("own_resolver"):
            # The other servers take the system's, which is the lab's too: both ways are in use.
            yield f"resolver = {text(f'{RESOLVER}:53')}"
        yield "[registration]"
        yield f"mode = {text('open' if settings.open_registration else 'closed')}"
        if settings.open_registration:
            # A suite registers an account for each of its clients, faster than one address may.
            yield "[limits]"
            yield "enabled = false"

    def configure(self):
        self.configuration.write_text("\n".join(self._lines()) + "\n")

    def start(self):
        command = [str(self.lab.binary), "serve", "--config", str(self.configuration)]
        self.process = self.lab.processes.start(self.settings.name, command, cwd=self.folder)
        for address in self.settings.addresses:
            for port in (*self.settings.s2s_ports, 5222, 5223, 5270):
                wait_for_port(address, port, self.process)

    def create(self, account):
        command = [
            str(self.lab.binary), "user", "add", account.jid, "--password-stdin", "--config", str(self.configuration),
        ]  # fmt: skip
        done = subprocess.run(
            command, input=account.password + "\n", capture_output=True, text=True, cwd=self.folder, timeout=30
        )
        if done.returncode != 0:
            raise RuntimeError(f"stonechat user add: status {done.returncode}: {done.stdout}{done.stderr}")
