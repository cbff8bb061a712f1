"""Measurements that are no stage: one script a claim, each `python -m benchmarks.NAME` at the root.

Speeds are ratios of two things that took turns in one run, since machines differ and a shared one is never quiet.
"""
