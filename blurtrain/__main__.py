"""`python -m blurtrain`: the command line, as the program `blurtrain` has it."""

import sys
from pathlib import Path

# `python -m` imports from the working folder first: a jobs.py or analysis.py of the user's own would hide ours. (Of an
# editable installation, ours are on no path by themselves.)
if sys.path[0] in ("", str(Path.cwd())):
    sys.path += [str(Path(__file__).parents[1]), sys.path.pop(0)]

from blurtrain.cli import main

main()
