"""Plugins: specs, hooks, discovery, and the doctor that reports faults. Light."""
