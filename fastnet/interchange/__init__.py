"""Models of other libraries: from and to ONNX and PyTorch, from Keras and scikit-learn.

`exporting` and `importing` are the public face, and import nothing but when called; each other
room knows one library. What all that read share is a `chain.Chain` of layers.
"""
