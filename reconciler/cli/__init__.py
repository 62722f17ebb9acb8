"""The command line: arguments, colour and exit codes; the work is workflow.py's."""
