"""Child processes of the lab: started with a log file, waited for by their port, always stopped."""

import socket
import subprocess
import time
from pathlib import Path


class Processes:
    """Everything the lab has started. `stop` ends all of it, last started first."""

    def __init__(self, logs: Path):
        self.logs = logs
        self.running = []

    def start(self, name, command, user=None, **options):
        """Starts a long-running process; its output goes to `<logs>/<name>.log`."""
        if user:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
        log = open(self.logs / f"{name}.log", "ab")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
        )
        log.close()
        process.name = name
        self.running.append(process)
        return process

    def stop_one(self, process):
        """Asks a process to end, and makes it end after ten seconds."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        if process in self.running:
            self.running.remove(process)

    def stop(self):
        for process in reversed(list(self.running)):
            self.stop_one(process)


def wait_for_port(address, port, process, seconds=20.0):
    """Waits until something accepts at the address, or the process that should is dead."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.name} ended with status {process.returncode} at its start")
        with socket.socket(family) as probe:
            probe.settimeout(1)
            if probe.connect_ex((address, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.name} does not listen on {address} port {port} after {seconds:.0f} s")
