"""The checks, by subject. Importing this package registers all of them."""

from . import (  # noqa: F401
    core,
    dns,
    extensions,
    federation,
    go_sendxmpp,
    nbxmpp,
    offline,
    registration,
    roster,
    tls,
    tokio_xmpp,
)
