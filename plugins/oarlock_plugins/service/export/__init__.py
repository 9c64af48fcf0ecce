"""`oarlock export`: a run as a bundle, which is published only if it answers as the trained model does."""
