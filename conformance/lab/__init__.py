"""The conformance lab: an isolated network with its own DNS and CA, real servers, real clients."""
