"""What a component implements, and the kernel: to be read in one evening."""
