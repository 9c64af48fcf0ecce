"""`oarlock serve`: the models of a folder over HTTP, in the Open Inference Protocol v2."""
