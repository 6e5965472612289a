"""What a plugin is: specs, hooks, how plugins are found, and what is wrong with them. Light."""
