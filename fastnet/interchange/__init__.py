"""Models of other libraries: from and to ONNX and PyTorch, from Keras and scikit-learn.

`importing` and `exporting` hold the public functions; every other file knows one library, and is
imported, like the library, when it is first needed. May import `tables`, for the columns that an
ONNX file takes, `many`, the model and what is below it.
"""
