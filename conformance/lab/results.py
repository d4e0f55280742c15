"""The results file, checked in: one line per check, sorted, so that a change is a diff.

Durations never come out the same twice. The one on file stays while the result does and the new one is not clearly
different (more than double or less than half, and by more than a second).
"""

import json


def read(path):
    """{name: line} of a results file."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    return {line["name"]: line for line in lines}


def settled(old, new):
    """The duration to write."""
    if old is None or old["result"] != new["result"]:
        return new["seconds"]
    low, high = sorted((old["seconds"], new["seconds"]))
    return new["seconds"] if high > 2 * low and high - low > 1 else old["seconds"]


def write(path, outcomes, known_names):
    """Merges outcomes into the file and drops checks that no longer exist."""
    former = read(path)
    lines = {name: line for name, line in former.items() if name in known_names}
    for outcome in outcomes:
        line = {"name": outcome.name, "result": outcome.result, "seconds": round(outcome.seconds, 1)}
        line["seconds"] = settled(former.get(outcome.name), line)
        if outcome.result == "skipped":
            line["reason"] = outcome.reason
        lines[outcome.name] = line
    path.write_text("".join(json.dumps(lines[name], ensure_ascii=False) + "\n" for name in sorted(lines)))


def table(outcomes):
    """For people."""
    width = max(len(o.name) for o in outcomes)
    for outcome in outcomes:
        reason = f"  {outcome.reason}" if outcome.reason else ""
        yield f"{outcome.name:<{width}}  {outcome.result:<7} {outcome.seconds:6.1f} s{reason}"
