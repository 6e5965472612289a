"""The command line: the command ``tinyllava``."""
