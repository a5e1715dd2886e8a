"""Models of other libraries: from and to ONNX and PyTorch, from Keras and scikit-learn.

`importing` and `exporting` hold the public functions; every other file knows one library, and is
imported, like the library, when it is first needed. May import `fastnet.model`, what lies below it,
and `fastnet.tables.schema`.
"""
