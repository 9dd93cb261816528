"""What an evaluation shows: a report to read in a terminal, and a page with pictures."""
