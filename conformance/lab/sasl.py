"""SASL mechanisms of a scripted client: SCRAM (RFC 5802) with channel binding, and the hashed tokens of FAST (XEP-0484)."""

import base64
import hashlib
import hmac
import secrets

from .check import Failed, expect

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
# The bindings by which a HT mechanism's name ends (draft-schmaus-kitten-sasl-ht).
ENDINGS = {"EXPR": "tls-exporter", "ENDP": "tls-server-end-point", "NONE": None}


def encoded(data):
    return base64.b64encode(data).decode()


def decoded(text):
    return base64.b64decode(text or "", validate=True)


class Scram:
    """The client's side of SCRAM-*; `binding` is (type, data) and makes it a -PLUS."""

    def __init__(self, mechanism, account, binding=None):
        self.mechanism = mechanism
        self.hash = HASHES[mechanism.removesuffix("-PLUS")]
        self.password = account.password.encode()
        header = f"p={binding[0]},," if binding else "n,,"
        self.bound = header.encode() + (binding[1] if binding else b"")
        self.nonce = secrets.token_hex(12)
        name = account.local.replace("=", "=3D").replace(",", "=2C")
        self.bare = f"n={name},r={self.nonce}"
        self.first = (header + self.bare).encode()

    def _keyed(self, key, data):
        return hmac.digest(key, data, self.hash)

    def answer(self, challenge):
        """The client's final message for the server's first one."""
        self.told = fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        expect(fields["r"].startswith(self.nonce), "SCRAM: the server's nonce does not begin with the client's")
        salted = hashlib.pbkdf2_hmac(self.hash, self.password, decoded(fields["s"]), int(fields["i"]))
        client_key = self._keyed(salted, b"Client Key")
        unproved = f"c={encoded(self.bound)},r={fields['r']}"
        told = ",".join((self.bare, challenge.decode(), unproved)).encode()
        signature = self._keyed(hashlib.new(self.hash, client_key).digest(), told)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.verifier = self._keyed(self._keyed(salted, b"Server Key"), told)
        return f"{unproved},p={encoded(proof)}".encode()

    def verify(self, data):
        """What the server proves with its success."""
        expect(
            data == b"v=" + encoded(self.verifier).encode(), "SCRAM: the server did not prove that it knows the account"
        )


class HashedToken:
    """HT-SHA-256-*: one message each way, keyed by the token."""

    def __init__(self, mechanism, account, token, binding):
        self.mechanism = mechanism
        self.key = token.encode()
        self.data = binding[1] if binding else b""
        self.first = account.local.encode() + b"\0" + hmac.digest(self.key, b"Initiator" + self.data, "sha256")

    def answer(self, _challenge):
        raise Failed(f"{self.mechanism} has no challenge")

    def verify(self, data):
        expected = hmac.digest(self.key, b"Responder" + self.data, "sha256")
        expect(data == expected, f"{self.mechanism}: the server did not prove that it knows the token")
