"""The registry goes, or its line is bad, while layers are on their way."""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

from case import Skipped, fault
from mounting import DEADLINE, Hung
from relay import Relay

SECTION = "The registry"
# How long the registry may give nothing, in seconds; small, so that the table does not take hours.
PATIENCE = 4
# On top of it: the passes, the processor being busy.
SLACK = 20
# What the documents say of a registry that cannot be reached, fails, or does not answer in time.
FAILS = {"EIO", "ETIMEDOUT"}


class Registry:
    """Debian's docker-registry with the image in it, behind a relay."""

    def __init__(self, case):
        for tool in "docker-registry", "skopeo":
            if not shutil.which(tool):
                raise Skipped(f"no {tool}")
        self.case, self.process = case, None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with open(f"{case.base}/registry.yml", "w", encoding="ascii") as file:
            file.write(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                       f"storage: {{filesystem: {{rootdirectory: {case.base}/registry}}}}\n"
                       f"http: {{addr: '127.0.0.1:{self.port}'}}\n")
        case.stack.callback(self.stop)
        self.start()
        subprocess.run(["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{case.image.root}:1",
                        f"docker://127.0.0.1:{self.port}/image:1"], check=True, timeout=120)
        self.relay = Relay(self.port)
        case.stack.callback(self.relay.close)
        self.source = f"docker://127.0.0.1:{self.relay.port}/image:1"

    def start(self):
        self.process = subprocess.Popen(["docker-registry", "serve", f"{self.case.base}/registry.yml"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + DEADLINE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > end or self.process.poll() is not None:
                    raise Hung("docker-registry does not start") from None
                time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def mounted(self):
        return self.case.mounted(source=self.source, options=("--timeout", str(PATIENCE)))

    def recovered(self):
        self.case.recovered(source=self.source, options=("--timeout", str(PATIENCE)))


def bounded_looks(case):
    case.require(case.seen.slowest < PATIENCE + SLACK, f"a look took {case.seen.slowest:.0f} s; {PATIENCE} s is the limit set")
    case.note(f"with `--timeout {PATIENCE}` the longest look took {case.seen.slowest:.0f} s")


def slow_downloads(case):
    """Begins readers of a registry that gives 1 MiB a second."""
    case.allowed = FAILS
    registry = Registry(case)
    registry.relay.mode, registry.relay.rate = "slow", 1 << 20
    mount = registry.mounted()
    return registry, mount, case.readers(mount)


def better(case, mount, readers, what):
    """Sees to it that looks succeed again, and that none took too long."""
    readers.progress(100)
    case.stop(readers)
    bounded_looks(case)
    # What failed a moment ago may be refused for some seconds more.
    time.sleep(PATIENCE + 2)
    case.all_right(mount, what)


@fault(SECTION, "killed in the middle of the downloads, back later")
def killed(case):
    registry, mount, readers = slow_downloads(case)
    time.sleep(3)
    registry.stop()
    time.sleep(PATIENCE * 2)
    case.require(readers.total().errors, "no reader noticed")
    registry.relay.mode = "good"
    registry.start()
    better(case, mount, readers, "same mount, registry back")
    case.note("the same mount read everything once it was back")
    mount.unmount()
    case.recovered(source=registry.source)


@fault(SECTION, "gone after everything has been fetched")
def gone_after(case):
    registry = Registry(case)
    mount = registry.mounted()
    case.all_right(mount, "before")
    registry.stop()
    readers = case.readers(mount)
    readers.progress(300)
    case.stop(readers)
    mount.unmount()
    registry.start()
    case.note("everything could be read without it")
    registry.recovered()


@fault(SECTION, "falls silent in the middle of the downloads, and wakes up")
def silent(case):
    registry, mount, readers = slow_downloads(case)
    time.sleep(2)
    registry.relay.mode = "silent"
    time.sleep(PATIENCE * 4)
    case.require("ETIMEDOUT" in readers.total().errors, "no ETIMEDOUT")
    registry.relay.mode = "good"
    better(case, mount, readers, "same mount, registry awake")
    mount.unmount()
    registry.recovered()


@fault(SECTION, "every connection cut after 0 to 3 MB")
def cut(case):
    case.allowed = FAILS
    registry = Registry(case)
    registry.relay.mode = "cut"
    mount = registry.mounted()
    readers = case.readers(mount)
    readers.progress(200)
    case.stop(readers)
    case.require(registry.relay.struck, "nothing was cut")
    case.note(f"cut {registry.relay.struck} times; downloads went on where they were cut")
    registry.relay.mode = "good"
    mount.unmount()
    registry.recovered()


@fault(SECTION, "the line flips bits")
def bent(case):
    case.allowed = FAILS
    registry = Registry(case)
    mount = registry.mounted()
    registry.relay.mode = "bend"
    readers = case.readers(mount)
    time.sleep(5)
    registry.relay.mode = "good"
    readers.progress(100)
    case.stop(readers)
    case.require(registry.relay.struck, "nothing was bent")
    case.note(f"{registry.relay.struck} bits flipped")
    time.sleep(PATIENCE + 2)
    case.all_right(mount, "same mount, line good")
    mount.unmount()
    registry.recovered()
