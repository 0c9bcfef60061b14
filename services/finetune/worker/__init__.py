"""A job at work: one process for each run, ``python -m services.finetune.worker``, wherever it is started."""
