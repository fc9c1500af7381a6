"""The commands, a module for each group of them: what each does, and `add`, which gives the parser its options.

Each room is imported inside its command, so that `--help` answers at once.
"""
