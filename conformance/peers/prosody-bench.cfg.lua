-- Prosody as a competent administrator sets it up for speed: the rival of `cargo xtask bench-peers`, which fills in
-- the places between at signs. The collector is the one setting that matters (2 to 5 times). Archive, carbons and stream
-- management are there in the rows that are about them.

gc = { mode = "generational" }
network_backend = "epoll"

modules_enabled = { "roster"; "saslauth"; "tls"; "dialback"; "disco"; "ping"; "private"; "vcard"; "time"; "version"; "uptime"; @MODULES@ }
modules_disabled = { "limits" }

data_path = "@DATA@"
pidfile = "@DATA@/prosody.pid"
log = { info = "@LOG@" }

authentication = "internal_hashed"
storage = @STORAGE@
sql = { driver = "SQLite3"; database = "archive.sqlite" }
default_archive_policy = true
max_archive_query_results = 250

interfaces = { "127.0.0.1" }
c2s_ports = { @C2S@ }
c2s_direct_tls_ports = { @C2S_TLS@ }
s2s_ports = { @S2S@ }
s2s_direct_tls_ports = { }

-- The rows without TLS log in over the same port.
c2s_require_encryption = false
-- Self-signed certificates: dialback inside TLS.
s2s_require_encryption = true
s2s_secure_auth = false
unbound = { resolvconf = false; hoststxt = false; forward = { "127.0.0.1@@DNS@" } }

ssl = { certificate = "@CERTIFICATE@"; key = "@KEY@" }

VirtualHost "@DOMAIN@"
