"""Measurements that are no stage of the pipeline; run each as `python -m benchmarks.NAME`."""
