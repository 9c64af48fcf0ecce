"""`oarlock update`, `oarlock rollback`, `oarlock models`: which version of a model is served, and the next one."""
