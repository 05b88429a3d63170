"""The exact part: integers in, integers out, the same on every machine. numpy and constriction only."""
