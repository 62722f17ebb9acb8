"""On hosts: a Debian image with cloud-init and systemd-networkd gets all of its network, and heeds a change of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

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
      runcmd:
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


def told(site: Site, vm: Vm) -> str:
    """Return what the guest told last."""
    text = on_host(site.lab, vm.worker, f"cat /var/lib/reconciler/vms/{vm.data['id']}/serial.log")
    lines = re.findall(r"TELLS ([^\r\n]*)", text)
    return lines[-1] if lines else ""


def test_a_debian_image_has_its_name_its_addresses_its_mtu_and_its_dns(site: Site) -> None:
    site = replace(site, cluster=with_debian(site))
    path = site.write(SLICE.format(subnet="10.46.0.0/24", mtu=1400))
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
    db.settle()
    assert db.pings_within(10, web.ip("eth1"))

    site.apply(site.write(SLICE.format(subnet="10.47.0.0/24", mtu=1300)))
    web = site.vms("real")["web"]
    wait_until(lambda: f"eth1 UP {web.ip('eth1')}/24" in told(site, web), "the new address", within=60)
    assert "10.46.0." not in told(site, web)
    assert " 1300" in told(site, web)
