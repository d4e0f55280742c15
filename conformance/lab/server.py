"""What the lab wants of a server, in words that any server understands, and the accounts on it.

`prosody.py` and `stonechat.py` each turn `Settings` into a configuration and a process.
"""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from .certificates import Certificate

COMPONENT_PORT = 5347


@dataclass(frozen=True)
class Settings:
    """One server process.

    `domains` maps each domain to its certificate, or to None for a server without TLS; the first is the main one.
    `valid_certificates` asks for federation only with peers whose certificate is valid for their domain; without it
    dialback is accepted. `plaintext` also allows federation without TLS. `acknowledges` lets a peer count stanzas
    between servers (XEP-0198). `under_test` tells it from the peers.
    `services` are subdomains that Prosody serves itself ({name: module}), `components` those of programs ({name: secret}).
    """

    name: str
    addresses: tuple
    domains: dict[str, Certificate | None]
    valid_certificates: bool = True
    plaintext: bool = False
    open_registration: bool = False
    s2s_ports: tuple = (5269,)
    direct_tls: bool = True
    acknowledges: bool = False
    under_test: bool = False
    services: dict = field(default_factory=dict)
    components: dict = field(default_factory=dict)
    extra: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """A bare address with its password and the server that serves it."""

    jid: str
    password: str
    server: "Server"

    @property
    def local(self):
        return self.jid.split("@")[0]

    @property
    def domain(self):
        return self.jid.split("@")[1]


class Server:
    """A running server of the lab."""

    _numbers = itertools.count(1)

    def __init__(self, settings: Settings, lab):
        self.settings = settings
        self.lab = lab
        self.folder: Path = lab.state / settings.name
        self.folder.mkdir()
        self.process = None

    @property
    def domain(self):
        return next(iter(self.settings.domains))

    @property
    def address(self):
        return self.settings.addresses[0]

    def account(self, local="user", domain=None):
        """Makes a fresh account, so that no check sees what another left behind."""
        domain = domain or self.domain
        account = Account(f"{local}-{next(self._numbers)}@{domain}", f"pa55 wörd {local}", self)
        self.create(account)
        return account

    def configure(self):
        """Writes the configuration."""
        raise NotImplementedError

    def start(self):
        """Starts the process and waits until it accepts connections."""
        raise NotImplementedError

    def restart(self, kill=False):
        """Ends the process, by request or as a failure of power does, and starts it again."""
        if kill:
            self.process.kill()
        self.lab.processes.stop_one(self.process)
        self.start()

    def create(self, account):
        raise NotImplementedError
