"""First half of the command, with nothing but the system's Python: installs, then goes on with what was installed."""

import json
import os
import sys

from . import install, paths


def main(arguments):
    if os.geteuid() != 0:
        print("the lab makes network namespaces and installs packages: run it as root", file=sys.stderr)
        return 2
    paths.WORK.mkdir(exist_ok=True)
    missing = {}
    install.install_packages(missing)
    install.install_from_pypi(missing)
    install.fetch_suites(missing)
    for tool in ("slixmpp", "dnsmasq", "openssl", "ip", "setpriv"):
        if tool in missing:
            print(f"without {tool} there is no lab: {missing[tool]}", file=sys.stderr)
            print("0 passed, 1 failed, 0 skipped")
            return 1
    paths.MISSING.write_text(json.dumps(missing))
    # By path and not by chdir: a relative --binary counts from where the caller is.
    os.environ["PYTHONPATH"] = str(paths.CONFORMANCE)
    python = str(paths.VENV / "bin" / "python3")
    sys.stdout.flush()
    os.execv(python, [python, "-B", "-m", "lab.main", *arguments])
