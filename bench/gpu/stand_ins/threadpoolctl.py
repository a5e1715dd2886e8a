"""In threadpoolctl's place where it is not installed: nobody's threads are capped.

`bench/gpu.sh` puts this on the import path of a machine that lacks it, so that NumPy's numbers
can be had there; how long NumPy takes for them is nobody's question.
"""


class ThreadpoolController:
    """Finds no library."""

    lib_controllers: tuple[()] = ()
