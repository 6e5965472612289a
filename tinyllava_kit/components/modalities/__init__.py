"""Pictures and sounds: files that may be anything, read and checked."""
