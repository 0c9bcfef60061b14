"""The recipes that jobs may run, with what each reads, starts from and can be told; imports no torch."""
