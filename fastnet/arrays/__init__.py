"""What users hand over as rows, targets and weights: checks, and arrays of other libraries.

May import the errors.
"""
