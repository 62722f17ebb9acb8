"""User-data reaches its guest only: no output, no state, no process and no other file contains it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.site import Done, Site, on_host, wait_until

pytestmark = pytest.mark.lab

CANARY = "zq8Vd3kCanary7w"
SCRIPT = f"#!/bin/sh\necho {CANARY} > /run/hello\n"
TEXT = f"""\
version: 1
name: seeds
owner: admin
defaults: {{flavor: cirros}}
vms:
  fromfile:
    worker: worker1
    cloud_init: {{file: user-data/secret.sh}}
  written:
    worker: worker1
    cloud_init: |
      #!/bin/sh
      echo {CANARY} > /run/hello
"""
SEEDS = tuple(f"/var/lib/reconciler/vms/{number}/seed.iso" for number in (1001, 1002))


@dataclass
class Watch:
    """Everything that was printed, and every process whose arguments or environment contained a mark."""

    site: Site
    marks: list[bytes]
    printed: list[str] = field(default_factory=list)
    caught: set[str] = field(default_factory=set)
    looks: int = 0

    def run(self, *arguments: str | Path) -> Done:
        return self.hear(self.site.run(*arguments))

    def hear(self, done: Done) -> Done:
        self.printed += [done.out, done.err]
        return done

    def look(self) -> None:
        """Check every process of this machine once, with those of the lab's hosts."""
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    content = (process / name).read_bytes()
                except OSError:
                    continue  # it has ended
                if any(mark in content for mark in self.marks):
                    self.caught.add(f"{name} of {content[:200]!r}")
        self.looks += 1

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Check again and again while something runs."""
        enough = threading.Event()

        def go_on() -> None:
            while not enough.wait(0.01):
                self.look()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that all commands take for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def file(site: Site) -> Path:
    """Write a slice of two guests: user-data from a file for one, in the slice file for the other."""
    (site.folder / "user-data").mkdir()
    (site.folder / "user-data" / "secret.sh").write_text(SCRIPT)
    return site.write(TEXT)


def sums(*contents: bytes) -> list[bytes]:
    """Return digests that are fast to compute, and so would let an attacker check a guess."""
    return [hashlib.new(name, content).hexdigest().encode() for content in contents for name in ("sha256", "sha1")]


def holders(site: Site, marks: list[bytes]) -> dict[str, list[str]]:
    """Return the files on each host, and on all its disks, that hold a mark."""
    patterns = " ".join(f"-e {mark.decode()}" for mark in marks)
    script = f"grep -rlF {patterns} /var/lib/reconciler /run /tmp /var/log /etc/openvswitch /root 2> /dev/null || :"
    found = {host: on_host(site.lab, host, script).split() for host in ("worker1", "worker2", "worker3", "gateway")}
    return {host: sorted(paths) for host, paths in found.items() if paths}


@pytest.mark.guests
def test_a_guest_finds_its_user_data(site: Site, file: Path) -> None:
    site.apply(file)
    vms = site.vms("seeds")
    for name, vm in vms.items():
        vm.guest.wait_for_shell()
        wait_until(lambda vm=vm: CANARY in vm.guest.run("cat /run/hello", check=False), f"{name} to say hello")  # type: ignore[misc]
        assert f"local-hostname: {name}\n" in vm.run("cat /run/cidata/meta-data; echo")
        assert vm.guest.run("cat /sys/block/vdb/ro") == "1"
    site.in_sync(file)
    first, pid = vms["written"].run("cat /run/cidata/meta-data"), vms["fromfile"].pid

    file.write_text(TEXT.replace("/run/hello", "/run/bye"))
    planned = site.do("plan", file).out
    assert "~ vm/admin/seeds/written on worker1  # update: cloud_init changed" in planned
    assert "cloud_init = (secret) -> another  # cloud_init: restarts the VM" in planned
    assert "0 to add, 2 to change, 0 to replace, 0 to destroy. 1 VM restarts." in planned
    site.apply(file)
    again = site.vms("seeds")["written"]
    again.guest.wait_for_shell()
    wait_until(lambda: CANARY in again.guest.run("cat /run/bye", check=False), "the guest to heed its new user-data")
    assert again.run("cat /run/cidata/meta-data") != first, "for cloud-init it is another instance"
    assert site.vms("seeds")["fromfile"].pid == pid, "the other guest was left alone"


def test_a_changed_seed_image_is_found_and_repaired_while_its_guest_runs(site: Site, file: Path) -> None:
    site.apply(file)
    pids = [vm.pid for vm in site.vms("seeds").values()]
    on_host(site.lab, "worker1", f"rm {SEEDS[0]}; echo more >> {SEEDS[1]}")
    drift = site.run("drift")
    assert "missing: seed/admin/seeds/fromfile on worker1" in drift.out, drift.told
    assert "cloud_init = (secret) -> another" in drift.out
    repaired = site.apply(file)
    assert "1 added, 1 changed, 0 replaced, 0 destroyed" in repaired.out, repaired.told
    site.in_sync(file)
    assert [vm.pid for vm in site.vms("seeds").values()] == pids


def test_nothing_else_contains_it(site: Site, file: Path, temporary: Path) -> None:
    marks = [CANARY.encode(), *sums(SCRIPT.encode(), file.read_bytes())]
    watch = Watch(site, marks)
    _check_output_for_files(watch, file)
    with watch.looking():
        _fail(watch, file)
        _interrupt(watch, file)
        assert watch.run("apply", "-v", "--auto-approve", file).code == 0, watch.printed[-2:]
    check_hosts(site, marks)
    _check_output_of_every_verb(watch, file)
    (site.folder / "user-data" / "secret.sh").unlink()
    with watch.looking():
        assert watch.run("destroy", "-v", "--auto-approve", "seeds").code == 0, watch.printed[-2:]
    watch.run("history", "--json")

    assert watch.caught == set()
    assert watch.looks > 20
    told = "".join(watch.printed).encode()
    assert [mark for mark in marks if mark in told] == []
    assert "Plan: " in told.decode()
    assert holders(site, marks) == {}
    assert [path for path in local_files(site, file) if any(mark in path.read_bytes() for mark in marks)] == []
    assert list(temporary.iterdir()) == []


def test_the_watch_finds_its_mark(site: Site) -> None:
    watch = Watch(site, [b"0therMark"])
    argv = ["sh", "-c", "read line", "0therMark"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={"PATH": "/bin"}) as process:
        wait_until(lambda: b"0therMark" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "the process to start")
        watch.look()
        process.communicate(b"\n")
    assert [entry.partition(" ")[0] for entry in watch.caught] == ["cmdline"]


def check_hosts(site: Site, marks: list[bytes]) -> None:
    """Check that only the seed images contain the secret, for root and their VMs. Their digests become marks."""
    assert holders(site, marks) == {"worker1": sorted(SEEDS)}
    for seed in SEEDS:
        assert on_host(site.lab, "worker1", f"stat -c '%a %U' {seed} {seed}.owner $(dirname {seed})").split("\n") == [
            "640 root",
            "600 root",
            "710 root",
        ]
        marks.append(on_host(site.lab, "worker1", f"sha256sum < {seed}").split()[0].encode())


def local_files(site: Site, file: Path) -> list[Path]:
    """Return the files that commands have written: the state, what is beside it, and what they printed."""
    written = [
        path for path in site.folder.rglob("*") if path.is_file() and path not in {file, file.with_name("bad.yaml")}
    ]
    assert site.folder / "state.db" in written
    return written


def _check_output_for_files(watch: Watch, file: Path) -> None:
    bad = file.with_name("bad.yaml")
    for text in (
        TEXT.replace("  written:", "  written:\n    vcpu: 1").replace("defaults:", "default:"),
        TEXT.replace("      echo", "    echo:"),
        TEXT.replace("      echo", "   echo"),
        TEXT.replace("cloud_init: |", "cloud-init: |"),
        TEXT.replace("cloud_init: |", f"cloud_init: {{password: {CANARY}}}\n    other: |"),
    ):
        bad.write_text(text.replace("name: seeds", "name: bad"))
        for options in ((), ("--json",), ("-v",)):
            assert watch.run("validate", *options, bad).code == 1, watch.printed[-2:]
    bad.unlink()
    for verb in (("validate",), ("plan",), ("plan", "--json"), ("plan", "-v", "--refresh")):
        assert watch.run(*verb, file).code == 0, watch.printed[-2:]


def _fail(watch: Watch, file: Path) -> None:
    """Apply while something foreign is in the way of one seed, and while the other's cannot be placed."""
    lab = watch.site.lab
    folders = [seed.rpartition("/")[0] for seed in SEEDS]
    on_host(lab, "worker1", f"umask 077; mkdir -p {SEEDS[1]}.new/x {folders[0]}; echo theirs > {SEEDS[0]}")
    failed = watch.run("apply", "-v", "--auto-approve", file)
    assert failed.code == 1, failed.told
    assert f"the file {SEEDS[0]} is in the way" in failed.err + failed.out
    on_host(lab, "worker1", f"rm {SEEDS[0]}; rm -r {SEEDS[1]}.new")


def _interrupt(watch: Watch, file: Path) -> None:
    """Apply, and press Ctrl-C twice as soon as the first seed is begun; a quick apply may be through by then."""
    running = watch.site.start("apply", "-v", "--auto-approve", file)
    running.wait_for_lines(1, "seed/admin/seeds/", ": create")
    running.signal(signal.SIGINT)
    running.signal(signal.SIGINT)
    assert watch.hear(running.finish()).code in {0, 130}


def _check_output_of_every_verb(watch: Watch, file: Path) -> None:
    for verb in (
        ("show", "seeds"),
        ("show", "seeds", "--json"),
        ("status", "--json"),
        ("history",),
        ("state", "list"),
        ("state", "show", "seed/admin/seeds/written"),
        ("state", "show", "vm/admin/seeds/written", "--json"),
        ("state", "export"),
        ("drift",),
        ("drift", "--json"),
        ("plan", "--refresh", str(file)),
        ("verify",),
    ):
        assert watch.run(*verb).code == 0, watch.printed[-2:]
    on_host(watch.site.lab, "worker1", f"echo >> {SEEDS[1]}")
    for verb in (("drift",), ("drift", "--json"), ("plan", "--refresh", "--json", str(file))):
        assert "cloud_init" in watch.run(*verb).out, watch.printed[-2:]
