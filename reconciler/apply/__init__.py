"""Making it so: steps become commands, commands run on hosts over SSH."""
