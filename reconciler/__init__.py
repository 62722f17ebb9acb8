"""Topology reconciler: YAML slices made true on QEMU and Open vSwitch hosts."""

__version__ = "0.1.0"
