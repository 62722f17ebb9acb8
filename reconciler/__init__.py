"""Reconciles virtual network topologies, written as YAML files, with hosts that run QEMU and Open vSwitch."""

__version__ = "0.1.0"
