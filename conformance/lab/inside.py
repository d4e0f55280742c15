"""The first process of the lab's namespaces: starts everything, runs the checks, reports, ends everything."""

import json
import logging
import signal
import sys
from pathlib import Path

from . import check, checks, namespace, paths, results  # noqa: F401  (checks registers itself)
from .world import IPV6, Lab


def main(state):
    run = json.loads((state / "run.json").read_text())
    missing = run["missing"]
    # The first process of a namespace ignores what it does not handle.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    # slixmpp and asyncio say much; it belongs to the logs.
    logging.basicConfig(filename=state / "logs" / "checks.log", level=logging.INFO)
    chosen = check.selected(run["patterns"])
    namespace.prepare(state, IPV6)
    lab = Lab(state, run["server"], run["binary"], run["tokio_client"], missing)
    lab.chosen = [c.name for c in chosen]
    namespace.trust(state, lab.authority.certificate)
    outcomes = []
    try:
        try:
            lab.start()
        except Exception as error:
            print(f"the lab could not start: {error}", file=sys.stderr)
            outcomes = [check.Outcome(c.name, "failed", 0.0, f"the lab could not start: {error}") for c in chosen]
            chosen = []
        for one in chosen:
            outcome = check.run_one(one, lab, missing)
            outcomes.append(outcome)
            mark = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[outcome.result]
            reason = f": {outcome.reason}" if outcome.reason else ""
            print(f"{mark:<7} {outcome.name} ({outcome.seconds:.1f} s){reason}", flush=True)
    finally:
        lab.processes.stop()
    name = "results.jsonl" if run["server"] == "stonechat" else f"results-{run['server']}.jsonl"
    results.write(paths.CONFORMANCE / name, outcomes, set(check.REGISTER))
    print("\n" + "\n".join(results.table(outcomes)))
    count = {kind: sum(o.result == kind for o in outcomes) for kind in ("passed", "failed", "skipped")}
    if count["failed"]:
        print(f"what the processes said is in {paths.LAST_LOGS.relative_to(paths.PROJECT)}")
    print(f"\n{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped", flush=True)
    return 1 if count["failed"] or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
