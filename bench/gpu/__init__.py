"""Benchmarks on a GPU: `bash bench/gpu.sh`."""
