"""Handshakes with openssl: versions, chains, names, ALPN, for clients and servers, by STARTTLS and direct."""

import re
import subprocess

from ..check import Skip, check, expect

NEEDS = ["openssl"]


def handshake(lab, address, port, domain, *options):
    """Runs `openssl s_client` and returns what it printed."""
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    done = subprocess.run(
        [
            "openssl", "s_client", "-connect", host, "-servername", domain, "-verify_hostname", domain,
            "-CAfile", str(lab.authority.certificate), *options,
        ],
        input=b"", capture_output=True, timeout=30, env=lab.environment(),
    )  # fmt: skip
    return (done.stdout + done.stderr).decode(errors="replace")


def good(output, version=None):
    problem = output.strip()[-400:]
    expect("Verify return code: 0 (ok)" in output, f"the chain or the name is not good: {problem}")
    if version:
        expect(re.search(rf"(New, |Protocol *: ){version}", output), f"it is not {version}: {problem}")


CLIENT = ("-starttls", "xmpp", "-xmpphost")
SERVER = ("-starttls", "xmpp-server", "-xmpphost")


@check("tls-c2s-starttls-1.2", 5222, CLIENT, "-tls1_2", "TLSv1.2", needs=NEEDS)
@check("tls-c2s-starttls-1.3", 5222, CLIENT, "-tls1_3", "TLSv1.3", needs=NEEDS)
@check("tls-c2s-direct-1.2", 5223, (), "-tls1_2", "TLSv1.2", needs=NEEDS)
@check("tls-c2s-direct-1.3", 5223, (), "-tls1_3", "TLSv1.3", needs=NEEDS)
@check("tls-s2s-starttls-1.2", 5269, SERVER, "-tls1_2", "TLSv1.2", needs=NEEDS)
@check("tls-s2s-starttls-1.3", 5269, SERVER, "-tls1_3", "TLSv1.3", needs=NEEDS)
@check("tls-s2s-direct-1.2", 5270, (), "-tls1_2", "TLSv1.2", needs=NEEDS)
@check("tls-s2s-direct-1.3", 5270, (), "-tls1_3", "TLSv1.3", needs=NEEDS)
def version(lab, port, starttls, option, name):
    words = (*starttls, "stone.lab") if starttls else ()
    good(handshake(lab, lab.strict.address, port, "stone.lab", *words, option), name)


@check("tls-c2s-starttls-1.1-refused", 5222, CLIENT, needs=NEEDS)
@check("tls-c2s-direct-1.1-refused", 5223, (), needs=NEEDS)
@check("tls-s2s-starttls-1.1-refused", 5269, SERVER, needs=NEEDS)
def old_version(lab, port, starttls):
    words = (*starttls, "stone.lab") if starttls else ()
    output = handshake(
        lab, lab.strict.address, port, "stone.lab", *words, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"
    )
    # It must be the server that refuses, by its alert, not the client that cannot.
    refused = any(alert in output for alert in ("alert protocol version", "alert handshake failure"))
    expect(refused, f"no such refusal: {output.strip()[-400:]}")


@check("tls-c2s-direct-alpn", 5223, "xmpp-client", needs=NEEDS)
@check("tls-s2s-direct-alpn", 5270, "xmpp-server", needs=NEEDS)
def alpn(lab, port, protocol):
    output = handshake(lab, lab.strict.address, port, "stone.lab", "-alpn", protocol)
    if lab.kind == "prosody" and "No ALPN negotiated" in output:
        raise Skip("Prosody 0.12 does not choose a protocol by ALPN")
    good(output)
    expect(f"ALPN protocol: {protocol}" in output, f"not chosen: {output.strip()[-400:]}")


@check("tls-c2s-direct-without-alpn", needs=NEEDS)
def without_alpn(lab):
    # XEP-0368 §2: ALPN is for servers that share a port, and not every client sends it.
    good(handshake(lab, lab.strict.address, 5223, "stone.lab"))


@check("tls-certificate-by-sni", 5223, (), needs=NEEDS)
@check("tls-certificate-by-stream-to", 5222, CLIENT, needs=NEEDS)
@check("tls-s2s-certificate-by-stream-to", 5269, SERVER, needs=NEEDS)
def second_domain(lab, port, starttls):
    words = (*starttls, "stone2.lab") if starttls else ()
    if lab.kind == "prosody" and not starttls:
        raise Skip("Prosody 0.12 has one certificate for its direct TLS ports when it is named in the file")
    good(handshake(lab, lab.strict.address, port, "stone2.lab", *words))


@check("tls-certificate-by-stream-to-without-sni", needs=NEEDS)
def without_sni(lab):
    output = handshake_without_name(lab, lab.strict.address, 5222, "stone2.lab")
    good(output)


def handshake_without_name(lab, address, port, domain):
    done = subprocess.run(
        [
            "openssl", "s_client", "-connect", f"{address}:{port}", "-noservername", "-verify_hostname", domain,
            "-CAfile", str(lab.authority.certificate), "-starttls", "xmpp", "-xmpphost", domain,
        ],
        input=b"", capture_output=True, timeout=30, env=lab.environment(),
    )  # fmt: skip
    return (done.stdout + done.stderr).decode(errors="replace")


@check("tls-c2s-ipv6", needs=NEEDS)
def ipv6(lab):
    good(handshake(lab, lab.strict.settings.addresses[1], 5222, "stone.lab", *CLIENT, "stone.lab"))
