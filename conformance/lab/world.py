"""Who lives in the lab: the servers under test, the peers, and what DNS says about them."""

import os
from pathlib import Path

from .certificates import SERVER_ONLY, Authority
from .dns import XMPP_CLIENT, XMPP_SERVER, XMPPS_SERVER, Zone
from .process import Processes
from .prosody import Prosody
from .server import Settings
from .stonechat import Stonechat

IPV6 = ("fd00:1ab::11", "fd00:1ab::34")

# Domains of the peer `dns`, each with another way to be found; see `_variations`.
VARIATIONS = ("ports.lab", "failover.lab", "alias.lab", "bare.lab", "sixonly.lab", "xmpps.lab", "mixed.lab")


class Lab:
    """The running lab, as the checks see it."""

    def __init__(self, state: Path, kind: str, binary, tokio_client, missing):
        self.state = state
        self.kind = kind
        self.binary = binary
        self.tokio_client = tokio_client
        self.missing = missing
        self.chosen = []  # the names of the checks of this run
        self.processes = Processes(state / "logs")
        self.authority = Authority(state / "certificates")
        self.servers = {}
        self.peers = {}

    # The servers under test.
    @property
    def strict(self):
        """stone.lab, stone2.lab and stone-xmpps.lab: valid certificates, closed registration, the default policy."""
        return self.servers["strict"]

    @property
    def lax(self):
        """lax.lab: self-signed, accepts dialback over TLS, open registration."""
        return self.servers["lax"]

    @property
    def plain(self):
        """plain.lab: also federates without TLS."""
        return self.servers["plain"]

    def _settings_under_test(self):
        issue = self.authority.issue
        # Prosody shows the main domain's certificate on its ports for direct TLS, so that one has both names.
        stone = issue("stone", ["stone.lab", "stone-xmpps.lab"])
        yield Settings(
            "strict",
            ("127.0.1.1", IPV6[0]),
            {
                "stone.lab": stone,
                "stone2.lab": issue("stone2", ["stone2.lab"], SERVER_ONLY),
                "stone-xmpps.lab": stone,
            },
            under_test=True,
            services={"rooms.stone.lab": "muc"},
        )
        yield Settings(
            "lax",
            ("127.0.1.2",),
            {"lax.lab": self.authority.self_signed("lax", ["lax.lab"])},
            valid_certificates=False,
            open_registration=True,
            under_test=True,
            services={"rooms.lax.lab": "muc", "pubsub.lax.lab": "pubsub"},
            extra={"own_resolver": True},
        )
        yield Settings(
            "plain",
            ("127.0.1.3",),
            {"plain.lab": issue("plain", ["plain.lab"])},
            valid_certificates=False,
            plaintext=True,
            under_test=True,
        )

    def _settings_of_peers(self):
        issue = self.authority.issue
        yield Settings(
            "external",
            ("127.0.3.1",),
            {"external.lab": issue("external", ["external.lab", "push.external.lab"])},
            components={"push.external.lab": "secret of the lab"},
            acknowledges=True,
        )
        yield Settings(
            "dialback",
            ("127.0.3.2",),
            {"dialback.lab": self.authority.self_signed("dialback", ["dialback.lab"])},
            valid_certificates=False,
        )
        yield Settings("plaintext", ("127.0.3.3",), {"plaintext.lab": None}, valid_certificates=False, plaintext=True)
        yield Settings(
            "serverauth", ("127.0.3.5",), {"serverauth.lab": issue("serverauth", ["serverauth.lab"], SERVER_ONLY)}
        )
        varied = issue("varied", list(VARIATIONS))
        domains = {domain: varied for domain in VARIATIONS}
        domains["wrongname.lab"] = issue("wrongname", ["somebody-else.lab"])
        yield Settings("dns", ("127.0.3.4", IPV6[1]), domains, s2s_ports=(5269, 15269))

    def _zone(self):
        zone = Zone()
        for domain, address in (
            ("stone.lab", "127.0.1.1"), ("stone2.lab", "127.0.1.1"), ("lax.lab", "127.0.1.2"),
            ("plain.lab", "127.0.1.3"), ("external.lab", "127.0.3.1"), ("dialback.lab", "127.0.3.2"),
            ("serverauth.lab", "127.0.3.5"), ("wrongname.lab", "127.0.3.4"), ("push.external.lab", "127.0.3.1"),
        ):  # fmt: skip
            zone.standard(domain, address)
        zone.standard("plaintext.lab", "127.0.3.3", direct_tls=False)
        # Reached by direct TLS only: the port of `_xmpp-server` is not even published.
        zone.address("stone-xmpps.lab", "127.0.1.1")
        zone.service(XMPP_CLIENT, "stone-xmpps.lab", "stone-xmpps.lab", 5222)
        zone.service(XMPPS_SERVER, "stone-xmpps.lab", "stone-xmpps.lab", 5270)
        zone.no_service(XMPP_SERVER, "stone-xmpps.lab")
        self._variations(zone)
        return zone

    def _variations(self, zone):
        peer = "127.0.3.4"
        zone.address("peer.varied.lab", peer)
        zone.address("dead.varied.lab", "127.0.9.9")
        # SRV on another port; the domain's own address is dead.
        zone.address("ports.lab", "127.0.9.9")
        zone.service(XMPP_SERVER, "ports.lab", "peer.varied.lab", 15269)
        # The first priority is dead, the second alive.
        zone.service(XMPP_SERVER, "failover.lab", "dead.varied.lab", 5269, priority=10)
        zone.service(XMPP_SERVER, "failover.lab", "peer.varied.lab", 5269, priority=20)
        # No SRV: the domain itself is an alias of a host with an address.
        zone.alias("alias.lab", "peer.varied.lab")
        # No SRV: only an address, port 5269.
        zone.address("bare.lab", peer)
        # IPv6 only, behind SRV.
        zone.address("sixonly.lab", IPV6[1])
        zone.service(XMPP_SERVER, "sixonly.lab", "sixonly.lab", 5269)
        # Direct TLS only.
        zone.address("xmpps.lab", "127.0.9.9")
        zone.service(XMPPS_SERVER, "xmpps.lab", "peer.varied.lab", 5270)
        # Both, the direct one dead and preferred: STARTTLS must be reached all the same.
        zone.service(XMPPS_SERVER, "mixed.lab", "dead.varied.lab", 5270, priority=5)
        zone.service(XMPP_SERVER, "mixed.lab", "peer.varied.lab", 5269, priority=10)
        # Decidedly no service, though an address exists.
        zone.address("noservice.lab", peer)
        zone.no_service(XMPP_SERVER, "noservice.lab")
        zone.no_service(XMPPS_SERVER, "noservice.lab")
        # An address where nothing listens.
        zone.address("refused.lab", "127.0.9.9")

    def start(self):
        """Starts DNS, the servers under test and the peers."""
        self._zone().start(self.processes, self.state)
        under_test = Prosody if self.kind == "prosody" else Stonechat
        if "prosody" not in self.missing:
            for settings in self._settings_of_peers():
                self.peers[settings.name] = Prosody(settings, self)
        for settings in self._settings_under_test():
            self.servers[settings.name] = under_test(settings, self)
        for server in (*self.peers.values(), *self.servers.values()):
            server.configure()
            server.start()

    def environment(self):
        """For client processes: the lab's trust, and no settings of the machine that would change it."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.state), "LANG": "C.UTF-8"}
        return dict(kept, SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt", RUST_LOG=os.environ.get("RUST_LOG", ""))
