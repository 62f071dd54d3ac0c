"""One file a stage, one `run` each: they compose subjects and files; they do not compute."""
