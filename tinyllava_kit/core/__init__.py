"""What a component implements, and the kernel: six files, in one evening."""
