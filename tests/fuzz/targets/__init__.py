"""The targets, one a file.

Each module has ``run(data)``, which reads any bytes as the product would, ``seeds()``, some bytes to begin
from, and ``WORDS``, pieces of its language. ``run`` returns, or raises a ServiceError that is no bug or one
of ``REFUSALS``: any other exception, a hang or memory beyond the cap is a finding.
"""
