//! SCRAM (RFC 5802, RFC 7677) from the server's side.
