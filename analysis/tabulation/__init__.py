"""What a table is to show, which runs go into each cell, and how it is written."""
