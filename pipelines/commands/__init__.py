"""One file a command of `python -m pipelines` that is no stage; each has one `run`."""
