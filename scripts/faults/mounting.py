"""Mounts of the program under test, each with the process behind it, and nothing that can wait for ever."""

import errno
import os
import signal
import subprocess
import threading
import time

# A question to a mount that takes longer than this hangs, in seconds. The slowest right answer is a pass over all layers.
DEADLINE = 60
PLATFORM = "platforms/linux-amd64"
# Where the kernel's control files of FUSE connections are; set by `control_files`.
CONNECTIONS = "/sys/fs/fuse/connections"


class Hung(Exception):
    """Something did not come to its end in time."""


def bounded(what, seconds, function, *arguments):
    """Calls the function in a thread, so that a mount that hangs does not take us with it."""
    result = []

    def call():
        try:
            result.append((True, function(*arguments)))
        except BaseException as error:  # handed on below
            result.append((False, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise Hung(f"{what} took more than {seconds} s")
    good, value = result[0]
    if good:
        return value
    raise value


def mounts_at(path):
    """Returns (number of the mount, minor device number) of each mount on exactly this path, without asking the mounts."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        fields = [line.split() for line in file]
    return [(int(f[0]), int(f[2].split(":")[1])) for f in fields if f[4] == path]


def control_files(directory):
    """Mounts the control files on the directory where the system has not done so. Without them, what hangs cannot be set free."""
    global CONNECTIONS
    if not mounts_at(CONNECTIONS):
        os.makedirs(directory, exist_ok=True)
        subprocess.run(["mount", "-t", "fusectl", "ocifs-fault", directory], check=True)
        CONNECTIONS = directory


def abort(path):
    """Ends the connections of all FUSE mounts on the path, so that whoever hangs in them gets an error."""
    for _, minor in mounts_at(path):
        try:
            with open(f"{CONNECTIONS}/{minor}/abort", "w", encoding="ascii") as file:
                file.write("1")
        except OSError:
            pass


def clear(path):
    """Takes away whatever is mounted on the path."""
    while mounts_at(path):
        abort(path)
        subprocess.run(["umount", "-l", path], check=False, stderr=subprocess.DEVNULL)


class Mount:
    """A running `ocifs --foreground`. `wrap` goes before the command and must exec it, as prlimit does."""

    def __init__(self, program, source, point, *options, wrap=(), env=None):
        self.point = point
        self.root = f"{point}/{PLATFORM}"
        if not mounts_at(point):
            os.makedirs(point, exist_ok=True)
        self.said = open(f"{point}.said", "w+b")
        self.process = subprocess.Popen(
            [*wrap, program, "--foreground", *options, source, point], stdin=subprocess.DEVNULL,
            stdout=self.said, stderr=self.said, env={**os.environ, **(env or {})}, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def answers(self):
        # A dead mount that is there still does not answer. Its numbers cannot tell it from the new one: they are used again.
        try:
            os.stat(f"{self.point}/.ocifs/stats")
        except OSError as error:
            # One that cannot open anything is a mount all the same.
            return bool(mounts_at(self.point)) and error.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENOENT)
        return bool(mounts_at(self.point))

    def died_mounted(self):
        """Says whether a mount is still there although the process is gone."""
        return bool(mounts_at(self.point))

    def wait_ready(self, seconds=DEADLINE):
        """Waits until the mount answers. Returns whether it does; if not, the process has ended."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            if bounded("stat of a new mount", DEADLINE, self.answers):
                return True
            if time.monotonic() > end:
                raise Hung(f"no mount after {seconds} s")
            time.sleep(0.005)
        return False

    def words(self):
        """Returns the last line the program said."""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)

    def wait_end(self, seconds=DEADLINE):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Hung(f"the process has not ended after {seconds} s") from None

    def others(self):
        """Returns the processes that belong to this mount besides the daemon: its keeper."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                    state, _, _, session = file.read().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == self.pid and int(name) != self.pid and state != "Z":
                found.append(int(name))
        return found

    def left(self, seconds=5):
        """Waits until none of them is left. Returns those that stay."""
        end = time.monotonic() + seconds
        while (found := self.others()) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def unmount(self):
        """Unmounts as people do, and waits for the process."""
        done = subprocess.run(["umount", self.point], capture_output=True, text=True, timeout=DEADLINE, check=False)
        if done.returncode:
            subprocess.run(["umount", "-l", self.point], check=False, timeout=DEADLINE)
        return self.wait_end()

    def close(self):
        """Leaves nothing behind, whatever has happened."""
        if self.process.poll() is None:
            try:
                self.kill(signal.SIGCONT)
                self.kill()
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        clear(self.point)
        for pid in self.left(1):
            os.kill(pid, signal.SIGKILL)
        self.said.close()

    def memory(self):
        """Returns (resident set in kB, open file descriptors, CPU seconds) of the process."""
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
            resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return resident, len(os.listdir(f"/proc/{self.pid}/fd")), seconds
