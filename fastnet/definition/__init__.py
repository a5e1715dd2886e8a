"""What a network is, as frozen data: layers, functions, initializers, optimizers, schedules.

May import `arrays`, `random` and the errors.
"""
