"""Input that users pass: checks of numbers, rows, targets and weights, and other libraries' arrays.

May import `fastnet.errors` and `fastnet.extras`.
"""
