"""`oarlock predict`: a bundle applied to files of any size, which goes on where it was stopped."""
