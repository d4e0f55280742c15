"""The lab's DNS: dnsmasq on 127.0.0.53 with address and SRV records, and nothing from outside.

The top-level domain is `.lab`: libunbound, with which Prosody resolves, answers `.test` by itself.
"""

from pathlib import Path

from .namespace import RESOLVER
from .process import wait_for_port

XMPP_CLIENT = "_xmpp-client._tcp"
XMPPS_CLIENT = "_xmpps-client._tcp"
XMPP_SERVER = "_xmpp-server._tcp"
XMPPS_SERVER = "_xmpps-server._tcp"


class Zone:
    """Records, in the words of dnsmasq's configuration."""

    def __init__(self):
        self.lines = []

    def address(self, name, *addresses):
        self.lines.append(f"host-record={name},{','.join(addresses)}")

    def service(self, service, domain, target, port, priority=0, weight=0):
        self.lines.append(f"srv-host={service}.{domain},{target},{port},{priority},{weight}")

    def no_service(self, service, domain):
        """A target of ".": RFC 2782, the service is decidedly not available."""
        self.lines.append(f"srv-host={service}.{domain}")

    def alias(self, name, target):
        self.lines.append(f"cname={name},{target}")

    def standard(self, domain, address, direct_tls=True):
        """What a well-kept domain publishes: an address and the SRV records of its ports."""
        self.address(domain, address)
        self.service(XMPP_CLIENT, domain, domain, 5222)
        self.service(XMPP_SERVER, domain, domain, 5269)
        if direct_tls:
            self.service(XMPPS_CLIENT, domain, domain, 5223)

    def start(self, processes, folder: Path):
        """Starts dnsmasq with the records."""
        configuration = folder / "dnsmasq.conf"
        fixed = [
            "keep-in-foreground", "user=root", f"listen-address={RESOLVER}", "bind-interfaces", "no-resolv", "no-hosts",
            "local=/lab/", "cache-size=0", "log-queries", "log-facility=-", "pid-file=", "local-ttl=1",
        ]  # fmt: skip
        configuration.write_text("\n".join(fixed + self.lines) + "\n")
        process = processes.start("dnsmasq", ["dnsmasq", f"--conf-file={configuration}"])
        wait_for_port(RESOLVER, 53, process)
