"""A trained model in service: exported as a bundle, applied to files, served, updated."""
