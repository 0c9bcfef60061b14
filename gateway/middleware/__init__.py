"""The steps of the pipeline, one concern each."""
