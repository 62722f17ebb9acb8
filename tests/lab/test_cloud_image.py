"""On hosts: a Debian image with cloud-init and systemd-networkd gets all of its network, and heeds a change of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest
from ruamel.yaml import YAML

from reconciler.apply.drivers.confinement import CONFINE, LEAVE_CGROUP
from tests.lab.debian import debian_image
from tests.lab.idle import with_image
from tests.lab.site import Site, Vm, on_host, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.guests]

# The guest tells every two seconds what it has: its name, its addresses, the MTU of its link, its DNS servers.
SLICE = """\
version: 1
name: real
owner: admin
vms:
  web:
    flavor: ubuntu
    memory: 512MiB
    disk: 2GiB
    worker: worker1
    internet: true
    cloud_init: |
      #cloud-config
      write_files:
        - path: /usr/local/bin/tell
          permissions: "0755"
          content: |
            #!/bin/sh
            while sleep 2; do
                echo TELLS $(hostname) $(ip -br -4 address | tr -s ' ') $(cat /sys/class/net/eth1/mtu) \\
                    $(sort -u /run/systemd/netif/leases/* | grep ^DNS=) > /dev/ttyS0
            done
        - path: /usr/local/bin/confine
          permissions: "0755"
          content: |
            #!/usr/bin/perl
{confine}
        - path: /usr/local/bin/limit
          permissions: "0755"
          content: |
            #!/bin/sh
            vm=/var/lib/reconciler/vms/7
            mkdir -p $vm
            exec > /dev/ttyS0 2>&1
            as_a_vm() {{ rm -f $vm/*.sock; confine $vm 70007 '50000 100000' 67108864 99 none none '' "$@"; }}
            echo HAS $(as_a_vm sh -c 'id -u; cat /proc/self/cgroup')
            cd /sys/fs/cgroup/reconciler/vm-7
            echo $(cat cpu.max memory.max pids.max),
            cd /
            echo GREEDY $(as_a_vm sh -c 'head -c 100000000 /dev/zero | tail -n 1 > /dev/null; echo $?'),
            set -- $vm
{leave}
            echo LEFT $(ls -d /sys/fs/cgroup/reconciler 2>&1),
      runcmd:
        - [limit]
        - [systemd-run, /usr/local/bin/tell]
  db: {{flavor: cirros, worker: worker2}}
links:
  - {{endpoints: [web:eth1, db:eth1], subnet: {subnet}, mtu: {mtu}}}
"""
BOOTS_WITHIN = 400.0  # seconds; 90 on an idle machine under emulation


def with_debian(site: Site) -> Path:
    """Write a cluster file whose flavor `ubuntu` has the Debian image, and whose internet has a DNS server."""
    path = with_image(site.cluster, debian_image(), site.folder / "debian-cluster.yaml", "ubuntu")
    yaml = YAML(typ="safe")
    cluster = yaml.load(path)
    cluster["internet"]["dns"] = ["9.9.9.9"]
    yaml.dump(cluster, path)
    return path


def written(subnet: str, mtu: int) -> str:
    """Return the slice. Its guest also confines processes as hosts confine QEMU: it has systemd and cgroup v2."""
    confine, leave = (indent(text.strip("\n"), 12 * " ") for text in (CONFINE, LEAVE_CGROUP))
    return SLICE.format(subnet=subnet, mtu=mtu, confine=confine, leave=leave)


def serial(site: Site, vm: Vm) -> str:
    """Return what the guest printed."""
    return on_host(site.lab, vm.worker, f"cat /var/lib/reconciler/vms/{vm.data['id']}/serial.log")


def told(site: Site, vm: Vm) -> str:
    """Return what the guest told last."""
    lines = re.findall(r"TELLS ([^\r\n]*)", serial(site, vm))
    return lines[-1] if lines else ""


def confined(site: Site, vm: Vm) -> dict[str, list[str]]:
    """Return what the guest printed of its confined processes."""
    return {key: text.split() for key, text in re.findall(r"(HAS|GREEDY|LEFT) ([^,]*),", serial(site, vm))}


def test_a_debian_image_has_its_name_its_addresses_its_mtu_and_its_dns(site: Site) -> None:
    site = replace(site, cluster=with_debian(site))
    path = site.write(written("10.46.0.0/24", 1400))
    site.apply(path)
    vms = site.vms("real")
    web, db = vms["web"], vms["db"]
    wait_until(lambda: told(site, web) != "", "user-data to be done", within=BOOTS_WITHIN)
    wait_until(lambda: "10.46.0." in told(site, web), "all links to be up", within=60)
    said = told(site, web)
    assert said.startswith("web ")
    assert f"eth0 UP {web.ip('eth0')}/24" in said
    assert f"eth1 UP {web.ip('eth1')}/24" in said
    assert said.split().count("1400") == 1
    assert "DNS=9.9.9.9" in said
    found = confined(site, web)
    assert found["HAS"] == ["70007", "0::/reconciler/vm-7", "50000", "100000", "67108864", "99"]
    assert found["GREEDY"][-1:] == ["137"], "what takes more memory than its limit is killed"
    assert "No" in found["LEFT"], "the cgroup is removed with its process"
    db.settle()
    assert db.pings_within(10, web.ip("eth1"))

    site.apply(site.write(written("10.47.0.0/24", 1300)))
    web = site.vms("real")["web"]
    wait_until(lambda: f"eth1 UP {web.ip('eth1')}/24" in told(site, web), "the new address", within=60)
    assert "10.46.0." not in told(site, web)
    assert " 1300" in told(site, web)
