"""What a machine is made of, as a test says: clocks, processes, control groups, a GPU."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import psutil


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now


def use_cpu(seconds):
    """Use so much of a processor, however busy the machine is."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


LIMIT_S = 60.0


@contextmanager
def meanwhile(action):
    """Do this in a thread while the block runs, and wait for both."""
    thread = threading.Thread(target=action)
    thread.start()
    yield
    thread.join(LIMIT_S)


class Ticks:
    """A sample whose readings are numbered, so that the maxima of a window are its first, negative, and its last."""

    def __init__(self):
        self.taken = 0
        self._another = threading.Condition()

    def __call__(self):
        with self._another:
            self.taken += 1
            self._another.notify_all()
            return {"tick": float(-self.taken), "last": float(self.taken)}

    def wait_for(self, number):
        """Wait until this number of readings has been taken."""
        with self._another:
            assert self._another.wait_for(lambda: self.taken >= number, LIMIT_S), self.taken


def covered(run_id):
    """The numbers of the readings that the windows in the store hold, in the order of these."""
    from mlflow import MlflowClient  # not for all that need another part of a machine

    def points(name):
        history = MlflowClient().get_metric_history(run_id, f"system/{name}_max")
        return sorted(history, key=lambda point: (point.step, point.timestamp))

    windows = zip(points("tick"), points("last"), strict=True)
    return [number for first, last in windows for number in range(round(-first.value), round(last.value) + 1)]


FORK_TIMEOUT_S = 120


def in_fork(child):
    """The exit code of a forked child that calls this, 1 for what is true; 99 if it raises, -SIGALRM if it hangs."""
    return os.waitstatus_to_exitcode(os.waitpid(start_fork(child), 0)[1])


def start_fork(child):
    """The id of such a child, which somebody has to wait for."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(FORK_TIMEOUT_S)
        try:
            os._exit(int(bool(child())))
        finally:
            os._exit(99)
    return pid


class Child(subprocess.Popen):
    """A Python process that runs one line of code for each line it is sent, and answers with one line."""

    LOOP = "import sys, time, os, resource, subprocess\nfor line in sys.stdin: exec(line); sys.stdout.flush()"

    def do(self, code):
        print(code, file=self.stdin, flush=True)
        return self.stdout.readline().strip()


@contextmanager
def child():
    """Yield a started child that has answered once, and end it afterwards."""
    argv = [sys.executable, "-c", Child.LOOP]
    with Child(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.do("print('ready')") == "ready"
            yield process
        finally:
            process.kill()


def has_ended(pid):
    """Whether a process has; perhaps nobody has asked yet how."""
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


_fork_server = multiprocessing.get_context("forkserver")
_fork_server.set_forkserver_preload(["mlflow.cli"])


class WarmProcess(_fork_server.Process):
    """A running `mlflow`, `mlflow-sysmetrics` or `python -c` command, to be used as a `subprocess.Popen`.

    It is forked from a process that has imported MLflow, which takes seconds of CPU.

    Args:
        line: the command and its arguments.
        cwd: the folder that it runs in.
        env: its whole environment.
        stdout: the file that it appends to.
        stderr: the same.
    """

    def __init__(self, line, *, cwd, env, stdout, stderr):
        super().__init__(daemon=True)
        self._line, self._cwd, self._env = line, cwd, env
        self._files = (stdout, stderr)
        self.start()

    def poll(self):
        """Its exit code once it has ended, or the negative number of the signal that ended it."""
        return self.exitcode

    def wait(self, timeout_s):
        """Wait for its end, and return its exit code.

        Raises:
            TimeoutExpired: it has not ended by then.
        """
        self.join(timeout_s)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired(self._line, timeout_s)
        return self.exitcode

    def send_signal(self, number):
        """Send it a signal, if it is still there."""
        if self.exitcode is None:
            os.kill(self.pid, number)

    def run(self):
        """Become what a shell would start: a session's leader, with usual signals, this environment and these files."""
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir(self._cwd)
        os.environ.clear()
        os.environ.update(self._env)
        for number, path in enumerate(self._files, 1):
            with Path(path).open("a") as file:
                os.dup2(file.fileno(), number)
        sys.stdout.reconfigure(line_buffering=True)
        sys.argv = self._line
        program, *words = self._line
        if words[0] == "-c":
            exec(words[1], {"__name__": "__main__"})
            return
        if Path(program).name == "mlflow-sysmetrics":
            from mlflow_sysmetrics.command.cli import main

            main(words, prog_name=program)
        from mlflow.cli import cli

        with mock.patch("mlflow.server._exec_cmd", _be_server):
            cli(words, prog_name="mlflow")


def _be_server(command, *, extra_env, **_):
    """Become what `mlflow server` would start in another process: `python -m uvicorn ...`, with these variables."""
    import uvicorn

    os.environ.update(extra_env)
    uvicorn.main(command[3:])


def lay(root, files):
    """Write files below a folder that stands for /."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


@dataclass
class Group:
    """One control group's limits, as version 2 of the kernel's interface writes them."""

    memory_limit: object = "max"
    quota: tuple = ("max", 100000)

    def files(self, folder):
        quota, period = self.quota
        return {
            f"{folder}/cgroup.events": "populated 1\nfrozen 0\n",
            f"{folder}/memory.max": f"{self.memory_limit}\n",
            f"{folder}/cpu.max": f"{quota} {period}\n",
        }


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
OTHER_MOUNTS = "22 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw\n23 22 0:22 / /sys rw shared:7 - sysfs sysfs rw\n"


@dataclass
class Layout:
    """A machine: what /proc says of the process, and its groups, the process's own first."""

    cgroup: str
    mounts: str
    folders: list  # of its groups
    machines_own: tuple = ()  # folders of the group of all processes

    def files(self, *groups):
        """The files, with these groups from the innermost on."""
        files = {"proc/self/cgroup": self.cgroup, "proc/self/mountinfo": OTHER_MOUNTS + self.mounts}
        for folder, group in zip(self.folders, groups, strict=True):
            files |= group.files(folder)
        return files | {f"{folder}/cgroup.procs": "\n" for folder in self.machines_own}


DOCKER = Layout("0::/\n", V2_MOUNT, ["sys/fs/cgroup"])
LIMIT = "60000000"  # bytes


@contextmanager
def memory_group():
    """Make one, of either version, for a while. OSError where none can be made."""
    root = Path("/sys/fs/cgroup")
    limit, swap, no_swap = "memory.max", "memory.swap.max", "0"
    if (root / "memory").is_dir():
        root /= "memory"
        limit, swap, no_swap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", LIMIT
    group = root / f"sysmetrics-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(LIMIT)
        with suppress(OSError):
            (group / swap).write_text(no_swap)
        yield group
    finally:
        group.rmdir()


class NvmlError(Exception):
    """As pynvml.NVMLError."""


@dataclass
class Gpu:
    """One card. What is None the driver does not tell."""

    busy: int = 70
    used: int = 5_000_000_000
    milliwatts: int = 250_500
    processes: dict = field(default_factory=dict)  # bytes by process


class Nvml:
    """The part of pynvml that is used, over made-up cards."""

    def __init__(self, *gpus, error=None):
        self.gpus, self.error = gpus, error
        self.lost = False

    def _told(self, value):
        if value is None or self.lost:
            raise NvmlError("GPU is lost" if self.lost else "Not Supported")
        return value

    def nvmlInit(self):  # noqa: N802
        if self.error is not None:
            raise self.error

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu):  # noqa: N802
        return SimpleNamespace(gpu=self._told(gpu.busy), memory=1)

    def nvmlDeviceGetMemoryInfo(self, gpu):  # noqa: N802
        return SimpleNamespace(used=self._told(gpu.used), total=80_000_000_000)

    def nvmlDeviceGetPowerUsage(self, gpu):  # noqa: N802
        return self._told(gpu.milliwatts)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self._told(gpu.processes).items()]

    def nvmlDeviceGetName(self, gpu):  # noqa: N802
        return "NVIDIA H100"
