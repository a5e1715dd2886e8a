"""The kernels of the CUDA backend on the processor, for tests."""
