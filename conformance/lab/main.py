"""The command: builds, then runs the checks inside the lab's namespaces. `bootstrap` came before and installed."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from . import check, checks, install, namespace, paths  # noqa: F401  (checks registers itself)


def parser():
    p = argparse.ArgumentParser(prog="conformance/run", description="Runs real clients and a real peer against the server.")
    p.add_argument("--only", metavar="NAME,…", default="", help="checks to run: names or beginnings of names")
    p.add_argument("--binary", metavar="PATH", help="the stonechat to test (default: cargo build --release)")
    p.add_argument("--keep", action="store_true", help="keep the state of the run and print where it is")
    p.add_argument("--list", action="store_true", help="print the names of the checks and stop")
    p.add_argument(
        "--server",
        choices=["stonechat", "prosody"],
        default="stonechat",
        help="prosody puts Prosody in the server's place: proves the checks against a known good server",
    )
    return p


def main(arguments):
    options = parser().parse_args(arguments)
    patterns = [p for p in options.only.split(",") if p]
    chosen = check.selected(patterns)
    if options.list:
        print("\n".join(c.name for c in chosen))
        return 0
    missing = json.loads(paths.MISSING.read_text())
    needed = {tool for c in chosen for tool in c.needs}
    tokio_client = install.build_tokio_client(missing) if "tokio-xmpp" in needed else None
    binary = None
    if options.server == "stonechat":
        binary = Path(options.binary).resolve() if options.binary else install.build_server(missing)
        if "stonechat" in missing or not binary.exists():
            print(f"there is no server to test: {missing.get('stonechat', binary)}", file=sys.stderr)
            print(f"0 passed, {len(chosen)} failed, 0 skipped")
            return 1
    # Not below the checkout: Prosody's own user must be able to walk there.
    state = Path(tempfile.mkdtemp(prefix="stonechat-lab-"))
    state.chmod(0o755)
    (state / "logs").mkdir()
    (state / "run.json").write_text(
        json.dumps(
            {
                "patterns": patterns,
                "server": options.server,
                "binary": str(binary),
                "tokio_client": str(tokio_client),
                "missing": missing,
            }
        )
    )
    # A request to end goes to the whole process group: the child ends the lab, this one then tidies up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        return namespace.enter([str(state)], dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    except KeyboardInterrupt:
        return 130
    finally:
        keep_logs(state)
        if options.keep:
            print(f"kept: {state}", file=sys.stderr)
        else:
            shutil.rmtree(state, ignore_errors=True)


def keep_logs(state):
    """Copies what the processes said to where the next run overwrites it."""
    shutil.rmtree(paths.LAST_LOGS, ignore_errors=True)
    paths.LAST_LOGS.mkdir(parents=True)
    for log in (*state.glob("logs/*.log"), *state.glob("*/prosody.log")):
        name = log.name if log.parent.name == "logs" else f"{log.parent.name}-prosody.log"
        shutil.copy(log, paths.LAST_LOGS / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
